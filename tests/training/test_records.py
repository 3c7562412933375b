"""What a run writes for people: right numbers, and none twice after a restart."""

import csv
import errno

import numpy as np
import pytest
import tensorflow as tf
from recorded import Recorded
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from toy_runs import crash, new_run, step_losses, trainer

from alexnet_keras.network.kernels import first_kernels, kernel_grid
from alexnet_keras.network.model import AlexNet
from alexnet_keras.recipes.toml import with_overrides
from alexnet_keras.training.checkpoint import Position
from alexnet_keras.training.records import Records, keep_rows, ratios_of_layers


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_layers_have_mean_weight_mean_update_and_their_ratio_each_epoch(one_device):
    run = one_device[0]
    rows = rows_of(run.layers_path)
    assert len(rows) == 2 * 30, "two epochs, a kernel and a bias of 7 layers in two towers and of fc8"
    weights = {w.path: w.numpy() for w in run.load_model("last").weights}
    for row in rows[30:]:
        value = weights[f"{row['layer']}/{row['kind']}_{row['tower']}"]
        assert np.isclose(float(row["mean_weight"]), np.abs(value).mean(), rtol=1e-5)
        if float(row["mean_weight"]):
            assert np.isclose(float(row["ratio"]), float(row["mean_update"]) / float(row["mean_weight"]))
    assert float(rows[30]["mean_update"]) > 0


def test_ratios_of_a_layer_put_its_towers_together():
    rows = [
        {"layer": "conv1", "kind": "kernel", "mean_weight": 1.0, "mean_update": 0.1},
        {"layer": "conv1", "kind": "kernel", "mean_weight": 3.0, "mean_update": 0.1},
        {"layer": "conv1", "kind": "bias", "mean_weight": 9.0, "mean_update": 9.0},
    ]
    assert np.isclose(ratios_of_layers(rows)["conv1"], 0.2 / 4)


@pytest.mark.parametrize("called", ["write", "flush", "close"])
def test_a_disk_that_events_fill_ends_a_training_as_any_full_disk_does(prepared, tiny, tmp_path, monkeypatch, called):
    def full(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    records = Records(new_run(tmp_path / "run", tiny), Position(), AlexNet(tiny, classes=3), Recorded())
    monkeypatch.setattr(tf.io.TFRecordWriter, called, full)
    with pytest.raises(OSError, match="No space left on device") as error:
        records.step(0, 0, 1.0, 1.0)
        records.flush()
        records.close()
    assert error.value.errno == errno.ENOSPC


@pytest.mark.slow
def test_tensorboard_shows_every_step_once_and_the_kernels_also_after_a_restart(prepared, tiny, tmp_path):
    recipe = with_overrides(tiny, ["training.epochs=2"])
    run = new_run(tmp_path / "run", recipe)
    with pytest.raises(MemoryError):
        trainer(run, prepared, reporter=Recorded((1, 3), crash), save_every=3).fit()
    trainer(run, prepared).fit(resume=True)
    events = EventAccumulator(str(run.events_path), size_guidance={"tensors": 0}).Reload()
    steps = [event.step for event in events.Tensors("step/loss")]
    assert steps == list(range(10))
    assert [event.step for event in events.Tensors("epoch/val_top1_error")] == [4, 9], "with its last step"
    losses = [event.tensor_proto.float_val[0] for event in events.Tensors("step/loss")]
    np.testing.assert_allclose(losses, step_losses(run), rtol=1e-6)
    shown = events.Tensors("epoch/val_loss")[1].tensor_proto.float_val[0]
    assert shown == pytest.approx(run.history[1]["val_loss"], rel=1e-6)
    width, height, picture = events.Tensors("conv1")[1].tensor_proto.string_val
    grid = np.concatenate([kernel_grid(kernels) for kernels in first_kernels(run.load_model("last"))])
    assert (int(height), int(width)) == grid.shape[:2]
    np.testing.assert_allclose(tf.io.decode_png(picture), 255 * grid, atol=1)
    assert [int(row["step"]) for row in rows_of(run.steps_path)] == list(range(10))
    assert [int(row["epoch"]) for row in rows_of(run.layers_path)] == [0] * 30 + [1] * 30


@pytest.mark.slow
def test_tensorboard_keeps_the_epoch_after_which_a_run_resumes(prepared, tiny, tmp_path):
    run = new_run(tmp_path / "run", with_overrides(tiny, ["training.epochs=2"]))
    with pytest.raises(MemoryError):
        trainer(run, prepared, reporter=Recorded((1, 0), crash)).fit()
    trainer(run, prepared).fit(resume=True)
    trainer(run, prepared).fit(resume=True)  # already finished
    events = EventAccumulator(str(run.events_path), size_guidance={"tensors": 0}).Reload()
    for name, steps in (("step/loss", list(range(10))), ("epoch/val_top1_error", [4, 9]), ("conv1", [4, 9])):
        assert [event.step for event in events.Tensors(name)] == steps, name


def test_a_torn_last_line_is_cut_off(tmp_path):
    path = tmp_path / "steps.csv"
    path.write_text("step,loss\n0,1.5\n1,1.25\n2,1.1")
    keep_rows(path, "step", 3)
    assert path.read_text() == "step,loss\n0,1.5\n1,1.25\n"
    keep_rows(path, "step", 1)
    assert path.read_text() == "step,loss\n0,1.5\n"
    keep_rows(path, "step", 0)
    assert path.read_text() == ""


def test_damaged_lines_are_counted_and_left_out(tmp_path):
    path = tmp_path / "steps.csv"
    path.write_bytes(b"step,loss\n0,1.5\njunk\n\n1,1.25\nx,2\n2,\xff\n3,1.0\n4,1.")
    assert keep_rows(path, "step", 3) == 4
    assert path.read_text(encoding="utf-8") == "step,loss\n0,1.5\n1,1.25\n"
    assert keep_rows(path, "step", 3) == 0
    path.write_text("step,lo,ss\n0,1.5\n1,1.25\n")
    assert keep_rows(path, "step", 2) == 0 and path.read_text().endswith("\n0,1.5\n1,1.25\n"), "the header alone is"
