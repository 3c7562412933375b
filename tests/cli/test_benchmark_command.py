"""`alexnet benchmark`: what it prints, writes, compares and refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from invoking import invoke

from alexnet_keras.benchmarking import worker
from alexnet_keras.benchmarking.result import Measurement, Repeat, read_result
from alexnet_keras.cli.benchmark_tables import print_result
from alexnet_keras.errors import AlexNetError
from alexnet_keras.recipes.toml import to_toml

SMALL = ["--recipe", "tiny.toml", "--classes", "3", "--batch-size", "4", "--repeats", "1"]

benchmark = partial(invoke, "benchmark")


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """A folder with a recipe."""
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "tiny.toml").write_text(to_toml(tiny))
    return folder


@pytest.fixture(scope="module")
def measured(folder):
    """A folder in which everything was measured once, and what the command printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder, benchmark(*SMALL, "--out", "all.json")


@pytest.mark.slow
def test_everything_is_measured_in_processes_of_its_own_and_printed_as_markdown(measured):
    folder, result = measured
    assert result.exit_code == 0, result.stderr
    assert "There is no prepared dataset" in result.stderr and "Wrote all.json" in result.stderr
    lines = result.stdout.splitlines()
    for line in ("| machine |  |", "| measurement | figure | median | least to most |", "| --- | --- | ---: | ---: |"):
        assert line in lines
    assert any(line.startswith("| measurement | cores for ") for line in lines)
    for name in ("input", "input-raw", "input-cached"):
        assert any(line.startswith(f"| {name} | images/s a core |") for line in lines)
    for name in ("train", "infer", "input", "input-raw", "input-cached", "prepare"):
        assert any(line.startswith(f"| {name} | images/s |") for line in lines)
        assert any(line.startswith(f"| {name} | peak memory, MiB |") for line in lines)
    assert any(line.startswith("| train | local response normalisation |") for line in lines)
    assert all(line == "" or line[0] in "|-S" for line in lines), "nothing but tables, a list and a note"
    assert sorted(path.name for path in folder.iterdir()) == ["all.json", "tiny.toml"]


@pytest.mark.slow
def test_the_file_has_what_the_tables_are_made_of(measured):
    result = read_result(measured[0] / "all.json")
    train, infer = result.measurements["train"], result.measurements["infer"]
    assert 2 * infer.operations < train.operations < 3 * infer.operations
    for measurement in (train, infer):
        assert sum(measurement.shares.values()) == pytest.approx(1.0)
        assert measurement.peak_bytes > measurement.base_bytes > 0
        assert len(measurement.repeats) == 1 and measurement.repeats[0].product_rate > 0
    assert "optimizer (update)" in train.shares and "optimizer (update)" not in infer.shares
    assert not result.measurements["input"].shares and not result.measurements["prepare"].shares
    assert "as raw" in result.measurements["input-raw"].what
    assert "decoded in memory" in result.measurements["input-cached"].what
    assert all(found > 0 for found in result.cores_needed.values()) and len(result.cores_needed) == 3
    assert "generated" in result.measurements["input"].what and "512" in result.measurements["prepare"].what


@pytest.mark.slow
def test_a_dataset_is_read_and_shown_beside_the_earlier_result(measured, prepared, monkeypatch):
    monkeypatch.chdir(measured[0])
    options = ["input", "--data", prepared.path, "--recipe", "tiny.toml", "--batch-size", 4, "--repeats", 1]
    result = benchmark(*options, "--compare", "all.json")
    assert result.exit_code == 0, result.stderr
    assert "| measurement | figure | then | now | ratio |" in result.stdout
    assert "Warning: the data of input was" in result.stderr, "generated images then"
    rows = [line for line in result.stdout.splitlines() if line.startswith("| input | images/s")]
    then, now, ratio = (float(cell.split()[0].replace(",", "")) for cell in rows[0].split("|")[3:6])
    assert ratio == pytest.approx(now / then, abs=0.006)


@pytest.mark.slow
def test_what_the_earlier_result_lacks_is_shown_all_the_same(measured, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(measured[0])
    whole = json.loads(Path("all.json").read_text())
    earlier = {**whole, "measurements": {"input": whole["measurements"]["input"]}}
    (tmp_path / "earlier.json").write_text(json.dumps(earlier))
    print_result(read_result(Path("all.json")), then=read_result(tmp_path / "earlier.json"))
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| train |")]
    assert any(row[1] == "images/s" and row[2] == row[4] == "-" and float(row[3].split()[0]) > 0 for row in rows)
    assert any(row[1] == "pooling" and row[2] == row[4] == row[6] == "-" for row in rows)
    assert any(line.startswith("| input | images/s |") and line.endswith("| 1.00 |") for line in lines)


@pytest.mark.slow
def test_images_of_ones_own_are_prepared_and_printed_as_json(measured, images, monkeypatch):
    monkeypatch.chdir(measured[0])
    result = benchmark("prepare", "--source", images, "--repeats", 1, "--json", "--compare", "all.json")
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert list(printed["measurements"]) == ["prepare"]
    assert printed["measurements"]["prepare"]["what"].startswith("48 images")
    found = {each["figure"]: each for each in printed["compared"]}["images/s"]
    assert found["ratio"] == pytest.approx(found["now"] / found["then"])
    Path("printed.json").write_text(result.stdout)
    assert set(read_result(Path("printed.json")).measurements) == {"prepare"}
    Path("printed.json").unlink()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", "--compare", "nowhere.json"], 2, "no file nowhere.json"),
        (["train", "--compare", "tiny.toml"], 3, "not a result"),
        (["input", "--device-rate", "nan"], 2, "nan is no finite number"),
        (["input", "--device-rate", "inf"], 2, "inf is no finite number"),
        (["train", "--recipe", "vgg"], 2, "vgg"),
        (["train", "--source", "."], 2, "--source is for prepare"),
        (["train", "--device-rate", 27000], 2, "--device-rate is for input"),
        (["prepare", "--batch-size", 4], 2, "--batch-size is for train and infer and input"),
        (["input", "--data", "nowhere"], 2, "nowhere"),
        (["prepare", "--source", "nowhere"], 2, "no folder nowhere"),
        (["--source", "ilsvrc:nowhere"], 2, "no directory nowhere"),
        (["--source", "synsets:nowhere"], 2, "no directory nowhere"),
        (["--source", "parquet:nowhere"], 2, "no directory nowhere"),
        (["fly"], 2, "fly"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(folder, monkeypatch, arguments, code, said):
    monkeypatch.chdir(folder)
    result = benchmark(*arguments)
    assert result.exit_code == code, result.stderr
    assert said in result.stderr and "Traceback" not in result.stderr and result.stdout == ""
    assert "Measuring" not in result.stderr


def test_what_was_measured_before_another_failed_is_shown_and_written(folder, monkeypatch):
    def measure(name, *_):
        if name == "infer":
            raise AlexNetError("There is not enough memory to measure infer.")
        return Measurement("steps", "CPU", (Repeat(8, 2.0),))

    monkeypatch.chdir(folder)
    monkeypatch.setattr(worker, "measure", measure)
    result = benchmark("--recipe", "tiny.toml", "--out", "train.json")
    assert result.exit_code == 1 and "Error: There is not enough memory to measure infer." in result.stderr
    assert "| train | images/s | 4.00 |" in result.stdout
    assert list(read_result(Path("train.json")).measurements) == ["train"]
    Path("train.json").unlink()
    result = benchmark("infer", "--recipe", "tiny.toml", "--out", "infer.json")
    assert result.exit_code == 1 and result.stdout == "" and not Path("infer.json").exists()


def children_of(process: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        if parent == process:
            found.append(int(stat.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_ctrl_c_ends_with_130_and_leaves_no_process_and_no_file(tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "alexnet_keras.cli.main", "benchmark", "prepare", "--repeats", "1000"]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background is started with SIGINT ignored, and its children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 180
    while not list(temporary.glob("*/prepared/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = children_of(process.pid)
    assert len(workers) == 1
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=90)
    assert process.returncode == 130
    assert "Interrupted" in printed and "Traceback" not in printed
    assert not Path(f"/proc/{workers[0]}").exists()
    assert list(temporary.iterdir()) == []
