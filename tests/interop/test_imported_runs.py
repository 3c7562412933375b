"""Runs of imported weights: known files, progress, and what is left of one that could not be written."""

from pathlib import Path

import keras
import pytest
from plain_networks import random_arrays
from recorded import Recorded
from small_networks import CLASSES, DENSE, FILTERS, small
from written_files import state_names, write_pth

from alexnet_keras.errors import AlexNetError, UsageError
from alexnet_keras.interop.import_run import import_run
from alexnet_keras.runs import Run, all_runs
from alexnet_keras.storage.files import partial_path
from alexnet_keras.weights.published import known_file


def test_published_files_are_known_by_their_checksums():
    assert known_file("9116a64c0fbe4459d18f4bb6b56d647b63920377", "").name == "bvlc_alexnet.caffemodel"
    assert known_file("4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46", "").top5 == 0.804
    assert known_file("", "7be5be79" + 56 * "0").top1 == 0.56522
    assert known_file(40 * "0", 64 * "0") is None


def test_nothing_is_left_of_a_run_that_could_not_be_written(tmp_path, monkeypatch):
    path = write_pth(tmp_path / "a.pth", state_names(random_arrays(FILTERS["torchvision"], DENSE, groups=1)))

    def fail(*_):
        raise OSError("full")

    folder = tmp_path / "runs" / "a"
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save", fail)
        with pytest.raises(OSError, match="full"):
            import_run(folder, path, "torchvision", recipe=small("torchvision"))
    assert not folder.exists()
    reporter = Recorded()
    run = import_run(folder, path, "torchvision", recipe=small("torchvision"), reporter=reporter)
    assert [(work.total, work.texts) for work in reporter.work] == [(3, ["read", "recognised", "written"])]
    assert len(run.facts["classes"]) == CLASSES
    assert run.load_model("last").output_shape == (None, CLASSES)


def test_an_import_that_was_killed_leaves_no_run_and_is_made_again(tmp_path, monkeypatch):
    path = write_pth(tmp_path / "a.pth", state_names(random_arrays(FILTERS["torchvision"], DENSE, groups=1)))
    folder = tmp_path / "runs" / "a"
    with monkeypatch.context() as patch:  # a killed process removes nothing
        patch.setattr(keras.Model, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr("alexnet_keras.interop.import_run.shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            import_run(folder, path, "torchvision", recipe=small("torchvision"))
    assert [run.name for run in folder.parent.iterdir()] == [partial_path(folder).name]
    assert not all_runs(folder.parent)
    import_run(folder, path, "torchvision", recipe=small("torchvision"))
    assert [run.name for run in all_runs(folder.parent)] == [run.name for run in folder.parent.iterdir()] == ["a"]


def test_what_another_process_writes_meanwhile_is_not_removed(tmp_path, monkeypatch):
    path = write_pth(tmp_path / "a.pth", state_names(random_arrays(FILTERS["torchvision"], DENSE, groups=1)))
    folder, remove = tmp_path / "runs" / "a", Path.rmdir

    def write_first(directory):
        (directory / "run.json").write_text("{}")
        remove(directory)

    monkeypatch.setattr(Path, "rmdir", write_first)
    with pytest.raises(UsageError, match="a exists: choose another name with --run"):
        import_run(folder, path, "torchvision", recipe=small("torchvision"))
    assert [file.name for file in folder.iterdir()] == ["run.json"]


def test_a_run_that_never_began_is_replaced_unless_it_is_beginning(tmp_path):
    path = write_pth(tmp_path / "a.pth", state_names(random_arrays(FILTERS["torchvision"], DENSE, groups=1)))
    folder = tmp_path / "runs" / "a"
    Run(folder).write_recipe(small("caffe"))  # of a training that was killed before its run.json
    with Run(folder).training_lock(), pytest.raises(AlexNetError, match="is being trained by another process"):
        import_run(folder, path, "torchvision", recipe=small("torchvision"))
    assert Run(folder).recipe == small("caffe")
    run = import_run(folder, path, "torchvision", recipe=small("torchvision"))
    assert run.recipe == small("torchvision") and [each.name for each in folder.parent.iterdir()] == ["a"]
