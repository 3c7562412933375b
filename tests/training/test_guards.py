"""What goes wrong in a night is reported in words, and costs nothing that was saved."""

import numpy as np
import pytest
import tensorflow as tf
from recorded import Recorded
from toy_runs import TOWERS, new_run, trainer

from alexnet_keras import AlexNet
from alexnet_keras.errors import AlexNetError, DivergedError
from alexnet_keras.evaluation.errors import Evaluation, Tally
from alexnet_keras.recipes.toml import with_overrides
from alexnet_keras.training import guards
from alexnet_keras.training import trainer as trainer_module
from alexnet_keras.training.checkpoint import saved_states
from alexnet_keras.training.step import TrainingStep


@pytest.mark.parametrize("placement", [None, pytest.param(TOWERS, marks=pytest.mark.slow)], ids=["one", "towers"])
def test_divergence_names_step_and_layer_and_keeps_the_last_good_state(prepared, tiny, tmp_path, placement):
    recipe = with_overrides(tiny, ["training.epochs=3"])
    run = new_run(tmp_path / "run", recipe)
    made = trainer(run, prepared, *([placement] if placement else []), save_every=2)

    def poison():
        kernel = made.model.get_layer("fc7").kernels[1]
        kernel.assign(np.full(kernel.shape, 1e38, np.float32))

    made.reporter = Recorded((1, 0), poison)
    with pytest.raises(DivergedError, match=r"first in the output of fc7, tower b, in step 6 .epoch 2") as error:
        made.fit()
    assert error.value.exit_code == 4
    assert "keeps its state of step 6" in str(error.value)
    assert run.status == "diverged"
    assert saved_states(run.states_path)


@pytest.mark.slow
def test_a_rate_that_is_too_high_ends_the_run(prepared, tiny, tmp_path):
    recipe = with_overrides(tiny, ["training.weight_rate=1e30", "training.epochs=3"])
    run = new_run(tmp_path / "run", recipe)
    with pytest.raises(DivergedError, match=r"first in .*had saved no state"):
        trainer(run, prepared).fit()


def test_a_step_whose_loss_is_not_finite_changes_nothing(prepared, tiny, tmp_path):
    made = trainer(new_run(tmp_path / "run", with_overrides(tiny, ["training.epochs=1"])), prepared)
    made.fit()
    kernel = made.model.get_layer("fc7").kernels[0]
    kernel.assign(np.full(kernel.shape, 1e38, np.float32))
    before = made.model.get_weights()
    images = tf.zeros((8, 224, 224, 3), tf.uint8)
    result = made.training_step(images, tf.zeros((8,), tf.int64), 99)
    assert not result.updated and not np.isfinite(result.loss)
    for old, new in zip(before, made.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert guards.where_not_finite(made.model, images) == "the output of fc7, tower a"


@pytest.mark.parametrize("save_every", [1, pytest.param(None, marks=pytest.mark.slow)])
def test_weights_that_are_not_finite_are_never_saved_even_where_the_relus_hide_them(
    prepared, tiny, tmp_path, save_every
):
    """A processor's ReLU turns NaN into 0, so that the loss stays finite."""
    run = new_run(tmp_path / "run", tiny)
    made = trainer(run, prepared, save_every=save_every)

    def poison():
        kernel = made.model.get_layer("conv2").kernels[1]
        kernel.assign(np.full(kernel.shape, np.nan, np.float32))

    made.reporter = Recorded((1, 0), poison)
    with pytest.raises(DivergedError, match=r"weights conv[12]/kernel_b .*epoch 2"):
        made.fit()
    newest = saved_states(run.states_path)[0]
    with np.load(newest) as state:
        assert np.isfinite(state["conv2/kernel_b"]).all()
    assert f"its state of step {int(newest.name[5:14])}" in run.facts["ended"]
    assert len(run.history) == 1 and np.isfinite(run.load_model().get_layer("conv2").kernels[1].numpy()).all()


def poison_logits(model):
    """Makes the logits infinite while every weight stays finite."""
    kernel = model.get_layer("fc8").kernels[0]
    kernel.assign(np.full(kernel.shape, 3e38, np.float32) * np.float32([1, -1, 1]))


@pytest.mark.slow
def test_logits_that_overflow_after_the_last_step_never_become_the_best_model(prepared, tiny, tmp_path):
    run = new_run(tmp_path / "run", tiny)
    made = trainer(run, prepared)
    made.reporter = Recorded((1, 4), lambda: poison_logits(made.model))  # the last step of the second epoch
    with pytest.raises(DivergedError, match=r"probabilities of validation images .* after step 10 .*state of step 5"):
        made.fit()
    assert run.status == "diverged" and len(run.history) == 1 and run.facts["best"]["epoch"] == 0
    assert np.abs(run.load_model().get_layer("fc8").kernels[0].numpy()).max() < 10


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ((0.8, 0.5), 1),
        pytest.param((0.5, 0.8), 0, marks=pytest.mark.slow),
        pytest.param((0.5, 0.5), 0, marks=pytest.mark.slow),
    ],
)
def test_of_epochs_with_equal_errors_the_one_with_the_least_loss_is_kept(
    prepared, tiny, tmp_path, monkeypatch, losses, best
):
    found = iter(losses)

    def evaluate(data, split, *arguments, **options):
        return Evaluation.of(Tally(10, 10 * next(found), 3, 0), split, "centre", 3)

    monkeypatch.setattr(trainer_module.Predictor, "evaluate", staticmethod(evaluate))
    run = new_run(tmp_path / "run", tiny)
    trainer(run, prepared).fit()
    assert run.facts["best"]["epoch"] == best


@pytest.mark.slow
def test_a_stalled_start_is_reported_once(prepared, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(guards, "STALL_STEPS", 7)
    changes = [f"network.{layer}.initial_std=1e-6" for layer in ("conv1", "conv2", "conv3", "fc6", "fc7")]
    recipe = with_overrides(tiny, [*changes, "network.fc8.initial_std=1e-6", "training.epochs=3"])
    reporter = Recorded()
    trainer(new_run(tmp_path / "run", recipe), prepared, reporter=reporter).fit()
    (warning,) = reporter.warnings
    assert "the loss is still 1.099, that of guessing" in warning


@pytest.mark.slow
def test_a_start_that_gets_going_is_not_called_stalled(prepared, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(guards, "STALL_STEPS", 7)
    recipe = with_overrides(tiny, ["training.epochs=3", "training.schedule.drop_epochs=[]"])
    reporter = Recorded()
    trainer(new_run(tmp_path / "run", recipe), prepared, reporter=reporter).fit()
    assert not reporter.warnings


def test_guessing_by_the_sizes_of_the_classes_is_a_stall_as_well():
    assert guards.loss_of_guessing([7] * 10) == pytest.approx(np.log(10))
    unequal = guards.loss_of_guessing([90, 10, 0])
    assert unequal == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.1))
    smoothed = guards.loss_of_guessing([90, 10, 0], 0.3)  # of the target 0.73, 0.17, 0.1
    assert smoothed == pytest.approx(-sum(share * np.log(share) for share in (0.73, 0.17, 0.1)))
    assert guards.stalled([2.30] * 100, np.log(10)) and not guards.stalled([2.2] * 100, np.log(10))
    assert guards.stalled([unequal] * 100, unequal) and not guards.stalled([1.09] * 100, unequal)


@pytest.mark.parametrize(
    ("changes", "chance"),
    [
        (["training.class_weights=balanced"], np.log(2)),
        (["training.label_smoothing=0.3"], 0.7612),  # the entropy of 0.73, 0.17, 0.1
    ],
    ids=["balanced", "smoothed"],
)
def test_a_loss_of_guessing_is_known_with_weights_of_classes_and_smoothed_labels(
    prepared, tiny, tmp_path, monkeypatch, changes, chance
):
    """Of three classes of 90, 10 and no images."""
    made = trainer(new_run(tmp_path / "run", with_overrides(tiny, changes)), prepared)
    monkeypatch.setattr(type(prepared), "class_counts", lambda data, split: [90, 10, 0])
    for made.position.total_steps in range(1, guards.STALL_STEPS + 1):
        made._watch_start(chance)
    (warning,) = made.reporter.warnings
    assert f"the loss is still {chance:.3f}, that of guessing" in warning


def test_too_little_memory_names_the_batch_and_one_that_fits(prepared, tiny, tmp_path, monkeypatch):
    tried = []

    def full(self, *arguments, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    def limited(self, rows):
        tried.append(rows)
        if rows > 2:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(TrainingStep, "__call__", full)
    monkeypatch.setattr(TrainingStep, "try_batch", limited)
    with pytest.raises(AlexNetError, match=r"batch of 8 images does not fit .* --batch-size 2"):
        trainer(new_run(tmp_path / "run", tiny), prepared).fit()
    assert tried == [4, 2]


@pytest.mark.slow
def test_a_batch_can_be_tried_without_changing_anything(tiny):
    from alexnet_keras.training.optimizer import AlexNetSGD

    model = AlexNet(tiny, classes=3, seed=0)
    optimizer = AlexNetSGD()
    optimizer.build(model.trainable_variables)
    before = model.get_weights()
    TrainingStep(model, optimizer, tf.distribute.get_strategy(), seed=0, batch_size=8).try_batch(4)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


# float16


@pytest.mark.slow
def test_float16_skips_steps_that_overflow_until_the_scale_fits(prepared, tiny, tmp_path):
    recipe = with_overrides(tiny, ["training.epochs=1"])
    made = trainer(new_run(tmp_path / "run", recipe), prepared, precision="mixed_float16")
    made.position.loss_scale = (2.0**30, 0)
    skipped = []
    made.reporter.on_step = lambda epoch, step, result: skipped.append(not result.updated)
    (row,) = made.fit()
    assert skipped[0] and np.isfinite(row["loss"])
    assert made.scale.factor == 2.0 ** (30 - sum(skipped))
    assert made.model.get_layer("norm1").copies[0].compute_dtype == "float16"
