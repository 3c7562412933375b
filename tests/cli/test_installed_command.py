"""The main job through the installed command, in processes of its own, as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alexnet_keras.recipes.toml import to_toml

ALEXNET = Path(sys.executable).with_name("alexnet")


def alexnet(folder, *arguments, **options):
    command = [str(ALEXNET), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, **options)


@pytest.mark.slow
def test_prepare_train_on_two_devices_eval_and_visualize_with_no_argument_named(images, tiny, tmp_path):
    (tmp_path / "tiny.toml").write_text(to_toml(tiny))
    steps = [
        ["prepare", images, "--out", "data/colors"],
        ["train", "--gpus", "2", "--recipe", "tiny.toml"],
        ["eval", "--ten-crop", "--json"],
        ["visualize", "kernels"],
    ]
    results = {}
    for arguments in steps:
        result = alexnet(tmp_path, *arguments)
        assert result.returncode == 0, result.stderr
        assert "Traceback" not in result.stderr and "\x1b[" not in result.stdout + result.stderr
        results[arguments[0]] = result
    assert "towers on /CPU:0, /CPU:1" in results["train"].stderr
    assert [entry["views"] for entry in json.loads(results["eval"].stdout)] == ["centre", "ten-crop"]
    assert (tmp_path / results["visualize"].stdout.removeprefix("Wrote ").strip()).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_resumes(prepared, tiny, tmp_path, sent):
    (tmp_path / "tiny.toml").write_text(to_toml(tiny))
    arguments = ["train", "--data", prepared.path, "--recipe", "tiny.toml", "--epochs", "12", "--run", "stopped"]
    process = subprocess.Popen(
        [str(ALEXNET), *map(str, arguments)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # a test run in the background is started with SIGINT ignored, and its children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    history = tmp_path / "saved_models/stopped/history.csv"
    deadline = time.monotonic() + 120
    while not history.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == (130 if sent == signal.SIGINT else -signal.SIGKILL), stderr
    assert "Traceback" not in stderr
    result = alexnet(tmp_path, "train", "--resume", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["epochs"] == 12
    assert len((history.parent / "steps.csv").read_text().splitlines()) == 1 + 12 * 5


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_told_to_end_leaves_nothing_behind(prepared, tmp_path, sent):
    (tmp_path / "temporary").mkdir()
    process = subprocess.Popen(
        [str(ALEXNET), "benchmark", "input", "--data", str(prepared.path)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)],
    )
    deadline = time.monotonic() + 120
    while not any(tmp_path.glob("temporary/alexnet-benchmark-*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Interrupted." in stderr and "Traceback" not in stderr, stderr
    assert not list(tmp_path.glob("temporary/alexnet-*"))
