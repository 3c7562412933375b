"""Training from Python: `alexnet_keras.train` and `resume`."""

import inspect
import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from recorded import Recorded
from toy_runs import crash, last_weights, new_run, step_losses, trainer

from alexnet_keras import ProgressBar, Run, api, evaluate, load_recipe, resume, train
from alexnet_keras.data.preparation import prepare
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.errors import AlexNetError, UsageError
from alexnet_keras.recipes.edits import edit, fields_of
from alexnet_keras.recipes.toml import with_overrides
from alexnet_keras.reporter import Warnings
from alexnet_keras.reports import run_report
from alexnet_keras.training import launch
from alexnet_keras.training import resume as resuming
from alexnet_keras.training import trainer as trainer_module
from alexnet_keras.training.checkpoint import Position, saved_states
from alexnet_keras.training.chosen_recipe import BY_EPOCH, chosen_recipe, warn_of_few_images
from alexnet_keras.training.cluster import Cluster
from alexnet_keras.training.devices import Placement
from alexnet_keras.training.launch import new_trainer
from alexnet_keras.training.losses import balanced_weights
from alexnet_keras.training.start import InitialWeights, new_network, warn_of_other_arithmetic
from alexnet_keras.training.step import TrainingStep


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_program_gets_warnings_at_its_own_line_and_epochs_as_fit_shows_them(prepared, tiny, capsys):
    with pytest.warns(UserWarning, match="fewer than a batch") as caught:
        train(prepared.path, tiny, epochs=1, batch_size=1000, reporter=ProgressBar())
    assert {each.filename for each in caught if issubclass(each.category, UserWarning)} == {__file__}
    shown = capsys.readouterr().out
    assert "Epoch 1/1" in shown
    assert re.search(r"1/1.* - loss: \d.* - val_loss: \d.* - val_top1_error: \d", shown)
    for function in (prepare, train, resume, evaluate):
        assert isinstance(inspect.signature(function).parameters["reporter"].default, Warnings)


def test_a_run_is_trained_and_described(prepared, tiny):
    reporter = Recorded()
    run = train(
        prepared.path,
        tiny,
        run="named",
        epochs=np.int64(1),
        batch_size=4,
        scale_lr=True,
        learning_rate=0.004,
        patience=7,
        class_weights="balanced",
        changes={"training.momentum": 0.5, "training.schedule.conv1_frozen_epoch": None},
        freeze="conv1..conv2",
        rate_factors={"conv2..conv3": 0.1234567},
        seed=np.int64(5),
        reporter=reporter,
    )
    assert run.path == Run.load("named").path and run.status == "finished" and len(run.history) == 1
    assert run.model_card_path.exists()
    training, layers = run.recipe.training, {layer.name: layer for layer in run.recipe.network.layers}
    assert (training.epochs, training.batch_size, training.momentum) == (1, 4, 0.5)
    assert (training.patience, training.class_weights) == (7, "balanced")
    assert training.weight_rate == pytest.approx(0.004 * 4 / tiny.training.batch_size)
    assert training.bias_rate / training.weight_rate == pytest.approx(
        tiny.training.bias_rate / tiny.training.weight_rate
    )
    assert [layers[f"conv{number}"].rate_factor for number in range(1, 5)] == [0, 0, 0.1234567, 1]
    facts = run.facts
    assert with_overrides(tiny, facts["overrides"]) == run.recipe
    expected = {"seed": 5, "precision": "float32", "deterministic": False, "init_from": None, "strategy": "one"}
    assert {name: facts[name] for name in expected} == expected and facts["command"] is None
    assert facts["classes"] == list(prepared.classes) and facts["data"]["fingerprint"] == prepared.fingerprint
    assert any(text.startswith("Training ") and "frozen: conv1, conv2." in text for text in reporter.notes)
    assert any("frozen with random initial weights" in text for text in reporter.warnings)


@pytest.mark.slow
def test_tf32_is_switched_off_while_a_run_trains_also_after_resume(prepared, tiny):
    enabled, seen = tf.config.experimental.tensor_float_32_execution_enabled, []
    reporter = Recorded((0, 1), crash)
    reporter.on_epoch_begin = lambda *arguments: seen.append(enabled())
    with pytest.raises(MemoryError):
        train(prepared, tiny, run="exact", epochs=1, tf32=False, save_every=1, reporter=reporter)
    run = Run.load("exact")
    assert run.facts["tf32"] is False and seen == [False] and enabled()
    reporter.at = None
    resume(run, reporter=reporter)
    assert seen == [False, False] and enabled()
    del reporter.on_epoch_begin
    assert not any("TF32" in note for note in reporter.notes), "a processor has none"


@pytest.mark.parametrize(
    ("precision", "tf32", "said"),
    [
        ("float32", True, "float32 with products in TF32 (--no-tf32: in float32), one on /GPU:0"),
        ("float32", False, "float32 without TF32, one on /GPU:0"),
        ("mixed_bfloat16", True, "mixed_bfloat16, one on /GPU:0"),
    ],
)
def test_a_run_on_a_gpu_begins_with_what_it_computes_in(prepared, tiny, precision, tf32, said):
    facts, reporter = {"deterministic": False, "precision": precision, "tf32": tf32, "seed": 0}, Recorded()
    placement = Placement("one", ("/GPU:0",))
    new_trainer(Run("named"), tiny, prepared, placement, facts, None, (), reporter)
    (note,) = reporter.notes
    assert f" batches of 8, {said}, seed 0." in note


@pytest.mark.slow
def test_a_run_records_what_it_goes_on_with(images, prepared, tiny, tmp_path):
    other = prepare(folder_source(images), tmp_path / "data/other", seed=1)
    with pytest.raises(MemoryError):
        train(prepared, tiny, run="moving", epochs=1, save_every=1, reporter=Recorded((0, 2), crash))
    run = Run.load("moving")
    with run.training_lock(), pytest.raises(AlexNetError, match="another process"):
        resume(run, data=other, accept_new_data=True)
    assert run.facts["data"]["fingerprint"] == prepared.fingerprint != other.fingerprint
    with pytest.raises(MemoryError):
        resume(run, gpus=2, data=other, accept_new_data=True, save_every=1, reporter=Recorded((0, 3), crash))
    resume(run, gpus=2)
    facts = run.facts
    assert facts["data"]["fingerprint"] == other.fingerprint and facts["strategy"] == "one"
    (change,) = facts["resumed"]
    assert (change["step"], change["strategy"], change["devices"]) == (2, "towers", ["/CPU:0", "/CPU:1"])
    assert change["environment"] == facts["environment"]
    shown = run_report._resumption(change)
    assert shown.startswith("after step 2 with towers on /CPU:0, /CPU:1, TensorFlow 2.")


def test_a_resumed_run_saves_its_state_as_often_as_it_began(prepared, tiny):
    with pytest.raises(MemoryError):
        train(prepared, tiny, run="often", epochs=1, save_every=1, reporter=Recorded((0, 2), crash))
    with pytest.raises(MemoryError):
        resume("often", reporter=Recorded((0, 4), crash))
    assert saved_states(Run.load("often").states_path)[0].name.startswith("step-000000004")


@pytest.mark.slow
def test_an_interrupted_run_resumes_from_the_part_of_another_that_it_began_with(one_device, prepared, tiny):
    start = InitialWeights(one_device[0], "last", "fc6")
    stopped, whole = Recorded((0, 1), crash), Recorded()
    with pytest.raises(MemoryError):  # before its first state
        train(prepared, tiny, run="stopped", init_from=start, epochs=1, seed=3, reporter=stopped)
    assert Run.load("stopped").status == "failed"
    resumed = resume("stopped", reporter=whole)
    assert [origin.layer for origin in whole.origins if origin.outcome == "copied"] == [
        *(f"conv{number}" for number in range(1, 6)),
        "fc6",
    ]
    uninterrupted = train(prepared, tiny, run="whole", init_from=start, epochs=1, seed=3)
    np.testing.assert_array_equal(step_losses(resumed), step_losses(uninterrupted))
    for ours, theirs in zip(last_weights(resumed), last_weights(uninterrupted), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"save_every": 0}, "save_every must be at least 1 step. Received: save_every=0"),
        ({"precision": "float64"}, "no precision 'float64': choose float32, mixed_bfloat16, mixed_float16"),
        ({"strategy": "both"}, "no strategy 'both': choose one, towers, mirrored, multi-worker"),
        ({"changes": {"training.epocs": 3}}, "training.epocs"),
        ({"changes": {"training.epochs": "ten"}}, "training.epochs"),
        ({"learning_rate": -1.0}, "training.weight_rate"),
        ({"patience": 0}, "training.patience"),
        ({"learning_rate": float("inf")}, "training.weight_rate"),
        ({"changes": {"network.lrn.k": float("nan")}}, "network.lrn.k"),
        ({"freeze": ""}, "There is no layer ''"),
        ({"class_weights": "equal"}, "training.class_weights"),
        ({"scale_lr": True}, "--batch-size, which was not given"),
        ({"freeze": "conv1..fc8"}, "Every layer is frozen"),
        ({"init_from": "nobody"}, "no run 'nobody'"),
        ({"init_from": "torchvision"}, "no run 'torchvision' yet: `alexnet import torchvision` makes it"),
        ({"run": "a/b"}, "no slash"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_and_leave_no_run(prepared, tiny, tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        train(prepared, tiny, **arguments)
    assert not list(tmp_path.glob("saved_models/*"))


def test_a_run_that_another_process_extends_before_the_lock_keeps_that_length(prepared, tiny, tmp_path, monkeypatch):
    facts = {"data": prepared.facts, "classes": list(prepared.classes), "gpus": None, "strategy": "one"}
    run = Run.create(tmp_path / "saved_models/run", tiny, facts)

    def extended_meanwhile(resume, restored):
        run.write_recipe(edit(tiny, {"training.epochs": 9}))
        restored(5, True)

    monkeypatch.setattr(resuming, "new_trainer", lambda *_: SimpleNamespace(fit=extended_meanwhile))
    resuming.resume(run, reporter=Recorded())
    assert Run(run.path).recipe.training.epochs == 9 and "extended" not in run.facts


def test_a_run_that_has_trained_beyond_the_recipe_meanwhile_is_not_cut_short(prepared, tiny, tmp_path, monkeypatch):
    made = trainer(new_run(tmp_path / "run", tiny), prepared)  # of 2 epochs
    made.model = made.optimizer = made.average = None
    made.keeper = SimpleNamespace(owner={})
    monkeypatch.setattr(trainer_module, "restore", lambda *_: Position(epoch=3))
    with pytest.raises(UsageError, match="has trained 3 epochs meanwhile: resume it again"):
        made._restore()


def test_only_the_chief_of_a_cluster_that_training_joins_writes_the_model_card(prepared, tiny, tmp_path, monkeypatch):
    """A worker could read the run before the chief has written the last of it, and overwrite the chief's card."""
    clusters = [Cluster(("a:1", "b:2"), index) for index in (1, 0)]
    monkeypatch.setattr(launch, "join_cluster", lambda *_, **options: clusters.pop(0))
    cards = []
    monkeypatch.setattr(api, "write_model_card", lambda run, reporter: cards.append(run))
    trained = api._with_card_of_result(lambda **options: options["cluster"].index)
    assert [trained(strategy="multi-worker") for _ in range(2)] == [1, 0]
    assert cards == [0]


def test_without_a_recipe_others_than_the_demo_data_get_source_and_a_batch_no_larger_than_they_are(prepared):
    reporter = Recorded()
    recipe, made = chosen_recipe(None, prepared, {}, {"training.batch_size": 64}, None, False, None, None, reporter)
    assert made["training.batch_size"] == prepared.examples("train") == 36
    assert recipe == with_overrides(load_recipe("source"), ["training.batch_size=36"])
    assert any("fewer than a batch: the batch is 36" in text for text in reporter.warnings)


class Counts:
    """Stands in for a dataset with these numbers of training images."""

    def __init__(self, *counts):
        self.counts, self.path = counts, "data/few"

    def class_counts(self, split):
        return list(self.counts)

    def examples(self, split):
        return sum(self.counts)


def test_balanced_classes_count_alike_and_an_image_counts_one_on_average():
    weights = balanced_weights([10, 40, 0])
    np.testing.assert_allclose(weights, [2.5, 0.625, 0], rtol=1e-6)
    assert np.dot(weights, [10, 40, 0]) == pytest.approx(50)


@pytest.mark.slow
def test_an_image_counts_by_the_weight_of_its_class(prepared, tiny):
    images, losses = np.full((4, *tiny_shape(tiny)), 120, np.uint8), []
    for weights in (None, np.array([1, 3, 1], np.float32)):
        model, optimizer = new_network(tiny, prepared, 0, "float32")
        step = TrainingStep(model, optimizer, tf.distribute.get_strategy(), seed=0, batch_size=4, class_weights=weights)
        losses.append([step(images, np.full(4, label), 0).loss for label in (1, 0)])
    assert losses[1][0] == pytest.approx(3 * losses[0][0], rel=1e-6)
    assert losses[1][1] != losses[0][1], "the first step went another way"


def tiny_shape(recipe):
    return recipe.network.input_size, recipe.network.input_size, 3


@pytest.mark.parametrize(
    ("field", "options", "rate"),
    [("training.epochs", {"training.epochs": 3}, None), ("training.weight_rate", {}, 3)],
)
def test_a_field_that_is_given_twice_is_refused_unless_alike(prepared, tiny, field, options, rate):
    def choose(value):
        return chosen_recipe(tiny, prepared, {field: value}, options, rate, False, None, None, Recorded())

    with pytest.raises(UsageError, match=f"{field} is given twice, as 2 and as 3: leave one out."):
        choose(2)
    assert choose(3)[1][field] == 3


RATES = [f"training.{name}" for name in ("weight_rate", "bias_rate", "schedule.conv1_lowered_rate")]


@pytest.mark.parametrize(
    ("changes", "batch_size", "learning_rate", "scale_lr", "rates"),
    [
        ({}, None, 0.001, False, (0.001, 0.002, 1e-6)),
        ({"training.bias_rate": 0.001}, None, 0.001, False, (0.001, 0.001, 1e-6)),
        ({"training.bias_rate": 0.02}, None, 0.001, False, (0.001, 0.02, 1e-6)),
        ({"training.schedule.conv1_lowered_rate": 1e-5}, None, 0.001, False, (0.001, 0.002, 1e-5)),
        ({"training.weight_rate": 0.005}, None, 0.005, False, (0.005, 0.01, 5e-6)),
        ({"training.batch_size": 32}, 32, None, True, (0.0025, 0.005, 2.5e-6)),
        ({"training.bias_rate": 0.04}, 32, 0.02, True, (0.005, 0.01, 5e-6)),
    ],
)
def test_a_rate_that_is_set_is_not_scaled_with_that_of_the_weights(
    prepared, changes, batch_size, learning_rate, scale_lr, rates
):
    options = {"training.batch_size": batch_size}
    recipe, _ = chosen_recipe("source", prepared, changes, options, learning_rate, scale_lr, None, None, Recorded())
    fields = fields_of(recipe)
    assert [fields[name].value for name in RATES] == pytest.approx(rates)


@pytest.mark.parametrize(("freeze", "factors"), [("conv4..conv5", None), (None, {"conv5": 0.1})])
def test_two_factors_of_a_layer_are_refused(prepared, freeze, factors):
    with pytest.raises(UsageError, match=r"network.conv5.rate_factor is given twice, as 0.5 and as 0.[01]: leave"):
        chosen_recipe(
            "source", prepared, {"network.conv5.rate_factor": 0.5}, {}, None, False, freeze, factors, Recorded()
        )


def test_a_run_that_another_process_trains_is_said_to_be_one_first(prepared, tiny, tmp_path):
    run = Run.create(tmp_path / "run", tiny, {"data": prepared.facts, "classes": list(prepared.classes)})
    with run.training_lock(), pytest.raises(AlexNetError, match="is being trained by another process"):
        resume(run, epochs=1, reporter=Recorded())


def test_few_images_for_a_large_network_are_warned_of_with_the_commands_that_help(tiny):
    reporter = Recorded()
    for recipe, images in ((load_recipe("source"), 2999), (load_recipe("source"), 3000), (tiny, 10)):
        warn_of_few_images(recipe, Counts(images), reporter)
    (warning,) = reporter.warnings
    assert "2999 training images are few" in warning and "alexnet import torchvision" in warning
    assert "alexnet train --data data/few --recipe torchvision --init-from torchvision" in warning


def test_rates_are_scaled_by_the_batch_that_is_used(prepared):
    """Of 36 images there are no batches of 64."""
    options = {"training.batch_size": 64}
    recipe, _ = chosen_recipe("source", prepared, {}, options, None, True, None, None, Recorded())
    assert recipe.training.batch_size == 36
    assert recipe.training.weight_rate == pytest.approx(0.01 * 36 / 128)


def test_a_schedule_of_another_kind_says_what_it_keeps(prepared):
    reporter, changes = Recorded(), {"training.schedule.kind": "cosine"}
    chosen_recipe("source", prepared, changes, {}, None, False, None, None, reporter)
    (note,) = (note for note in reporter.notes if "conv1" in note)
    assert note.endswith(
        "without it: --set training.schedule.conv1_lowered_epoch=none --set training.schedule.conv1_frozen_epoch=none "
        "--set training.schedule.color_noise_off_epoch=none"
    )
    for recipe, made in (("source", {}), ("modern", changes), ("source", {**changes, **dict.fromkeys(BY_EPOCH)})):
        silent = Recorded()
        made = {name if "." in name else f"training.schedule.{name}": value for name, value in made.items()}
        chosen_recipe(recipe, prepared, made, {}, None, False, None, None, silent)
        assert not [note for note in silent.notes if "conv1" in note]


def test_the_weights_are_averaged_over_the_same_part_of_a_run_of_any_length(prepared):
    for recipe, changes, epochs, averaged in (
        ("modern", {}, None, 1.5),
        ("modern", {}, 15, 0.5),
        ("modern", {"training.epochs": 90}, None, 3.0),
        ("modern", {"training.averaging_epochs": 1.5}, 15, 1.5),
        ("source", {}, 15, 0.0),
    ):
        options = {"training.epochs": epochs}
        chosen, _ = chosen_recipe(recipe, prepared, changes, options, None, False, None, None, Recorded())
        assert chosen.training.averaging_epochs == averaged


def test_epochs_of_a_schedule_say_that_they_are_scaled_to_the_run(prepared):
    drops = {"training.schedule.drop_epochs": [10, 20]}
    for changes, epochs, told in (
        (drops, 30, ["those of training.schedule.length, 91, and are scaled to the run's 30"]),
        ({**drops, "training.schedule.length": 30}, 30, []),
        (drops, None, []),
        ({}, 30, []),
        ({"training.schedule.conv1_frozen_epoch": None}, 30, []),
    ):
        reporter = Recorded()
        chosen_recipe("source", prepared, changes, {"training.epochs": epochs}, None, False, None, None, reporter)
        notes = [note for note in reporter.notes if "schedule.length" in note]
        assert len(notes) == len(told) and all(words in note for words, note in zip(told, notes, strict=True))


def test_weights_learnt_by_another_arithmetic_are_warned_of(tiny, tmp_path):
    run = Run.create(tmp_path / "saved_models/other", tiny, {})
    for recipe, said in (
        (tiny, None),
        (edit(tiny, {"training.momentum": 0.5, "network.conv1.filters": 4}), None),
        (
            edit(tiny, {"network.lrn.alpha": 0.5, "augmentation.input_scale": 0.1}),
            "input_scale is 1 there",
        ),
    ):
        reporter = Recorded()
        warn_of_other_arithmetic(recipe, InitialWeights(run), reporter)
        assert not reporter.warnings if said is None else said in reporter.warnings[0]
        assert said is None or "saved_models/other/recipe.toml is that one." in reporter.warnings[0]
