"""Keras's `compile` and `fit` by a recipe: the loss, the errors, the rates and the colour noise of `alexnet train`."""

import keras
import numpy as np
import pytest

from alexnet_keras import AlexNet, FollowRecipe, compile_options
from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation.errors import top_k_misses
from alexnet_keras.layers import ColorNoise, TowerDense
from alexnet_keras.recipes.edits import edit, rate_factors
from alexnet_keras.recipes.toml import load_recipe
from alexnet_keras.training.losses import CrossEntropy, TopKError
from alexnet_keras.training.optimizer import AlexNetSGD
from alexnet_keras.training.schedule import layer_rate_factors, plan_epoch
from alexnet_keras.training.step import cross_entropy

LABELS = np.array([0, 2, 1, 3, 6, 5, 4, 0])


def small_model(activation="softmax"):
    """With layers of the names and kinds that a recipe's rates are for, and colour noise."""
    entry = keras.Input((2, 2, 3))
    noisy = ColorNoise([1.0, 2.0, 3.0], np.eye(3), stddev=5.0, rescale=False, seed=0)(entry)
    hidden = TowerDense(5, towers=1, name="conv1")(keras.layers.Flatten()(noisy))
    (output,) = TowerDense(7, towers=1, name="fc8")(hidden)
    return keras.Model(entry, keras.layers.Activation(activation, name="predictions")(output))


def source(**changes):
    defaults = {"training.epochs": 8, "training.schedule.length": 8, "training.schedule.drop_epochs": ()}
    defaults |= {f"training.schedule.{name}": None for name in ("conv1_lowered_epoch", "conv1_frozen_epoch")}
    defaults |= {"training.schedule.color_noise_off_epoch": None}
    return edit(load_recipe("source"), defaults | {name.replace("__", "."): value for name, value in changes.items()})


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_that_of_the_training_from_logits_and_from_probabilities(smoothing):
    scores = (np.random.default_rng(0).normal(size=(8, 7)) * 12).astype(np.float32)  # probabilities down to 1e-20
    expected = float(np.mean(cross_entropy(LABELS, scores, smoothing)))
    from_logits = CrossEntropy(True, smoothing)(LABELS, scores)
    from_probabilities = CrossEntropy(False, smoothing)(LABELS, keras.ops.softmax(scores))
    np.testing.assert_allclose([from_logits, from_probabilities], expected, rtol=1e-6)
    column = LABELS[:, None].astype(np.float32)  # as Keras hands labels on
    assert float(CrossEntropy(True, smoothing)(column, scores)) == float(from_logits)


def test_a_probability_of_0_has_a_finite_loss():
    loss = CrossEntropy()(np.array([1]), np.array([[1.0, 0.0]], np.float32))
    assert float(loss) == pytest.approx(87.34, abs=0.01)


def test_errors_count_as_in_an_evaluation():
    probabilities = np.random.default_rng(1).integers(0, 4, (8, 7)).astype(np.float32)  # with ties
    for k in (1, 5):
        metric = TopKError(k)
        metric.update_state(LABELS, probabilities)
        assert metric.name == f"top{k}_error"
        assert float(metric.result()) == top_k_misses(probabilities, LABELS, k) / len(LABELS)
    metric = TopKError(5)
    metric.update_state(LABELS[:1], np.full((1, 7), np.nan, np.float32))
    assert float(metric.result()) == 1


def test_labels_that_are_no_classes_are_errors_without_a_loss():
    scores = np.full((3, 7), 9.0, np.float32)
    for from_logits in (True, False):
        losses = CrossEntropy(from_logits, reduction=None)(np.array([-1, 7, 6]), scores)
        np.testing.assert_array_equal(np.isfinite(losses), [False, False, True])
    metric = TopKError(7)
    metric.update_state(np.array([-1, 7, 6]), scores)
    assert float(metric.result()) == pytest.approx(2 / 3)


@pytest.mark.parametrize("batch", [1, 4])
def test_labels_of_another_shape_are_refused(batch):
    one_hot, scores = np.eye(7, dtype=np.float32)[:batch], np.ones((batch, 7), np.float32)
    for compute in (CrossEntropy(), TopKError(1)):
        with pytest.raises(ValueError, match=rf"Labels are integers.* Received: labels of shape \({batch}, 7\)"):
            compute(one_hot, scores)
    with pytest.raises(ValueError, match="Received: k=0"):
        TopKError(0)
    with pytest.raises(ValueError, match=r"Received: label_smoothing=2\.0"):
        CrossEntropy(label_smoothing=2.0)


class Observed(keras.callbacks.Callback):
    """The rates in each epoch, and whether its steps have colour noise."""

    def __init__(self, errors=()):
        super().__init__()
        self.rates, self.noise, self.errors = [], [], errors

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(self.model.optimizer.rates)
        self.noise.append(next(layer for layer in self.model.layers if isinstance(layer, ColorNoise)).active)

    def on_epoch_end(self, epoch, logs=None):
        if self.errors:  # those that a test wants
            logs["val_top1_error"] = self.errors[epoch]


def fit(recipe, *, epochs=20, errors=(), validate=True, follow=None, model=None, **options):
    model = model or small_model()
    model.compile(**compile_options(recipe, model))
    images = np.random.default_rng(0).normal(size=(8, 2, 2, 3)).astype(np.float32)
    observed, follow = Observed(errors), follow or FollowRecipe(recipe)
    history = model.fit(
        images,
        LABELS,
        batch_size=8,
        epochs=epochs,
        validation_data=(images, LABELS) if validate else None,
        callbacks=[observed, follow],
        verbose=0,
        **options,
    )
    return observed, history.history


STALLING = [0.9, 0.8, 0.8, 0.8, 0.7, 0.7, 0.7, 0.7]


@pytest.mark.parametrize(
    ("changes", "epochs"),
    [
        ({"drop_epochs": (2, 5), "conv1_lowered_epoch": 4, "conv1_frozen_epoch": 6, "color_noise_off_epoch": 3}, 8),
        pytest.param({"kind": "cosine", "warmup_epochs": 2}, 8, marks=pytest.mark.slow),
        pytest.param({"kind": "dexp"}, 8, marks=pytest.mark.slow),
        pytest.param({"kind": "plateau", "plateau_patience": 2, "plateau_drops": 1}, 7, marks=pytest.mark.slow),
    ],
)
def test_rates_and_colour_noise_of_every_epoch_are_those_of_the_schedule(changes, epochs):
    recipe = source(**{f"training__schedule__{name}": value for name, value in changes.items()})
    recipe = edit(recipe, rate_factors(recipe.network, "fc8", 0.5))
    observed, history = fit(recipe, errors=STALLING)
    assert len(observed.rates) == epochs
    for epoch, rates in enumerate(observed.rates):
        plan = plan_epoch(recipe.training, epoch, STALLING[:epoch], layer_rate_factors(recipe.network))
        assert rates == pytest.approx(plan.rates, rel=1e-6)
        assert observed.noise[epoch] == plan.color_noise
        assert history["rate_weights"][epoch] == history["learning_rate"][epoch] == rates["weights"]
    assert len({tuple(rates.values()) for rates in observed.rates}) > 1


def test_the_compiled_step_loses_its_colour_noise_in_the_epoch_that_the_schedule_says():
    recipe = source(training__schedule__color_noise_off_epoch=2, training__weight_rate=1e-9, training__bias_rate=1e-9)
    _, history = fit(recipe, epochs=3)
    apart = np.abs(np.subtract(history["loss"], history["val_loss"]))
    assert min(apart[:2]) > 0.01 and apart[2] < 1e-5


def test_colour_noise_ends_in_a_network_inside_another_too():
    recipe = source(training__schedule__color_noise_off_epoch=1)
    body = small_model()
    model = keras.Sequential([keras.Input((2, 2, 3)), keras.Model(body.input, body.get_layer("fc8").output)])
    model.add(keras.layers.Activation("softmax"))
    observed = Noise(body.layers[1])
    model.compile(**compile_options(recipe, model))
    images = np.ones((8, 2, 2, 3), np.float32)
    model.fit(images, LABELS, epochs=2, callbacks=[FollowRecipe(recipe), observed], verbose=0)
    assert observed.seen == [True, False]


class Noise(keras.callbacks.Callback):
    """Whether a layer's noise is on in each epoch."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.seen = layer, []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.layer.active)


def test_batches_have_the_order_of_the_epoch_that_is_trained():
    class Batches(keras.utils.PyDataset):
        epoch = 0

        def __len__(self):
            return 2

        def __getitem__(self, index):
            read.append(self.epoch)
            return np.ones((8, 2, 2, 3), np.float32), LABELS

        def on_epoch_end(self):
            self.epoch += 1

    for initial in (0, 5):
        recipe, model, read = source(), small_model(), []
        batches = Batches()
        model.compile(**compile_options(recipe, model))
        follow = FollowRecipe(recipe, batches=batches)
        model.fit(batches, initial_epoch=initial, epochs=initial + 2, callbacks=[follow], shuffle=False, verbose=0)
        assert read[-4:] == [initial, initial, initial + 1, initial + 1]  # after those of Keras, to build the metrics


@pytest.mark.slow
def test_a_fit_can_be_continued():
    recipe = source(training__schedule__kind="plateau", training__schedule__plateau_patience=2)
    whole, _ = fit(recipe, errors=STALLING)
    part, _ = fit(recipe, errors=STALLING, initial_epoch=4, follow=FollowRecipe(recipe, STALLING[:4]))
    assert part.rates == whole.rates[4:]
    with pytest.raises(UsageError, match="the errors of the epochs before initial_epoch"):
        fit(recipe, initial_epoch=4)
    with pytest.raises(UsageError, match="The schedule of the recipe source has ended before epoch 9"):
        fit(recipe, initial_epoch=8)


def test_a_frozen_layer_keeps_its_bits():
    recipe = source()
    model = small_model()
    before = {variable.path: variable.numpy() for variable in model.trainable_variables}
    fit(edit(recipe, rate_factors(recipe.network, "conv1", 0.0)), model=model, epochs=2)
    for variable in model.trainable_variables:
        assert np.array_equal(variable.numpy(), before[variable.path]) == variable.path.startswith("conv1")


def test_what_fit_cannot_do_is_refused():
    with pytest.raises(UsageError, match="keeps a running average of the weights, which Keras's fit does not"):
        compile_options(source(training__averaging_epochs=1.0), small_model())
    with pytest.raises(UsageError, match="has to end with a softmax or with logits, and its last layer is predictions"):
        compile_options(source(), small_model("sigmoid"))
    with pytest.raises(UsageError, match="Every layer is frozen"):
        recipe = source()
        compile_options(edit(recipe, rate_factors(recipe.network, "conv1..fc8", 0.0)), small_model())
    with pytest.raises(UsageError, match="plateau needs the validation error of every epoch"):
        fit(source(training__schedule__kind="plateau"), validate=False)
    model = small_model()
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(UsageError, match=r"FollowRecipe needs a model compiled with \*\*compile_options"):
        model.fit(np.zeros((8, 2, 2, 3)), LABELS, callbacks=[FollowRecipe(source())], verbose=0)


@pytest.mark.parametrize("compiled_with_it", [True, False])
def test_a_recipe_that_the_model_was_not_compiled_for_is_refused(compiled_with_it):
    recipes = [source(), edit(source(), {"network.fc8.rate_factor": 10.0})]
    model = small_model()
    model.compile(**compile_options(recipes[compiled_with_it], model))
    with pytest.raises(UsageError, match="another recipe: one of them gives fc8, fc8_biases a rate of its own"):
        model.fit(np.zeros((8, 2, 2, 3)), LABELS, callbacks=[FollowRecipe(recipes[not compiled_with_it])], verbose=0)


@pytest.mark.parametrize("by_itself", [True, False], ids=["its dtype", "the global policy"])
@pytest.mark.parametrize(("policy", "taken"), [("mixed_float16", False), ("float16", False), ("mixed_bfloat16", True)])
def test_float16_is_refused_however_it_was_chosen(tiny, policy, taken, by_itself):
    before = keras.config.dtype_policy()
    try:
        if not by_itself:
            keras.config.set_dtype_policy(policy)
        model = AlexNet(tiny, classes=3, seed=0, **({"dtype": policy} if by_itself else {}))
    finally:
        keras.config.set_dtype_policy(before)
    if taken:
        model.compile(**compile_options(tiny, model))
        assert isinstance(model.optimizer, AlexNetSGD)
    else:
        with pytest.raises(UsageError, match=r"computes in float16.*mixed_bfloat16, or train with alexnet_keras"):
            compile_options(tiny, model)


@pytest.mark.parametrize(("activation", "from_logits"), [("softmax", False), (None, True)])
def test_a_compiled_network_is_saved_and_loaded_without_custom_objects(tiny, tmp_path, activation, from_logits):
    recipe = edit(tiny, {"training.label_smoothing": 0.1})
    model = AlexNet(recipe, classes=3, classifier_activation=activation, seed=0)
    model.compile(**compile_options(recipe, model))
    model.save(tmp_path / "compiled.keras")
    loaded = keras.saving.load_model(tmp_path / "compiled.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert loaded.optimizer.rates == model.optimizer.rates
    assert (loaded.loss.from_logits, loaded.loss.label_smoothing) == (from_logits, 0.1)


def test_with_five_classes_or_fewer_there_is_no_top_5_error(tiny):
    for classes, names in ((3, ["top1_error"]), (5, ["top1_error"]), (6, ["top1_error", "top5_error"])):
        options = compile_options(tiny, AlexNet(tiny, classes=classes))
        assert [metric.name for metric in options["metrics"]] == names
