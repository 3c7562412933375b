"""`alexnet serve`: what it says, what it refuses at once, and how it ends."""

import json
import signal
import subprocess
import sys
import urllib.request
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from alexnet_keras.cli.main import cli
from alexnet_keras.runs import Run
from alexnet_keras.serving.server import listen

ALEXNET = Path(sys.executable).with_name("alexnet")


def test_without_a_run_or_a_model(alexnet, tiny):
    result = alexnet("serve")
    assert result.exit_code == 2 and "`alexnet train` makes one" in result.stderr
    Run.create(Path("saved_models/new"), tiny, {"status": "running"})
    result = alexnet("serve")
    assert result.exit_code == 2 and "no model.keras yet" in result.stderr


@pytest.mark.parametrize("library", ["flask", "waitress"])
def test_without_the_extra(alexnet, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    result = alexnet("serve")
    assert result.exit_code == 2 and "pip install 'alexnet-keras[serve]'" in result.stderr


def test_a_port_in_use_and_a_host_that_is_not_here_are_one_sentence(alexnet, tiny):
    run = Run.create(Path("saved_models/new"), tiny, {"status": "finished"})
    run.model_path.touch()
    with listen("127.0.0.1", 0) as taken:
        result = alexnet("serve", "--port", taken.getsockname()[1])
    assert result.exit_code == 2 and "already in use" in result.stderr and "--port 0" in result.stderr
    result = alexnet("serve", "--host", "no host")
    assert result.exit_code == 2 and "There is no host 'no host'" in result.stderr
    assert "Traceback" not in result.stderr and result.stdout == ""


def test_weights_go_without_a_run_and_its_data(alexnet):
    for words in (["my-run"], ["--run", "my-run"], ["--data", "photos"]):
        result = alexnet("serve", "--weights", "torchvision", *words)
        assert result.exit_code == 2 and "--weights has no run" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_as_predict_does_until_it_is_stopped(trained, images, monkeypatch, stop):
    folder, _ = trained
    monkeypatch.chdir(folder)
    image = images / "val/red/001.jpg"
    predicted = CliRunner().invoke(cli, ["predict", str(image), "--run", "tiny", "--json", "--ten-crop"])
    expected = json.loads(predicted.stdout)
    command = [ALEXNET, "serve", "tiny", "--port", "0", "--ten-crop"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    background = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)  # as a script's shell starts it with &
    with subprocess.Popen(command, **pipes, preexec_fn=background) as process:
        try:
            said = process.stdout.readline()
            assert said.startswith("tiny is at http://127.0.0.1:") and said.endswith("/ until Ctrl-C.\n")
            url = said.split()[3]
            with urllib.request.urlopen(url) as page:
                assert "ten crops" in page.read().decode()
            with urllib.request.urlopen(f"{url}explain", image.read_bytes()) as answer:
                explained = json.load(answer)
        finally:
            process.send_signal(stop)
        try:
            stderr = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert process.returncode == 130
    assert stderr.endswith("\nStopped.\n") and "Traceback" not in stderr
    assert explained["nearest"] is None and "Without nearest training images: The run " in stderr
    for found, wanted in zip(explained["predictions"], expected["predictions"], strict=True):
        assert found["class"] == wanted["class"]
        assert found["probability"] == pytest.approx(wanted["probability"], rel=1e-5)
