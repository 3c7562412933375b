"""Whole training runs at toy size: placements agree, and a run leaves what it should."""

import keras
import numpy as np
import pytest
from toy_runs import ONE, TOWERS, new_run, step_losses, trainer

from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.recipes.toml import with_overrides
from alexnet_keras.training.devices import Placement, choose_placement
from alexnet_keras.training.step import cross_entropy


def test_a_run_leaves_what_the_run_contract_names(one_device, prepared):
    run, history = one_device
    assert [row["epoch"] for row in history] == [0, 1]
    assert run.history == [pytest.approx(row) for row in history]
    assert len(step_losses(run)) == 2 * 5  # 36 images in batches of 8
    assert run.facts["status"] == "finished"
    assert list(run.events_path.glob("events.*"))
    best = min(history, key=lambda row: row["val_top1_error"])
    assert run.facts["best"]["epoch"] == best["epoch"]
    for which in ("best", "last"):
        assert run.load_model(which).output_shape == (None, 3)
    assert not list(run.path.glob(".partial*"))


def test_training_lowers_the_loss(prepared, tiny, tmp_path):
    recipe = with_overrides(
        tiny, ["training.epochs=6", "training.schedule.length=6", "training.schedule.drop_epochs=[]"]
    )
    history = trainer(new_run(tmp_path / "run", recipe), prepared).fit()
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]


def test_two_towers_and_one_device_agree_on_the_loss_of_every_step(one_device, prepared, tiny, tmp_path):
    run = new_run(tmp_path / "towers", tiny)
    trainer(run, prepared, TOWERS).fit()
    np.testing.assert_allclose(step_losses(one_device[0]), step_losses(run), rtol=2e-6)


@pytest.mark.slow
def test_two_towers_and_one_device_agree_in_bfloat16(prepared, tiny, tmp_path):
    losses = []
    for name, placement in (("one", ONE), ("towers", TOWERS)):
        run = new_run(tmp_path / name, tiny)
        trainer(run, prepared, placement, precision="mixed_bfloat16").fit()
        losses.append(step_losses(run))
    np.testing.assert_allclose(*losses, rtol=2e-2)


@pytest.mark.slow
def test_mirrored_replicas_and_one_device_agree_on_the_loss_of_every_step(one_device, prepared, tiny, tmp_path):
    run = new_run(tmp_path / "mirrored", tiny)
    trainer(run, prepared, Placement("mirrored", ("/CPU:0", "/CPU:1"))).fit()
    # The halves of a batch are added up in another order: rounding, then its growth over the steps.
    np.testing.assert_allclose(step_losses(one_device[0]), step_losses(run), rtol=1e-4)


@pytest.mark.slow
def test_the_same_seed_repeats_and_another_differs(one_device, prepared, tiny, tmp_path):
    again, other = new_run(tmp_path / "again", tiny), new_run(tmp_path / "other", tiny)
    trainer(again, prepared).fit()
    trainer(other, prepared, seed=4).fit()
    np.testing.assert_allclose(step_losses(one_device[0]), step_losses(again), rtol=1e-6)
    assert not np.allclose(step_losses(one_device[0]), step_losses(other), rtol=1e-3)


@pytest.mark.slow
def test_the_colour_noise_ends_when_the_schedule_says(prepared, tiny, tmp_path):
    changes = ["training.schedule.length=2", "training.schedule.drop_epochs=[]", "augmentation.color_noise=5.0"]
    changes += ["training.schedule.conv1_lowered_epoch=none", "training.schedule.conv1_frozen_epoch=none"]
    losses = []
    for off in ("none", "1"):
        recipe = with_overrides(tiny, [*changes, f"training.schedule.color_noise_off_epoch={off}"])
        run = new_run(tmp_path / off, recipe)
        trainer(run, prepared).fit()
        losses.append(step_losses(run))
    np.testing.assert_allclose(losses[0][:5], losses[1][:5], rtol=1e-6)
    assert not np.allclose(losses[0][5:], losses[1][5:], rtol=1e-3)


@pytest.mark.parametrize(
    ("kind", "gpus", "expected"),
    [(None, None, "one"), (None, 0, "one"), (None, 1, "one"), (None, 2, "towers"), ("mirrored", 2, "mirrored"),
     ("towers", None, "towers"), ("mirrored", None, "mirrored")],
)  # fmt: skip
def test_the_placement_without_gpus(kind, gpus, expected):
    placement = choose_placement(kind, gpus, towers=2, strict=False)
    assert placement.kind == expected
    assert ("GPU" in placement.warning) == bool(gpus or kind)
    assert len(placement.devices) == (1 if expected == "one" else 2)


@pytest.mark.parametrize(
    ("kind", "gpus", "strict"),
    [
        ("one", 2, False),
        ("towers", 3, False),
        ("mirrored", 1, False),
        (None, 2, True),
        (None, 1, True),
        (None, None, True),
        ("one", None, True),
    ],
)
def test_impossible_placements_are_refused(kind, gpus, strict):
    with pytest.raises(UsageError):
        choose_placement(kind, gpus, towers=2, strict=strict)


def test_no_gpus_are_no_missing_ones():
    assert choose_placement(None, 0, towers=2, strict=True).devices == ("/CPU:0",)


def test_a_batch_that_replicas_cannot_share_equally_is_refused(prepared, tiny, tmp_path):
    recipe = with_overrides(tiny, ["training.batch_size=7"])
    run = new_run(tmp_path / "run", recipe)
    with pytest.raises(UsageError, match="equally by 2 replicas: take --batch-size 6"):
        trainer(run, prepared, Placement("mirrored", ("/CPU:0", "/CPU:1")))


def test_the_saved_model_loads_without_custom_objects(one_device):
    model = keras.saving.load_model(one_device[0].model_path)
    assert model.get_layer("mean").mean_image.max() > 50


AVERAGED = ["training.averaging_epochs=0.4", "training.label_smoothing=0.1"]


@pytest.mark.parametrize(
    "placement",
    [
        pytest.param(ONE, marks=pytest.mark.slow),
        pytest.param(TOWERS, marks=pytest.mark.slow),
        pytest.param(Placement("mirrored", ("/CPU:0", "/CPU:1")), marks=pytest.mark.slow),
    ],
    ids=lambda placement: placement.kind,
)
def test_a_running_average_of_the_weights_is_what_is_validated_and_kept(prepared, tiny, tmp_path, placement):
    recipe = with_overrides(tiny, AVERAGED)
    run = new_run(tmp_path / "run", recipe)
    training = trainer(run, prepared, placement)
    seen = []

    def note():
        seen.append([keras.ops.convert_to_numpy(variable) for variable in training.model.trainable_variables])

    training.reporter.on_step = lambda epoch, step, result: note()
    history = training.fit()
    average = None  # step / (step + 10) of it is kept, and at most 1 - 1 / (0.4 epochs of 5 steps) = 0.5
    for step, weights in enumerate(seen):
        kept = min(0.5, step / (step + 10))
        average = (
            weights if average is None else [kept * a + (1 - kept) * w for a, w in zip(average, weights, strict=True)]
        )
    model = run.load_model("last")
    for found, expected in zip(model.trainable_variables, average, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert any(np.abs(a - w).max() > 1e-4 for a, w in zip(average, seen[-1], strict=True)), "no average at all"
    assert Predictor(model).evaluate(prepared, "val").loss == pytest.approx(history[-1]["val_loss"], rel=1e-5)


def test_label_smoothing_spreads_a_share_of_the_target_over_all_classes():
    scores = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]], np.float32)
    labels = np.array([0, 2])
    target = 0.9 * np.eye(3)[labels] + 0.1 / 3
    logarithms = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    np.testing.assert_allclose(cross_entropy(labels, scores, 0.1), -(target * logarithms).sum(1), rtol=1e-6)
    np.testing.assert_allclose(cross_entropy(labels, scores), -logarithms[[0, 1], labels], rtol=1e-6)


@pytest.mark.slow
def test_the_training_loss_is_the_smoothed_one_and_the_validation_loss_is_not(one_device, prepared, tiny, tmp_path):
    run = new_run(tmp_path / "run", with_overrides(tiny, ["training.label_smoothing=0.9"]))
    history = trainer(run, prepared).fit()
    assert step_losses(run)[0] != pytest.approx(step_losses(one_device[0])[0], rel=1e-6)
    assert Predictor(run.load_model("last")).evaluate(prepared, "val").loss == pytest.approx(history[-1]["val_loss"])
