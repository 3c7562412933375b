"""Keras callbacks that watch `alexnet_keras.train`."""

import csv

import keras
import numpy as np
import pytest
from recorded import Recorded
from toy_runs import last_weights, step_losses

from alexnet_keras import Run, resume, train
from alexnet_keras.errors import UsageError
from alexnet_keras.recipes.edits import edit

STEPS = 5  # 36 images in batches of 8


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Recording(keras.callbacks.Callback):
    """Keeps every event that `alexnet_keras.train` and `fit` have, with its logs."""

    def __init__(self):
        super().__init__()
        self.events, self.logs = [], []

    def note(self, event, *where, logs=None):
        self.events.append((event, *where))
        self.logs.append(dict(logs or {}))

    def on_train_begin(self, logs=None):
        self.note("train begin")

    def on_train_end(self, logs=None):
        self.note("train end")

    def on_epoch_begin(self, epoch, logs=None):
        self.note("epoch begin", epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.note("epoch end", epoch, logs=logs)

    def on_train_batch_begin(self, batch, logs=None):
        self.note("step begin", batch)

    def on_train_batch_end(self, batch, logs=None):
        self.note("step end", batch, logs=logs)

    def on_test_begin(self, logs=None):
        self.note("test begin")

    def on_test_end(self, logs=None):
        self.note("test end", logs=logs)

    def logs_of(self, event):
        return [logs for found, logs in zip(self.events, self.logs, strict=True) if found[0] == event]


class StopAt(keras.callbacks.Callback):
    """Asks the training to stop, or raises an error, at the end of a step or of an epoch."""

    def __init__(self, *, step=None, epoch=None, error=None):
        super().__init__()
        self.step, self.epoch, self.error = step, epoch, error

    def on_train_batch_end(self, batch, logs=None):
        self.act(batch == self.step)

    def on_epoch_end(self, epoch, logs=None):
        self.act(epoch == self.epoch)

    def act(self, now):
        if now and self.error:
            raise self.error
        if now:
            self.model.stop_training = True


def test_callbacks_see_what_they_see_in_fit_and_change_nothing(one_device, prepared, tiny):
    """All but the steps of the validation, in the order of `fit`; the run is that without them."""
    seen = Recording()
    table = keras.callbacks.CSVLogger("log.csv")
    run = train(prepared, tiny, run="watched", seed=3, callbacks=[seen, table])
    steps = [(f"step {edge}", step) for step in range(STEPS) for edge in ("begin", "end")]
    epochs = [
        event
        for epoch in range(2)
        for event in [("epoch begin", epoch), *steps, ("test begin",), ("test end",), ("epoch end", epoch)]
    ]
    assert seen.events == [("train begin",), *epochs, ("train end",)]
    assert seen.params == {"epochs": 2, "steps": STEPS, "verbose": 0}

    history, losses = run.history, step_losses(run)
    for epoch, logs in enumerate(seen.logs_of("epoch end")):
        row = dict(history[epoch])
        assert row.pop("epoch") == epoch
        errors = {"accuracy": 1 - row["top1_error"], "val_accuracy": 1 - row["val_top1_error"]}
        assert logs == pytest.approx({**row, **errors, "learning_rate": row["rate_weights"]})
    means = [np.mean(losses[: step + 1]) for step in range(STEPS)]
    np.testing.assert_allclose([logs["loss"] for logs in seen.logs_of("step end")][:STEPS], means, rtol=1e-6)
    assert seen.logs_of("test end")[1]["top5_error"] == history[1]["val_top5_error"]
    with open("log.csv", newline="") as file:  # noqa: PTH123
        assert [float(row["val_loss"]) for row in csv.DictReader(file)] == [row["val_loss"] for row in history]

    expected = one_device[0]
    np.testing.assert_allclose(losses, step_losses(expected), rtol=1e-6)
    for ours, theirs in zip(last_weights(run), last_weights(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert run.model_path.stat().st_size == pytest.approx(expected.model_path.stat().st_size, rel=0.01)
    assert "callbacks" not in run.facts


@pytest.mark.slow
def test_early_stopping_finishes_the_run_and_resume_goes_on(prepared, tiny):
    reporter = Recorded()
    never_better = keras.callbacks.EarlyStopping("val_loss", min_delta=1e9)
    options = {"epochs": 3, "callbacks": [never_better], "reporter": reporter}
    run = train(prepared, tiny, run="early", **options)
    assert run.status == "finished" and len(run.history) == 2
    assert (
        run.facts["ended"] == "A callback stopped the training after epoch 2." and run.facts["ended"] in reporter.notes
    )
    assert run.load_model("best") and run.load_model("last")
    resume(run)
    assert len(Run.load("early").history) == 3 and Run.load("early").facts["ended"] == ""


@pytest.mark.slow
def test_a_stop_within_an_epoch_saves_the_state_and_the_run_resumes_as_if_it_had_not(one_device, prepared, tiny):
    seen = Recording()
    run = train(prepared, tiny, run="stopped", seed=3, callbacks=[StopAt(step=2), seen])
    assert (run.status, run.history, run.last_model_path.exists()) == ("interrupted", [], False)
    assert run.facts["ended"] == "A callback stopped the training after step 3 of 5 of epoch 1."
    assert seen.events[-2:] == [("step end", 2), ("train end",)]
    resume(run, callbacks=[seen])
    assert ("step begin", 3) in seen.events and seen.events.count(("step begin", 2)) == 2  # of epochs 1 and 2
    assert Run.load("stopped").status == "finished"
    np.testing.assert_allclose(step_losses(run), step_losses(one_device[0]), rtol=1e-6)


@pytest.mark.parametrize(
    ("where", "steps"), [({"step": 1}, 2), pytest.param({"epoch": 0}, STEPS, marks=pytest.mark.slow)]
)
def test_an_error_of_a_callback_ends_the_run_with_its_state_saved(prepared, tiny, where, steps):
    with pytest.raises(LookupError, match="the callback's own"):
        train(
            prepared, tiny, run="failed", epochs=1, callbacks=[StopAt(**where, error=LookupError("the callback's own"))]
        )
    run = Run.load("failed")
    assert (run.status, run.facts["ended"]) == ("failed", "the callback's own")
    assert [path.name for path in run.states_path.iterdir() if f"{steps:09}" in path.name]
    assert len(step_losses(run)) == steps


@pytest.mark.slow
def test_the_recipe_has_the_last_word_on_the_rates(one_device, prepared, tiny):
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 7.0)
    plateau = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.1, patience=0, min_delta=1e9)
    run = train(prepared, tiny, run="rates", seed=3, callbacks=[scheduler, plateau])
    assert run.history[1]["rate_weights"] == one_device[1][1]["rate_weights"]
    np.testing.assert_allclose(step_losses(run), step_losses(one_device[0]), rtol=1e-6)


@pytest.mark.slow
def test_callbacks_can_set_weights_and_save_the_model(prepared, tiny):
    """EarlyStopping restores, ModelCheckpoint saves: both through the `model` that they are given."""

    class Zeroing(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.set_weights([np.zeros(weight.shape) for weight in self.model.weights])

    checkpoint = keras.callbacks.ModelCheckpoint("kept-{epoch}.keras", monitor="val_top1_error", mode="min")
    seen = Recording()
    run = train(prepared, tiny, run="saved", epochs=1, callbacks=[checkpoint, Zeroing(), seen])
    kept, best = keras.saving.load_model("kept-1.keras"), run.load_model("best")
    for ours, theirs in zip(kept.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert kept.optimizer.rates == seen.model.optimizer.rates
    assert not any(weight.any() for weight in last_weights(run))


class Blank(keras.callbacks.Callback):
    """Gives the model other weights after the last epoch, as EarlyStopping(restore_best_weights=True) does."""

    def on_train_end(self, logs=None):
        self.model.set_weights([np.zeros_like(weights) for weights in self.model.get_weights()])


def test_the_last_model_is_that_of_the_last_epoch_and_stays_as_it_is(prepared, tiny):
    run = train(prepared, tiny, run="blank", epochs=1, callbacks=[Blank()])
    for last, best in zip(last_weights(run), run.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(last, best)
    written = run.last_model_path.read_bytes()
    assert resume(run).last_model_path.read_bytes() == written, "there was nothing to train"


def test_what_is_no_callback_is_refused_before_the_run_begins(prepared, tiny, tmp_path):
    with pytest.raises(UsageError, match=r"callbacks have to be those of keras.callbacks. Received: 5"):
        train(prepared, tiny, run="none", callbacks=[keras.callbacks.TerminateOnNaN(), 5])
    assert not (tmp_path / "saved_models/none").exists()


@pytest.mark.slow
def test_callbacks_watch_two_towers_and_a_running_average(prepared, tiny):
    seen = Recording()
    recipe = edit(tiny, {"training.averaging_epochs": 1.0})
    board = keras.callbacks.TensorBoard("board")
    train(prepared, recipe, run="placed", epochs=1, strategy="towers", callbacks=[seen, board])
    assert seen.events[-2:] == [("epoch end", 0), ("train end",)] and seen.events.count(("step end", 1)) == 1
