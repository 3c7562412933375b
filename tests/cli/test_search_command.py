"""`alexnet features` and `alexnet search`: what they print and write, what they reuse, and how bad input ends."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from invoking import invoke
from untrained import untrained_run

from alexnet_keras.evaluation.features import FeatureExtractor
from alexnet_keras.runs import Run


@pytest.fixture(scope="module")
def project(tiny, prepared, tmp_path_factory):
    """A folder with a run `tiny` in it, whose model was not trained, which no command here minds."""
    folder = tmp_path_factory.mktemp("project")
    untrained_run(folder / "saved_models/tiny", tiny, prepared)
    (folder / "note.txt").write_text("not an image")
    return folder


@pytest.fixture
def run_in(project, monkeypatch):
    """Runs a command in that folder."""
    monkeypatch.chdir(project)
    return invoke


@pytest.fixture(scope="module")
def indexed(project):
    """The same folder after `alexnet search build`, and what that printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        result = invoke("search", "build", "tiny", "--bits", "16", "--epochs", "2", "--json")
    assert result.exit_code == 0, result.stderr
    return project / "saved_models/tiny", result


def test_features_are_written_where_it_says_and_reused(run_in, project):
    first = run_in("features", "--layer", "fc6", "--split", "val", "--json")
    assert first.exit_code == 0, first.stderr
    assert "Using the latest run: saved_models/tiny" in first.stderr
    printed = json.loads(first.stdout)
    path = project / printed["path"]
    assert path == project / "saved_models/tiny/features/fc6-colors-val"
    features = np.load(path / "00000.features.npy")
    assert features.shape == (12, printed["size"]) and printed["rows"] == 12 and printed["bytes"] >= features.nbytes
    before = {file.name: file.stat().st_mtime_ns for file in path.iterdir()}
    again = run_in("features", "tiny", "--layer", "fc6", "--split", "val")
    assert again.exit_code == 0 and "Using the existing features" in again.stderr
    assert "12 images" in again.stdout and "fc6-colors-val" in again.stdout
    assert {file.name: file.stat().st_mtime_ns for file in path.iterdir()} == before


@pytest.mark.slow
def test_features_of_a_model_that_was_trained_further_are_computed_anew(run_in, project, tmp_path):
    assert run_in("features", "--split", "val", "--out", tmp_path / "own").exit_code == 0
    index = json.loads((tmp_path / "own/index.json").read_text())
    (tmp_path / "own/index.json").write_text(json.dumps({**index, "model_sha256": "0" * 64}))
    path = shutil.copytree(tmp_path / "own", project / "saved_models/tiny/features/drop7-colors-val")
    result = run_in("features", "--split", "val")
    assert result.exit_code == 0 and "computed again" in result.stderr
    assert json.loads((path / "index.json").read_text()) == index
    result = run_in("features", "--split", "val", "--out", tmp_path / "own")
    assert result.exit_code == 3 and "--out" in result.stderr, "what somebody named is not overwritten"


def test_build_measures_recall_and_a_repeated_build_is_there_already(indexed, run_in):
    path, result = indexed
    printed = json.loads(result.stdout)
    assert (path / "features/drop7-colors-train/index.json").exists()
    assert printed["index"] == "saved_models/tiny/search/drop7-colors-train" and printed["rows"] == 36
    assert printed["queries"] == {"split": "val", "count": 12}
    assert [method["method"] for method in printed["methods"]] == ["exact", "codes", "codes, 36 re-ranked"]
    assert printed["methods"][0]["recall"] == printed["methods"][2]["recall"] == {"1": 1.0, "10": 1.0}
    assert 10 / 36 / 2 < printed["methods"][1]["recall"]["10"] < 1
    again = run_in("search", "build", "tiny", "--bits", "16", "--epochs", "2", "--json")
    assert "Using the existing index" in again.stderr and json.loads(again.stdout) == printed
    table = run_in("search", "build", "tiny", "--bits", "16", "--epochs", "2").stdout
    assert "recall@10" in table and "12 queries of the split val" in table and "codes, 36 re-ranked" in table


def test_a_training_image_from_its_file_finds_itself(indexed, run_in, images):
    """Which it does only if the file is prepared exactly as `alexnet prepare` did."""
    files = [images / "train/red/003.jpg", images / "train/blue/011.jpg"]
    result = run_in("search", "query", *files, "--run", "tiny", "--count", 3, "--json")
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["distance"] == "Euclidean"
    for file, answer in zip(files, printed["found"], strict=True):
        assert answer["picture"] == str(file)
        assert [one["rank"] for one in answer["neighbors"]] == [1, 2, 3]
        first, second, _ = answer["neighbors"]
        assert first["filename"].endswith(f"{file.parent.name}/{file.name}") and first["class"] == file.parent.name
        assert first["distance"] < 1e-2 * second["distance"]
    printed = json.loads(run_in("search", "query", files[0], "--codes", "--json").stdout)
    assert printed["distance"] == "bits" and len(printed["found"][0]["neighbors"]) == 10
    assert printed["found"][0]["neighbors"][0]["distance"] == 0
    table = run_in("search", "query", files[0], "--codes", "--rerank", 36, "--count", 2).stdout
    assert "red/003.jpg" in table and "rank" in table and "Nearest to" in table


def test_images_pass_through_the_network_a_few_at_a_time(indexed, run_in, images, monkeypatch):
    sizes, extract = [], FeatureExtractor.__call__
    monkeypatch.setattr("alexnet_keras.evaluation.features.BATCH_SIZE", 2)
    monkeypatch.setattr(FeatureExtractor, "__call__", lambda self, some: sizes.append(len(some)) or extract(self, some))
    files = [images / f"train/{name}/004.jpg" for name in ("red", "blue", "green")]
    printed = json.loads(run_in("search", "query", *files, "--count", 1, "--json").stdout)
    assert sizes == [2, 1]
    assert [answer["neighbors"][0]["class"] for answer in printed["found"]] == ["red", "blue", "green"]


@pytest.mark.parametrize("command", [["features"], ["search", "build", "--bits", "16", "--epochs", "2"]])
def test_data_that_were_prepared_again_since_the_training_are_warned_of(indexed, run_in, command):
    assert "not trained on" not in run_in(*command, "--run", "tiny").stderr
    later = Run(shutil.copytree(indexed[0], indexed[0].with_name("later")))
    try:
        later.update({"data": {**later.facts["data"], "fingerprint": "0" * 64}})
        result = run_in(*command, "--run", "later")
        assert result.exit_code == 0, result.stderr
        assert result.stderr.count("was not trained on") == 1 and "as it is now" in " ".join(result.stderr.split())
    finally:
        shutil.rmtree(later.path)


def test_what_is_there_already_is_printed_with_todays_names(indexed, run_in, prepared, tmp_path):
    renamed, data = indexed[0].with_name("renamed"), tmp_path / "colors"
    shutil.copytree(indexed[0], renamed)
    shutil.copytree(prepared.path, data)
    try:
        for command in (["features", "renamed"], ["search", "build", "renamed", "--bits", 16, "--epochs", 2]):
            result = run_in(*command, "--data", data, "--json")
            assert "Using the existing" in result.stderr
            printed = json.loads(result.stdout)
            assert (printed["run"], printed["data"]) == ("renamed", str(data))
    finally:
        shutil.rmtree(renamed)


@pytest.mark.slow
def test_an_index_elsewhere_and_of_another_layer(indexed, run_in, images, tmp_path):
    options = ["--layer", "pool5", "--split", "val", "--bits", 8, "--epochs", 1, "--out", tmp_path / "index"]
    result = run_in("search", "build", "tiny", *options)
    assert result.exit_code == 0, result.stderr
    assert "queries of the split train" in result.stdout
    result = run_in("search", "query", images / "val/green/002.jpg", "--index", tmp_path / "index", "--json")
    assert json.loads(result.stdout)["found"][0]["neighbors"][0]["filename"].endswith("green/002.jpg")


def test_of_a_run_that_cannot_be_written_both_go_elsewhere(run_in, project, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "is_writable", False)
    before = sorted((project / "saved_models/tiny").rglob("*"))
    options = ["tiny", "--layer", "pool2", "--split", "val"]
    for command in (["features"], ["search", "build"]):
        refused = run_in(*command, *options)
        assert refused.exit_code == 1, refused.output
        assert "Nothing can be written into the run saved_models/tiny: say with --out where to write." in refused.stderr
    written = run_in("features", *options, "--out", tmp_path / "features")
    assert written.exit_code == 0, written.stderr
    built = run_in("search", "build", *options, "--bits", 8, "--epochs", 1, "--out", tmp_path / "index")
    assert built.exit_code == 0, built.stderr
    assert sorted((project / "saved_models/tiny").rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["features", "--layer", "fc9"], 2, "There is no layer 'fc9'; the layers are image, mean"),
        (["features", "--split", "test"], 2, "no split 'test'"),
        (["features", "--data", "nowhere"], 2, "no prepared dataset nowhere"),
        (["search", "build", "--bits", "100"], 2, "multiple of 8"),
        (["search", "build", "--bits", "4"], 2, "--bits"),
        (["search", "query", "no.jpg"], 2, "There is no file no.jpg"),
        (["search", "query", "note.txt"], 3, "note.txt is no image that can be used"),
        (["search", "query"], 2, "IMAGE"),
        (["search", "query", "no.jpg", "--index", "nowhere"], 2, "alexnet search build"),
        (["search", "query", "no.jpg", "--rerank", "20"], 2, "--codes"),
        (["search", "query", "no.jpg", "--codes", "--rerank", "5"], 2, "less than the --count 10"),
    ],
)
def test_bad_input_is_one_sentence(indexed, run_in, arguments, code, said):
    result = run_in(*arguments)
    assert result.exit_code == code, result.stderr
    assert said in result.stderr and "Traceback" not in result.stderr and result.stdout == ""


@pytest.mark.parametrize("command", [["features"], ["search", "build"], ["search", "query", "x.jpg"]])
def test_without_a_run_or_a_model(alexnet, command, tiny):
    result = alexnet(*command)
    assert result.exit_code == 2 and "alexnet train" in result.stderr
    Run.create(Path("saved_models/new"), tiny, {"status": "running"})
    result = alexnet(*command)
    assert result.exit_code == 2 and "no model.keras yet" in result.stderr


@pytest.mark.parametrize("command", [["build"], ["query", "x.jpg"]])
def test_without_faiss(indexed, run_in, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    result = run_in("search", *command)
    assert result.exit_code == 2 and "pip install 'alexnet-keras[search]'" in result.stderr


def test_without_an_index_and_with_another_runs(indexed, run_in, images, tiny):
    from alexnet_keras import AlexNet

    shutil.copytree(indexed[0], indexed[0].parent / "other")
    shutil.rmtree(indexed[0].parent / "other/search")
    try:
        result = run_in("search", "query", images / "train/red/003.jpg", "--run", "other")
        assert result.exit_code == 2 and "`alexnet search build other`" in result.stderr
        AlexNet(tiny, classes=3, seed=4).save(indexed[0].parent / "other/model.keras")
        index = ["--index", indexed[0] / "search/drop7-colors-train"]
        result = run_in("search", "query", images / "train/red/003.jpg", "--run", "other", *index)
        assert (
            result.exit_code == 3 and "built from another model (run tiny" in result.stderr and "other" in result.stderr
        )
    finally:
        shutil.rmtree(indexed[0].parent / "other")


@pytest.mark.slow
def test_damaged_features_and_a_damaged_index(indexed, run_in, images, tmp_path):
    assert run_in("features", "--split", "val", "--out", tmp_path / "own").exit_code == 0
    shard = tmp_path / "own/00000.features.npy"
    shard.write_bytes(shard.read_bytes()[:-40])
    result = run_in("features", "--split", "val", "--out", tmp_path / "own")
    assert result.exit_code == 3 and "00000.features.npy is damaged" in result.stderr
    index = shutil.copytree(indexed[0] / "search/drop7-colors-train", tmp_path / "index")
    (index / "exact-00000.faiss").write_bytes(b"\0" * (index / "exact-00000.faiss").stat().st_size)
    result = run_in("search", "query", images / "train/red/003.jpg", "--index", index)
    assert result.exit_code == 3 and "exact-00000.faiss is damaged" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_data_with_other_classes_and_an_empty_split(indexed, run_in, write_images, prepared, tmp_path):
    write_images(tmp_path / "two", {"x": 5, "y": 5})
    assert run_in("prepare", tmp_path / "two", "--out", tmp_path / "out").exit_code == 0
    for command in (["features", "tiny"], ["search", "build", "tiny"]):
        result = run_in(*command, "--data", tmp_path / "out")
        assert result.exit_code == 3 and "classes" in result.stderr
    empty = shutil.copytree(prepared.path, tmp_path / "empty")
    manifest = json.loads((empty / "manifest.json").read_text())
    manifest["splits"]["val"] |= {"shards": []}
    (empty / "manifest.json").write_text(json.dumps(manifest))
    for command in (["features", "tiny"], ["search", "build", "tiny"]):
        result = run_in(*command, "--data", empty, "--split", "val")
        assert result.exit_code == 3 and "has no images" in result.stderr
