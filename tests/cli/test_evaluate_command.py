"""`alexnet eval`, `predict`, and the images that show predictions, through Click's runner."""

import csv
import errno
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from invoking import invoke
from PIL import Image

from alexnet_keras import AlexNet
from alexnet_keras.cli.predict import _draw
from alexnet_keras.data.dataset import MANIFEST
from alexnet_keras.evaluation.classifier import Classification
from alexnet_keras.runs import Run


@pytest.fixture(scope="module")
def project(trained, tiny):
    """The folder of the finished run `tiny`, with another run of other weights."""
    folder, _ = trained
    shutil.copytree(folder / "saved_models/tiny", folder / "saved_models/other")
    AlexNet(tiny, classes=3, seed=9).save(folder / "saved_models/other/model.keras")
    return folder


@pytest.fixture
def alexnet(project, monkeypatch):
    """Runs a command in that folder."""
    monkeypatch.chdir(project)
    return invoke


def test_predictions_and_results_are_kept_and_used_again(alexnet, project, monkeypatch):
    first = alexnet("eval", "tiny", "--json")
    assert first.exit_code == 0, first.stderr
    kept = project / "saved_models/tiny/evaluations"
    (result,) = json.loads(first.stdout)
    assert json.loads((kept / "best-colors-val-centre.json").read_text()) == result
    assert np.load(kept / "best-colors-val-centre/probabilities.npy").shape == (12, 3)
    assert sum(found["images"] for found in result["by_class"]) == result["images"] == 12
    assert 0 <= result["calibration"]["expected_error"] <= 1
    monkeypatch.setattr(Run, "load_model", lambda *_: pytest.fail("nothing has to be computed"))
    again = alexnet("eval", "tiny", "--json")
    assert (again.exit_code, again.stdout) == (0, first.stdout)


def test_a_single_run_is_told_in_detail_and_top_5_of_three_classes_is_explained(alexnet):
    result = alexnet("eval", "tiny", "--ten-crop")
    assert result.exit_code == 0, result.stderr
    for part in ("ten-crop", "Worst classes", "Calibration", "with 3 classes the right one is always among five"):
        assert part in result.stdout


def test_several_runs_stand_in_one_table_in_the_form_asked_for(alexnet):
    table = alexnet("eval", "tiny", "other", "--markdown").stdout.splitlines()
    assert table[0].startswith("| run | views |")
    assert [line.split(" | ")[0] for line in table[2:]] == ["| saved_models/tiny", "| saved_models/other"]
    rows = list(csv.DictReader(io.StringIO(alexnet("eval", "tiny", "other", "--csv").stdout)))
    assert [(row["run"], row["model"]) for row in rows] == [
        ("saved_models/tiny", "best"),
        ("saved_models/other", "best"),
    ]
    assert float(rows[0]["top1_low"]) <= float(rows[0]["top1_error"]) <= float(rows[0]["top1_high"])
    assert rows[0]["top5_error"] == rows[0]["top5_high"] == "", "with three classes there is none"


@pytest.fixture
def broken(project):
    """A run whose weights are finite and whose logits are not."""
    path = shutil.copytree(project / "saved_models/tiny", project / "saved_models/broken")
    shutil.rmtree(path / "evaluations", ignore_errors=True)
    model = Run(path).load_model()
    kernel = model.get_layer("fc8").kernels[0]
    kernel.assign(np.full(kernel.shape, 3e38, np.float32) * np.float32([1, -1, 1]))
    model.save(path / "model.keras")
    yield path
    shutil.rmtree(path)


@pytest.mark.slow
def test_a_network_whose_probabilities_are_not_finite_is_refused_everywhere(alexnet, broken, images):
    photo = next(images.rglob("*.jpg"))
    for command in (
        ["eval", "broken"],
        ["eval", "broken", "--ten-crop"],
        ["eval", "tiny", "broken", "--ensemble", "search"],
        ["predict", photo, "--run", "broken"],
    ):
        result = alexnet(*command)
        assert result.exit_code == 3, (command, result.stderr)
        assert "are not finite for" in result.stderr and "Traceback" not in result.stderr
    assert not list(broken.glob("evaluations/*/probabilities.npy"))


def test_predictions_of_an_earlier_version_that_are_not_finite_are_refused(alexnet, project):
    assert alexnet("eval", "other").exit_code == 0
    file = project / "saved_models/other/evaluations/best-colors-val-centre/probabilities.npy"
    kept = np.load(file)
    np.save(file, np.where(np.arange(len(kept))[:, None] == 3, np.float32(np.nan), kept))
    facts = json.loads((file.parent / "facts.json").read_text())
    (file.parent / "facts.json").write_text(json.dumps({k: v for k, v in facts.items() if k != "files"}))
    result = alexnet("eval", "tiny", "other", "--ensemble", "mean")
    np.save(file, kept)
    (file.parent / "facts.json").write_text(json.dumps(facts))
    assert result.exit_code == 3 and "are not finite for 1 of 12 images" in result.stderr


def test_an_ensemble_stands_below_its_members(alexnet):
    result = alexnet("eval", "tiny", "other", "--ensemble", "mean", "--json")
    assert result.exit_code == 0, result.stderr
    one, two, both = json.loads(result.stdout)
    assert [each["run"] for each in (one, two, both)] == ["saved_models/tiny", "saved_models/other", "2 CNNs, mean"]
    assert one["by_class"] and two["by_class"]
    assert both["weights"] == {"tiny": 0.5, "other": 0.5}
    lines = alexnet("eval", "tiny", "other", "--ensemble", "search", "--markdown").stdout.splitlines()
    assert lines[0] == "| model | top-1 (val, searched half) | top-1 (val, other half) |"
    assert lines[-1].startswith("| 2 CNNs, search |")


def test_an_ensemble_of_ten_crops_leaves_the_centre_crops_of_its_members_and_prints_everything_once(alexnet):
    words = ("eval", "tiny", "other", "--ten-crop", "--ensemble", "mean")
    rows = list(csv.DictReader(io.StringIO(alexnet(*words, "--csv").stdout)))
    members = ("saved_models/tiny", "saved_models/other")
    printed = [*((run, views) for views in ("centre", "ten-crop") for run in members), ("2 CNNs, mean", "ten-crop")]
    assert [(row["run"], row["views"]) for row in rows] == printed
    centre, together = alexnet(*words, "--markdown").stdout.split("\n\n")
    assert [line.split(" | ")[:2] for line in centre.splitlines()[2:]] == [[f"| {run}", "centre"] for run in members]
    assert [line.split(" | ")[0] for line in together.splitlines()[2:]] == ["| tiny", "| other", "| 2 CNNs, mean"]
    shown = alexnet(*words).stdout
    assert shown.index("centre") < shown.index("ten-crop") < shown.index("2 CNNs, mean")


@pytest.mark.slow
def test_weights_are_searched_on_one_split_and_reported_on_another(alexnet):
    searched = alexnet("eval", "tiny", "other", "--ensemble", "search", "--search-on", "train", "--json")
    assert searched.exit_code == 0, searched.stderr
    found = [r for r in json.loads(searched.stdout) if r.get("ensemble") == "search"]
    assert [(r["split"], r["images"]) for r in found] == [("train", 36), ("val", 12)]
    of = {(r["run"], r["split"]): r["top1"]["error"] for r in json.loads(searched.stdout)}
    best = min(of[name, "train"] for name in ("tiny", "other", "2 CNNs, mean"))
    assert of["2 CNNs, search", "train"] <= best


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["eval", "tiny", "--split", "test"], 2, "has no split 'test'"),
        (["eval", "tiny", "--ensemble", "mean"], 2, "two different runs"),
        (["eval", "tiny", "tiny", "--ensemble", "mean"], 2, "two different runs"),
        (["eval", "tiny", "other", "--submission", "x.txt"], 2, "--ensemble of several"),
        (["eval", "tiny", "--submission", "x.txt"], 2, "devkit"),
        (["eval", "tiny", "--search-on", "train"], 2, "--search-on goes with --ensemble search"),
        (["info", "data", "--split", "val"], 2, "--split goes with --sheet"),
        (["predict", "nowhere.jpg"], 2, "no file or directory nowhere.jpg"),
        (["predict", "tiny.toml"], 3, "tiny.toml is no image"),
        (["predict", "-", "tiny.toml"], 2, "one image on stdin"),
        (["predict", "saved_models/tiny/state"], 3, "has no images in it"),
        (["predict", "tiny.toml", "--run", "nowhere"], 2, "There is no run 'nowhere'"),
        (["visualize", "neighbors", "tiny", "--neighbors", "20", "--query", "tiny.toml"], 3, "no image"),
        (["visualize", "neighbors", "--query", "tiny.toml", "--queries", "3"], 2, "leave out"),
        (["visualize", "neighbors", "tiny", "--queries", "13"], 3, "fewer than the 13 requested"),
        (["visualize", "confusion", "tiny", "--split", "none"], 2, "no split 'none'"),
        (["visualize", "confusion", "nowhere", "--out", "x.jpg"], 2, "x.jpg: a figure is written as .png, .svg, .pdf"),
        (["report", ""], 2, "There is no run ''"),
        (["visualize", "curves", ""], 2, "There is no run ''"),
        (["predict", "nowhere", "--png", "x.jpg"], 2, "x.jpg: a figure is written as"),
        (["info", "data", "nowhere", "--sheet", "x.jpg"], 2, "x.jpg: a figure is written as"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_one_sentence(alexnet, arguments, code, said):
    result = alexnet(*arguments)
    assert result.exit_code == code, result.stderr
    assert said in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr


def test_an_empty_split_and_a_run_without_a_best_model(alexnet, project, prepared, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(prepared.path, data)
    manifest = json.loads((data / MANIFEST).read_text())
    manifest["splits"]["val"] |= {"shards": [], "examples": 0}
    (data / MANIFEST).write_text(json.dumps(manifest))
    result = alexnet("eval", "tiny", "--data", data)
    assert (result.exit_code, "has no images" in result.stderr) == (3, True), result.stderr
    shutil.copytree(project / "saved_models/tiny", tmp_path / "young", ignore=shutil.ignore_patterns("*.keras"))
    for command in (["eval"], ["visualize", "predictions"], ["predict", "tiny.toml", "--run"]):
        result = alexnet(*command, tmp_path / "young")
        assert (result.exit_code, "train it for at least one epoch" in result.stderr) == (2, True), result.stderr


def test_predictions_of_files_of_one_name_are_told_apart_by_their_folders(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "alexnet_keras.visualization.images.draw_predictions", lambda images, path: drawn.append(images)
    )
    for names in (("a/x.jpg", "b/x.jpg"), ("a/x.jpg", "a/y.jpg")):
        _draw([Classification(Path(name), np.zeros((1, 1, 3))) for name in names], 2, tmp_path / "answers.png")
    assert [[image.caption for image in images] for images in drawn] == [["a/x.jpg", "b/x.jpg"], ["x.jpg", "y.jpg"]]


def test_no_figure_takes_the_place_of_an_image_it_is_made_from(alexnet, tmp_path):
    (tmp_path / "a.png").write_bytes(before := b"an image")
    file, same = tmp_path / "a.png", tmp_path / "b" / ".." / "a.png"
    (tmp_path / "b").mkdir()
    for command in (
        ["predict", tmp_path, "--run", "tiny", "--png", same],
        ["visualize", "activations", "tiny", "--image", file, "--out", same],
        ["visualize", "saliency", "tiny", "--image", file, "--out", file],
        ["visualize", "neighbors", "tiny", "--query", file, "--out", file],
    ):
        refused = alexnet(*command)
        assert refused.exit_code == 2 and "a.png is one of the images: name another file" in refused.stderr, command
        assert file.read_bytes() == before


def test_predict_answers_for_files_folders_and_stdin(alexnet, images, tmp_path, monkeypatch):
    folder = tmp_path / "album"
    shutil.copytree(images / "val", folder)
    (folder / "notes.txt").write_text("no image, and not asked for")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 cut short")
    (folder / "@eaDir").mkdir()
    shutil.copy(next(folder.glob("*/*.jpg")), folder / "@eaDir/thumbnail.jpg")
    shutil.copy(next(folder.glob("*/*.jpg")), tmp_path / "above.jpg")
    (folder / "up").symlink_to(tmp_path)
    monkeypatch.setattr("alexnet_keras.cli.predict.MOST_DRAWN", 5)
    result = alexnet("predict", folder, "--run", "tiny", "--json", "--png", tmp_path / "answers.png")
    assert "answers.png, of the first 5 of 12 images" in result.stderr
    assert result.exit_code == 3
    assert "broken.jpg" in result.stderr and "1 of 13 images could not be used" in result.stderr
    assert "1 file that is not an image (1 .txt)" in result.stderr and "1 system folder (1 @eaDir)" in result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == 13 and sum("error" in line for line in lines) == 1
    answered = next(line for line in lines if "error" not in line)
    probabilities = [guess["probability"] for guess in answered["predictions"]]
    assert sum(probabilities) == pytest.approx(1, abs=1e-5) and probabilities == sorted(probabilities, reverse=True)
    assert Image.open(tmp_path / "answers.png").width > 1000
    with open(answered["file"], "rb") as file:  # noqa: PTH123
        piped = alexnet("predict", "-", "--run", "tiny", "--json", input=file.read())
    assert piped.exit_code == 0, piped.stderr
    assert [guess["class"] for guess in json.loads(piped.stdout)["predictions"]] == [
        guess["class"] for guess in answered["predictions"]
    ]
    text = alexnet("predict", answered["file"], "--run", "tiny", "--top", "2").stdout.splitlines()
    assert text[0] == answered["file"] and len(text) == 3
    assert text[1].endswith(f"  {answered['predictions'][0]['class']}")


def test_a_folder_that_cannot_be_read_is_bad_data(alexnet, images, tmp_path, monkeypatch):
    locked = tmp_path / "holiday/locked"
    shutil.copytree(images / "val/red", locked)
    exists, scan = Path.exists, os.scandir

    def refusing(function, is_refused):
        def call(path):
            if is_refused(Path(path)):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return function(path)

        return call

    monkeypatch.setattr(Path, "exists", refusing(exists, lambda path: locked in path.parents))  # root may read all
    monkeypatch.setattr(os, "scandir", refusing(scan, lambda path: path == locked))
    for named in (locked.parent, locked / "000.jpg"):
        result = alexnet("predict", named, "--run", "tiny")
        assert result.exit_code == 3, result.stderr
        said = " ".join(result.stderr.split())
        assert "locked" in said and "cannot be read: Permission denied. Make" in said


def test_stdin_is_read_up_to_a_limit_and_may_be_missing(alexnet, images, monkeypatch):
    monkeypatch.setattr("alexnet_keras.data.images.MOST_BYTES", 1000)
    monkeypatch.setattr("alexnet_keras.evaluation.image_inputs.MOST_BYTES", 1000)
    image = (images / "val/red/000.jpg").read_bytes()
    result = alexnet("predict", "-", "--run", "tiny", input=image)
    assert result.exit_code == 3 and "more than any picture has" in result.stderr
    closed = "import sys; sys.stdin = None; from alexnet_keras.cli.main import main; main()"
    result = subprocess.run([sys.executable, "-c", closed, "predict", "-"], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (2, "Error: There is no stdin to read an image from.\n")


def test_a_bad_image_has_its_line_of_json_also_alone(alexnet, project):
    result = alexnet("predict", "tiny.toml", "--json")
    assert result.exit_code == 3 and "tiny.toml is no image" in result.stderr
    answer = json.loads(result.stdout)
    assert answer["file"] == "tiny.toml" and "is no image" in answer["error"]


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["predictions"], "predictions.png"),
        (["predictions", "--only-errors", "--count", "3"], "errors.png"),
        (["confusion"], "confusion.png"),
        (["confusion", "--ten-crop", "--split", "train"], "confusion-train-ten-crop.png"),
        (["neighbors", "--queries", "2", "--neighbors", "3"], "neighbors.png"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_images_of_predictions_are_written(alexnet, project, arguments, file):
    result = alexnet("visualize", arguments[0], "other", *arguments[1:])
    assert result.exit_code == 0, result.stderr
    assert Image.open(project / "saved_models/other/figures" / file).width > 500


def test_where_no_number_is_given_a_few_images_are_enough(alexnet, monkeypatch):
    monkeypatch.setattr("alexnet_keras.cli.visualize_images.QUERIES", 13)  # of 12 there are
    monkeypatch.setattr("alexnet_keras.cli.visualize_images.NEIGHBORS", 37)  # of 36
    drawn = []
    monkeypatch.setattr("alexnet_keras.visualization.images.draw_neighbors", lambda *shown: drawn.extend(shown[:2]))
    result = alexnet("visualize", "neighbors", "other")
    assert result.exit_code == 0, result.stderr
    images, nearest = drawn
    assert len(images) == len(nearest) == 12 and {len(each.images) for each in nearest} == {36}


@pytest.mark.slow
def test_neighbors_of_an_image_of_ones_own(alexnet, images, tmp_path):
    photo = next((images / "train/red").iterdir())
    result = alexnet("visualize", "neighbors", "tiny", "--query", photo, "--out", tmp_path / "found.png")
    assert result.exit_code == 0, result.stderr
    assert Image.open(tmp_path / "found.png").width > 1000


def test_a_submission_names_the_devkits_ids(alexnet, prepared, tmp_path, monkeypatch):
    from alexnet_keras.data import dataset as module

    monkeypatch.setattr("alexnet_keras.evaluation.analysis.IDS_PER_LINE", 3)
    real = module.read_manifest
    monkeypatch.setattr(module, "read_manifest", lambda path: {**real(path), "ids": [30, 10, 20]})
    result = alexnet("eval", "tiny", "--submission", tmp_path / "out.txt")
    assert result.exit_code == 0, result.stderr
    lines = (tmp_path / "out.txt").read_text().splitlines()
    assert len(lines) == 12 and all(sorted(line.split()) == ["10", "20", "30"] for line in lines)
