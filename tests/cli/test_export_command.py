"""`alexnet export`."""

import json
import shutil
from functools import partial

import pytest
from invoking import invoke

from alexnet_keras.cli.main import cli
from alexnet_keras.interop import export_run
from alexnet_keras.interop.exported import Agreement, Tolerance


@pytest.fixture
def export(trained, monkeypatch):
    """Runs the command in the folder of a trained run."""
    monkeypatch.chdir(trained[0])
    return partial(invoke, "export")


@pytest.mark.parametrize(
    ("to", "name"),
    [
        ("safetensors", "model.safetensors"),
        pytest.param("saved-model", "saved-model", marks=pytest.mark.slow),
        pytest.param("onnx", "model.onnx", marks=pytest.mark.slow),
        pytest.param("tflite", "model.tflite", marks=pytest.mark.slow),
    ],
)
def test_the_latest_run_is_written_into_itself(export, trained, to, name):
    result = export("--to", to)
    assert result.exit_code == 0, result.stderr
    assert "latest run" in result.stderr and "12 of the 12 val images" in result.stdout
    path = trained[0] / "saved_models/tiny/exports" / name
    assert path.exists() and f"Wrote saved_models/tiny/exports/{name}" in result.stdout
    assert json.loads(path.with_name(f"{name}.json").read_text())["agreement"]["difference"] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["float16", "int8"])
def test_quantised_exports_report_their_errors(export, quantize, tmp_path):
    out = tmp_path / "model.tflite"
    result = export("tiny", "--to", "tflite", "--quantize", quantize, "--out", out, "--pictures", 5)
    assert result.exit_code == 0, result.stderr
    assert "top-1 error" in result.stdout and "5 of the 12 val images" in result.stdout and out.is_file()


@pytest.mark.parametrize(("same", "warned"), [(0.89, True), (0.9, False)])
def test_a_quantised_export_that_answers_otherwise_is_warned_of(export, monkeypatch, tmp_path, same, warned):
    agreement = Agreement(500, "500 images", 0.1, 0.01, same, same, 0.1, 0.5, 0.5, Tolerance(moved=0.1))
    monkeypatch.setattr(export_run, "export_run", lambda *_, **__: agreement)
    (out := tmp_path / "model.tflite").touch()
    monkeypatch.setattr(export_run, "check_can_export", lambda *_: None)
    result = export("tiny", "--to", "tflite", "--quantize", "float16", "--out", out)
    assert result.exit_code == 0, result.stderr
    assert ("Of the 500 images 11.0% have another likeliest class now." in result.stderr) == warned


@pytest.mark.slow
def test_json(export, tmp_path):
    result = export("tiny", "--to", "safetensors", "--out", tmp_path / "weights.safetensors", "--json")
    printed = json.loads(result.stdout)
    assert printed["bytes"] == (tmp_path / "weights.safetensors").stat().st_size
    assert printed["agreement"]["same_top1"] == 1


@pytest.mark.slow
def test_a_disagreement_ends_with_1_and_leaves_nothing(export, monkeypatch, tmp_path):
    monkeypatch.setitem(export_run.TOLERANCES, None, Tolerance(difference=-1.0))
    result = export("tiny", "--to", "tflite", "--out", tmp_path / "model.tflite")
    assert result.exit_code == 1 and "was not written" in result.stderr
    assert not list(tmp_path.glob("*.tflite*"))


@pytest.mark.slow
def test_without_its_data_a_run_is_compared_on_generated_images(trained, monkeypatch, tmp_path):
    shutil.copytree(trained[0] / "saved_models/tiny", tmp_path / "saved_models/tiny")
    facts = tmp_path / "saved_models/tiny/run.json"
    known = json.loads(facts.read_text())
    gone = {"path": "data/gone", "absolute": "/gone/data/gone", "from_run": "../../data/gone"}
    facts.write_text(json.dumps({**known, "data": {**known["data"], **gone}}))
    monkeypatch.chdir(tmp_path)
    result = invoke("export", "--to", "safetensors", "--pictures", "2")
    assert result.exit_code == 0, result.stderr
    assert "2 generated images" in result.stdout and "data/gone" in result.stderr
    result = invoke("export", "--to", "tflite", "--quantize", "int8")
    assert result.exit_code == 2 and "data/gone" in result.stderr


def test_every_format_can_be_chosen():
    to = next(option for option in cli.commands["export"].params if option.name == "to")
    assert list(to.type.choices) == list(export_run.FORMATS)


def test_wrong_usage_ends_with_2(export):
    assert export("--to", "caffe").exit_code == 2
    assert export("nothing", "--to", "onnx").exit_code == 2
    result = export("tiny", "--to", "onnx", "--quantize", "int8")
    assert result.exit_code == 2 and "TFLite" in result.stderr
    result = export("tiny", "--to", "safetensors", "--seed", -1)
    assert result.exit_code == 2 and "-1 is not in the range" in result.stderr


def test_a_run_has_a_model_card_with_its_errors_once_it_was_evaluated(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    card = trained[0] / "saved_models/tiny/MODEL_CARD.md"
    assert "Parameters | not recorded" not in card.read_text(encoding="utf-8"), "written when training ended"
    assert invoke("eval", "tiny").exit_code == 0
    assert "Top-1 accuracy, centre crop" in card.read_text(encoding="utf-8")
