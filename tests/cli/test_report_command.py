"""`alexnet report` through Click's runner: what is written, what is printed, and how it ends."""

import json
import shlex
import shutil
from functools import partial
from html import unescape

import pytest
from invoking import invoke

from alexnet_keras.cli.main import cli
from alexnet_keras.cli.report import PARTS
from alexnet_keras.runs import Run

GONE = {"path": "data/gone", "absolute": "/gone/data/gone", "from_run": "../../data/gone"}


@pytest.fixture
def report(trained, monkeypatch):
    """Runs the command in the folder of the finished run `tiny`."""
    monkeypatch.chdir(trained[0])
    return partial(invoke, "report")


@pytest.fixture
def copied(trained, tmp_path, monkeypatch):
    """A copy of the run in a folder without data, its facts as a test wants them; runs the command there."""
    shutil.copytree(trained[0] / "saved_models/tiny", tmp_path / "saved_models/tiny")
    monkeypatch.chdir(tmp_path)

    def report(*arguments, data=None, **facts):
        file = tmp_path / "saved_models/tiny/run.json"
        known = json.loads(file.read_text())
        file.write_text(json.dumps({**known, **facts, "data": {**known["data"], **(data or {})}}))
        return invoke("report", *arguments)

    return report


def test_the_parts_that_can_be_left_out_are_those_there_are():
    from alexnet_keras.reports import parts

    assert tuple(parts.PARTS) == PARTS


@pytest.mark.slow
def test_the_latest_run_is_reported_into_its_directory_and_nothing_is_computed_twice(report, trained, monkeypatch):
    result = report()
    assert result.exit_code == 0, result.stderr
    assert "Using the latest run: saved_models/tiny" in result.stderr
    assert result.stdout.startswith("Wrote saved_models/tiny/report.html (")
    page = (trained[0] / "saved_models/tiny/report.html").read_text()
    assert "ten crops" in page and "Nearest training images" in page
    monkeypatch.setattr("alexnet_keras.evaluation.predictions._predict", lambda *_: pytest.fail("computed again"))
    assert report("tiny", "--without", "neighbors").exit_code == 0


@pytest.mark.slow
def test_parts_are_left_out_and_the_result_is_json(report, tmp_path):
    without = [word for name in PARTS if name != "curves" for word in ("--without", name)]
    result = report("tiny", *without, "--out", tmp_path / "page.html", "--no-ten-crop", "--json")
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["parts"] == ["curves"] and printed["missing"] == {}
    assert printed["report"] == str(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Learning curves" in page and "Calibration" not in page


@pytest.mark.slow
def test_the_page_has_the_command_that_made_the_run(copied, tmp_path):
    without = [word for name in PARTS for word in ("--without", name)]
    made = ["alexnet", "train", "--data", "data/colors", "--run", "tiny", "--recipe", "tiny.toml", "--gpus", "2"]
    assert copied("tiny", *without, command=made).exit_code == 0
    page = unescape((tmp_path / "saved_models/tiny/report.html").read_text())
    line = page[page.rindex("alexnet train") :].partition("\nalexnet eval")[0].replace(" \\\n", " ")
    options = cli.commands["train"].make_context("train", shlex.split(line)[2:]).params
    assert (options["data"], options["name"], options["recipe"]) == ("data/colors", "tiny-again", "tiny.toml")
    assert options["gpus"] == 2
    assert copied("tiny", *without, command=None).exit_code == 0
    assert "The command that made this run is not recorded" in (tmp_path / "saved_models/tiny/report.html").read_text()


@pytest.mark.slow
def test_without_its_data_a_run_is_reported_as_far_as_it_goes(copied, tmp_path):
    assert copied("tiny", *[word for name in PARTS for word in ("--without", name)]).exit_code == 0  # evaluates
    result = copied("tiny", "--without", "kernels", "--without", "towers", data=GONE)
    assert result.exit_code == 0, result.stderr
    assert "Warning: There is no prepared dataset data/gone." in result.stderr
    assert result.stdout.endswith("without predictions, neighbors\n")
    page = (tmp_path / "saved_models/tiny/report.html").read_text()
    assert "What was computed before is shown" in page and "ten crops" in page and "Confusion matrix" in page


def test_a_run_that_cannot_be_written_is_reported_elsewhere(copied, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "is_writable", False)
    refused = copied("tiny", data=GONE)
    assert refused.exit_code == 1 and "say with --out where to write" in refused.stderr
    card = (tmp_path / "saved_models/tiny/MODEL_CARD.md").read_bytes()
    words = [word for name in PARTS for word in ("--without", name)]
    result = copied("tiny", *words, "--no-ten-crop", "--out", tmp_path / "page.html", data=GONE)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "page.html").exists()
    assert (tmp_path / "saved_models/tiny/MODEL_CARD.md").read_bytes() == card


def test_a_run_that_was_interrupted_is_reported_so(copied, tmp_path):
    without = [word for name in PARTS for word in ("--without", name)]
    result = copied("tiny", *without, "--no-ten-crop", status="interrupted")
    assert result.exit_code == 0, result.stderr
    assert "This run was interrupted." in (tmp_path / "saved_models/tiny/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tiny", "--data", "data/gone"], "There is no prepared dataset data/gone"),
        (["tiny", "--split", "exam"], "has no split 'exam'"),
        (["tiny", "--without", "colours"], "'colours' is not one of"),
    ],
)
def test_what_does_not_exist_ends_with_2(report, arguments, said):
    result = report(*arguments)
    assert result.exit_code == 2 and said in result.stderr


def test_a_run_without_a_model_ends_with_2(copied, tmp_path):
    (tmp_path / "saved_models/tiny/model.keras").unlink()
    result = copied("tiny")
    assert result.exit_code == 2 and "train it for at least one epoch" in result.stderr


def test_a_damaged_model_ends_with_3(copied, tmp_path):
    (tmp_path / "saved_models/tiny/model.keras").write_bytes(b"\0nothing")
    result = copied("tiny", data=GONE)
    assert result.exit_code == 3 and "damaged" in result.stderr


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("started", "yesterday"),
        ("updated", "2026"),
        ("devices", None),
        ("resumed", [{"strategy": "one"}]),
        ("ended", 3),
    ],
)
def test_a_damaged_entry_of_the_run_ends_with_3(copied, tmp_path, entry, value):
    file = tmp_path / "saved_models/tiny/run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), entry: value}))
    result = copied("tiny", "--no-ten-crop", data=GONE)
    assert result.exit_code == 3 and f"run.json is damaged: its entry '{entry}" in result.stderr
