"""Two commands on one run or dataset: both right, or one waits or refuses. tests/trials/ tries them by the hundred."""

import json
import os
import shutil
import threading

import pytest
from invoking import invoke
from PIL import Image

from alexnet_keras.data.dataset import DATASET_LOCK, open_prepared
from alexnet_keras.errors import AlexNetError, UsageError
from alexnet_keras.runs import Run, new_run_path
from alexnet_keras.storage.locks import locked
from alexnet_keras.storage.places import runs_root


@pytest.fixture
def project(trained_once, tmp_path, monkeypatch):
    """A folder of the test's own with a finished run `tiny`."""
    folder, _ = trained_once
    copy = shutil.copytree(folder, tmp_path / "project")
    monkeypatch.chdir(copy)
    return copy


def test_a_dataset_that_is_read_is_not_prepared_anew(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare = ["prepare", images, "--out", "data/colors"]
    assert invoke(*prepare).exit_code == 0
    before = (tmp_path / "data/colors/manifest.json").read_bytes()
    with open_prepared("colors").reading(), open_prepared("colors").reading():
        refused = invoke(*prepare, "--seed", "1", "--overwrite")
        assert refused.exit_code == 1 and "is preparing or reading data/colors" in refused.stderr
        assert invoke(*prepare).exit_code == 0, "nothing is to be done"
        assert invoke("prepare", "--verify", "colors").exit_code == 0
    assert (tmp_path / "data/colors/manifest.json").read_bytes() == before
    with locked(tmp_path / "data/colors" / DATASET_LOCK, "busy"):
        refused = invoke("prepare", "--verify", "colors")
        assert refused.exit_code == 1 and "is preparing data/colors again: wait for it" in refused.stderr.replace(
            "\n", " "
        )
    assert invoke(*prepare, "--seed", "1", "--overwrite").exit_code == 0, "no lock is left behind"


def test_a_preparation_that_another_process_finishes_meanwhile_is_not_made_again(images, tmp_path, monkeypatch):
    from alexnet_keras.data import preparation_directory
    from alexnet_keras.data.preparation import Preparation
    from alexnet_keras.data.sources.folder import folder_source

    made = Preparation(folder_source(images), tmp_path / "set")
    first_look = preparation_directory.open_if_same

    def too_early(*arguments):
        found = first_look(*arguments)
        monkeypatch.setattr(preparation_directory, "open_if_same", first_look)
        made.complete()  # as another process does between the first look and the lock
        return found

    monkeypatch.setattr(preparation_directory, "open_if_same", too_early)
    monkeypatch.setattr(Preparation, "write_missing", _once(Preparation.write_missing))
    assert made.complete().fingerprint == open_prepared(tmp_path / "set").fingerprint


def _once(function):
    calls = []

    def called(*values, **named):
        assert not calls, "called twice"
        calls.append(True)
        return function(*values, **named)

    return called


def test_two_runs_that_begin_at_once_have_directories_of_their_own(tmp_path, monkeypatch, tiny):
    monkeypatch.chdir(tmp_path)
    paths, barrier = [], threading.Barrier(8)

    def begin():
        barrier.wait()
        paths.append(new_run_path("source", "colors"))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 8 and all(path.parent == runs_root() for path in paths)
    Run.create(paths[0], tiny, {"status": "running"})
    with pytest.raises(UsageError, match="exists"):
        Run.create(paths[0], tiny, {"status": "running"})
    with Run(paths[1]).training_lock(), pytest.raises(AlexNetError, match="another process"):
        Run.create(paths[1], tiny, {"status": "running"})


def test_a_run_that_ends_while_it_is_looked_at_is_not_killed(tmp_path, tiny, monkeypatch):
    run = Run.create(tmp_path / "run", tiny, {"status": "running"})
    assert run.status == "killed"

    def ends(lock):
        run.update({"status": "finished"})
        return False

    monkeypatch.setattr("alexnet_keras.runs.run.is_locked", ends)
    assert run.status == "finished"


def test_a_run_that_did_not_begin_gives_its_name_back(project, prepared):
    refused = invoke(
        "train",
        "--data",
        prepared.path,
        "--recipe",
        "tiny.toml",
        "--batch-size",
        "7",
        "--gpus",
        "2",
        "--strategy",
        "mirrored",
    )
    assert refused.exit_code == 2, refused.output
    assert [path.name for path in runs_root().iterdir()] == ["tiny"]


@pytest.mark.slow
def test_a_run_that_cannot_be_written_is_evaluated_and_printed(project, monkeypatch):
    kept = json.loads(invoke("eval", "tiny", "--json").stdout)
    shutil.rmtree("saved_models/tiny/evaluations")
    before = sorted(path for path in (project / "saved_models/tiny").rglob("*"))
    monkeypatch.setattr(Run, "is_writable", False)
    done = invoke("eval", "tiny", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == kept
    assert "Kept nothing: saved_models/tiny cannot be written." in done.stderr
    assert sorted(path for path in (project / "saved_models/tiny").rglob("*")) == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_what_is_no_image_is_named_and_the_others_are_prepared(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = shutil.copytree(images, "mixed")
    os.mkfifo(f"{copy}/train/red/pipe.jpg")
    (tmp_path / "mixed/train/red/link.jpg").symlink_to(tmp_path / "mixed/train/red/pipe.jpg")
    (tmp_path / "mixed/train/red/zero.jpg").symlink_to("/dev/zero")
    with (tmp_path / "mixed/train/red/film.jpg").open("wb") as file:
        file.write(b"\0\0\0\x18ftypmp42")
        file.truncate(2**33)
    Image.new("F", (300, 300)).save(tmp_path / "mixed/train/red/float.tif")
    done = invoke("prepare", "mixed", "--json")
    assert done.exit_code == 0, done.output
    reasons = {each["filename"]: each["reason"] for each in json.loads(done.stdout)["rejected"]}
    assert "not a plain file" in reasons["red/link.jpg"] and "not a plain file" in reasons["red/zero.jpg"]
    assert reasons["red/film.jpg"] == "not a picture but a film"
    assert "floating-point numbers" in reasons["red/float.tif"]


def test_a_split_without_one_usable_image_is_bad_data(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = shutil.copytree(images, "mixed")
    for path in (tmp_path / "mixed/val").rglob("*.jpg"):
        path.write_bytes(b"none")
    done = invoke("prepare", copy, "--max-bad", "100")
    assert done.exit_code == 3, done.output
    assert "None of the images in the val split can be used" in done.stderr
