"""The first layer's kernels, kept as training goes on: which, when, and none twice after a restart."""

import numpy as np
import pytest
from recorded import Recorded
from toy_runs import ONE, TOWERS, crash, new_run, trainer

from alexnet_keras.errors import DataError
from alexnet_keras.network.kernels import first_kernels
from alexnet_keras.recipes.toml import with_overrides
from alexnet_keras.training.records import kernel_snapshots, save_kernels
from alexnet_keras.training.start import new_network


def test_kernels_are_kept_before_training_and_after_every_epoch(one_device, prepared, tiny):
    run = one_device[0]
    moments = kernel_snapshots(run.kernels_path)
    assert [(moment.epochs, moment.steps) for moment in moments] == [(0, 0), (1, 5), (2, 10)]
    model, _ = new_network(tiny, prepared, 3, "float32")
    np.testing.assert_array_equal(moments[0].kernels(), first_kernels(model))
    np.testing.assert_array_equal(moments[2].kernels(), first_kernels(run.load_model("last")))
    assert not np.array_equal(moments[1].kernels(), moments[2].kernels())
    assert not list(run.kernels_path.glob(".partial*"))


@pytest.mark.slow
@pytest.mark.parametrize("placement", [ONE, TOWERS], ids=lambda placement: placement.kind)
def test_after_a_crash_the_kernels_are_those_of_the_steps_that_count(one_device, prepared, tiny, tmp_path, placement):
    run = new_run(tmp_path / "run", tiny)
    with pytest.raises(MemoryError):
        trainer(run, prepared, placement, reporter=Recorded((1, 3), crash), save_every=4).fit()
    save_kernels(run.kernels_path, np.zeros((2, 11, 11, 3, 6), np.float32), 2, 10)  # it died before its state was saved
    trainer(run, prepared, placement).fit(resume=True)
    kept, whole = kernel_snapshots(run.kernels_path), kernel_snapshots(one_device[0].kernels_path)
    assert [moment.path.name for moment in kept] == [moment.path.name for moment in whole]
    for ours, theirs in zip(kept, whole, strict=True):
        np.testing.assert_allclose(ours.kernels(), theirs.kernels(), rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_a_run_that_goes_on_forgets_the_kernels_after_its_state(prepared, tiny, tmp_path):
    run = new_run(tmp_path / "run", with_overrides(tiny, ["training.epochs=1"]))
    trainer(run, prepared).fit()
    save_kernels(run.kernels_path, np.zeros((2, 11, 11, 3, 6), np.float32), 2, 10)
    trainer(run, prepared).fit(resume=True)
    assert [moment.epochs for moment in kernel_snapshots(run.kernels_path)] == [0, 1]


@pytest.mark.slow
def test_kernels_are_kept_under_mixed_precision_in_float32(prepared, tiny, tmp_path):
    run = new_run(tmp_path / "run", with_overrides(tiny, ["training.epochs=1"]))
    trainer(run, prepared, precision="mixed_bfloat16").fit()
    for moment in kernel_snapshots(run.kernels_path):
        assert moment.kernels().dtype == np.float32


@pytest.mark.parametrize("damage", ["cut", "empty", "claims too much", "other shape", "pickle"])
def test_a_damaged_file_of_kernels_is_reported(tmp_path, damage):
    save_kernels(tmp_path, [np.ones((11, 11, 3, 6), np.float32)] * 2, 3, 15)
    (moment,) = kernel_snapshots(tmp_path)
    content = moment.path.read_bytes()
    match damage:
        case "cut":
            moment.path.write_bytes(content[:-1000])
        case "empty":
            moment.path.write_bytes(b"")
        case "claims too much":
            moment.path.write_bytes(content.replace(b"(2, 11", b"(9, 99"))
        case "other shape":
            np.save(moment.path, np.ones((11, 11, 3), np.float32))
        case "pickle":
            np.save(moment.path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match="damaged"):
        moment.kernels()


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    save_kernels(tmp_path, [np.ones((3, 3, 3, 4), np.float32)], 0, 0)
    (tmp_path / "epoch-notes.npy").write_text("mine")
    (tmp_path / ".partial-epoch-00001-step-000000005.npy").write_text("half")
    assert [moment.epochs for moment in kernel_snapshots(tmp_path)] == [0]
