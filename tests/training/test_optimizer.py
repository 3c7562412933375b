"""The update rule against the formula, step by step, and the factor of float16's loss."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_keras import AlexNet
from alexnet_keras.layers import TowerDense
from alexnet_keras.recipes import edit, load_recipe
from alexnet_keras.training import optimizer as optimizer_module
from alexnet_keras.training.devices import Placement
from alexnet_keras.training.optimizer import AlexNetSGD, LossScale, new_optimizer


def model_with_two_layers():
    entry = keras.Input((6,))
    hidden = TowerDense(5, name="conv1")(entry)
    (output,) = TowerDense(3, towers=1, reads="all", name="fc8")(hidden)
    return keras.Model(entry, output)


RATES = {  # from a step on: a drop of the weights' rate, then conv1 frozen, whose velocity runs out
    0: {"weights": 0.01, "biases": 0.02, "conv1": 0.01, "fc8_biases": 0.03},
    40: {"weights": 0.001, "biases": 0.02, "conv1": 1e-5, "fc8_biases": 0.003},
    70: {"weights": 0.001, "biases": 0.02, "conv1": 0.0, "fc8_biases": 0.003},
}


def kind_of(path):
    if "bias" in path:
        return "fc8_biases" if path.startswith("fc8") else "biases"
    return "conv1" if path.startswith("conv1") else "weights"


@pytest.mark.parametrize("kind", ["one", "towers", "mirrored"])
def test_a_hundred_steps_are_the_formula_for_weights_biases_and_a_frozen_layer(kind):
    """Every placement, through a schedule change and a freeze; each replica has half of the gradient."""
    placement = Placement(kind, ("/CPU:0",) if kind == "one" else ("/CPU:0", "/CPU:1"))
    with placement.scope():
        model = model_with_two_layers()
        optimizer = AlexNetSGD(
            0.01, 0.02, momentum=0.9, decay=0.0005, layers=("conv1", "fc8_biases"), layer_decays={"fc8": 0.001}
        )
        optimizer.build(model.trainable_variables)
    variables = model.trainable_variables

    @tf.function
    def apply(gradients):
        def replica(gradients):
            own = [gradient / placement.replicas for gradient in gradients]
            optimizer.apply(own, variables)

        placement.strategy.run(replica, (gradients,))

    random = np.random.default_rng(0)
    weights = {v.path: v.numpy().astype(np.float32) for v in variables}
    velocities = {path: np.zeros_like(w) for path, w in weights.items()}
    for step in range(100):
        rates = RATES[max(start for start in RATES if start <= step)]
        optimizer.set_rates(rates)
        gradients = {v.path: random.normal(size=v.shape).astype(np.float32) for v in variables}
        apply([tf.constant(gradients[v.path]) for v in variables])
        for path, g in gradients.items():
            rate = np.float32(rates[kind_of(path)])
            decay = np.float32(0.0 if "bias" in path else 0.001 if path.startswith("fc8") else 0.0005)
            w = weights[path]
            velocities[path] = np.float32(0.9) * velocities[path] - decay * rate * w - rate * g
            weights[path] = w + velocities[path]
    assert len(weights) == 6
    for v, slot in zip(variables, optimizer.velocities, strict=True):
        # float32 in both: an update is of the order of 0.1, and one rounding of it is 4e-9
        np.testing.assert_allclose(v.numpy(), weights[v.path], rtol=2e-6, atol=2e-6, err_msg=v.path)
        np.testing.assert_allclose(slot.numpy(), velocities[v.path], rtol=2e-6, atol=1e-7, err_msg=v.path)
        assert v.value.device == slot.value.device


@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("proceed", [True, False])
def test_an_update_can_be_made_to_depend_on_a_condition(momentum, proceed):
    model = model_with_two_layers()
    before = model.get_weights()
    optimizer = AlexNetSGD(0.1, momentum=momentum, decay=0.01)
    optimizer.build(model.trainable_variables)

    @tf.function
    def apply(proceed):
        with optimizer.only_if(proceed):
            optimizer.apply([tf.ones(v.shape) for v in model.trainable_variables], model.trainable_variables)

    apply(tf.constant(proceed))
    for variable, old in zip(model.trainable_variables, before, strict=True):
        decay = 0.0 if "bias" in variable.path else 0.01
        expected = old - 0.1 * (1 + decay * old) if proceed else old
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6, atol=1e-7)


def test_it_is_not_kerass_decoupled_decay():
    model, other = model_with_two_layers(), model_with_two_layers()
    other.set_weights(model.get_weights())
    ours, theirs = AlexNetSGD(0.1, decay=0.1), keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(20):
        zeros = [tf.zeros(v.shape) for v in model.trainable_variables]
        ours.apply(zeros, model.trainable_variables)
        theirs.apply(zeros, other.trainable_variables)
    shrunk, shrunk_less = (np.abs(m.get_layer("fc8").kernels[0].numpy()).sum() for m in (model, other))
    assert shrunk < 0.7 * shrunk_less


def test_it_trains_under_fit_and_comes_back_from_its_config():
    model = model_with_two_layers()
    model.compile(AlexNetSGD(0.05, 0.1, layers=("conv1",)), loss="mse")
    x, y = np.random.default_rng(0).normal(size=(64, 6)), np.ones((64, 3))
    history = model.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    config = model.optimizer.get_config()
    assert AlexNetSGD.from_config(config).get_config() == config


def test_its_defaults_are_the_papers():
    optimizer = AlexNetSGD()
    assert optimizer.rates == pytest.approx({"weights": 0.01, "biases": 0.01})
    assert (optimizer.momentum, optimizer.decay, optimizer.bias_decay) == (0.9, 0.0005, 0.0)
    assert (optimizer.layers, optimizer.layer_decays) == ((), {})


def test_each_kind_starts_at_the_rate_of_the_weights_or_of_the_biases():
    optimizer = AlexNetSGD(0.5, 0.25, layers=("conv1", "fc8", "fc8_biases"))
    assert optimizer.rates == {"weights": 0.5, "biases": 0.25, "conv1": 0.5, "fc8": 0.5, "fc8_biases": 0.25}
    optimizer.set_rates({"fc8": 0.125})
    assert optimizer.rates["fc8"] == 0.125 and optimizer.rates["conv1"] == 0.5
    with pytest.raises(KeyError):
        optimizer.set_rates({"fc9": 1.0})


def test_names_that_no_variable_has_are_warned_of():
    variables = model_with_two_layers().trainable_variables
    with pytest.warns(UserWarning, match="is of 'conv7', 'fc9', 'fc7': the rates and decays"):
        named = AlexNetSGD(0.5, layers=("conv1", "conv7", "fc9_biases"), layer_decays={"fc7": 0.1, "fc8": 0.1})
        named.build(variables)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        AlexNetSGD(0.5, layers=("conv1", "fc8_biases"), layer_decays={"fc8": 0.1}).build(variables)
        AlexNetSGD.from_config(named.get_config()).build(variables)


def test_a_frozen_layer_of_a_recipe_is_not_warned_of():
    recipe = edit(load_recipe("quickstart"), {"network.conv2.rate_factor": 0.0, "network.conv3.weight_decay": 0.0})
    model = AlexNet(recipe, classes=3)
    for name in ("conv1", "conv2", "conv3"):
        model.get_layer(name).trainable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        optimizer = new_optimizer(recipe, model)
    assert "conv2" in optimizer.layers and optimizer.layer_decays == {"conv3": 0.0}


def test_its_config_has_all_that_it_takes():
    config = AlexNetSGD(0.5, 0.25, 0.8, 0.1, 0.2, ("conv1",), {"fc8": 0.3}).get_config()
    assert config == {
        "name": "alexnet_sgd",
        "learning_rate": 0.5,
        "clipnorm": None,
        "clipvalue": None,
        "global_clipnorm": None,
        "use_ema": False,
        "ema_momentum": 0.99,
        "ema_overwrite_frequency": None,
        "gradient_accumulation_steps": None,
        "loss_scale_factor": None,
        "bias_learning_rate": 0.25,
        "momentum": 0.8,
        "decay": 0.1,
        "bias_decay": 0.2,
        "layers": {"conv1": 0.5},
        "layer_decays": {"fc8": 0.3},
    }


@pytest.mark.parametrize("where", ["in place", "other backends"])
@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 0.5), (0.0, 0.5), (0.9, 0.0), (0.0, 0.0)])
def test_two_steps_with_and_without_momentum_and_decay(monkeypatch, where, momentum, decay):
    if where == "other backends":  # what JAX and PyTorch compute is ordinary operations, which TensorFlow has, too
        monkeypatch.setattr(optimizer_module, "on_tensorflow", lambda: False)
    model = model_with_two_layers()
    optimizer = AlexNetSGD(0.5, 0.25, momentum=momentum, decay=decay)
    optimizer.build(model.trainable_variables)
    slots = optimizer.velocities
    optimizer.build(model.trainable_variables)
    assert all(one is other for one, other in zip(slots, optimizer.velocities, strict=True)), "built once"
    random = np.random.default_rng(1)
    w = {v.path: np.float64(v.numpy()) for v in model.trainable_variables}
    velocity = {path: np.zeros_like(values) for path, values in w.items()}
    for _ in range(2):
        gradients = {path: random.normal(size=values.shape) for path, values in w.items()}
        # float64 gradients, as of a loss in that type: they are cast
        optimizer.apply([tf.constant(gradients[v.path]) for v in model.trainable_variables], model.trainable_variables)
        for path, g in gradients.items():
            rate, own = (0.25, 0.0) if "bias" in path else (0.5, decay)
            velocity[path] = momentum * velocity[path] - own * rate * w[path] - rate * g
            w[path] = w[path] + velocity[path]
    for v in model.trainable_variables:
        np.testing.assert_allclose(v.numpy(), w[v.path], rtol=1e-5, atol=1e-6, err_msg=v.path)


def test_after_a_scope_with_a_condition_updates_are_made_again():
    model = model_with_two_layers()
    optimizer = AlexNetSGD(0.1)
    optimizer.build(model.trainable_variables)
    with optimizer.only_if(tf.constant(False)):
        pass
    before = model.get_weights()
    optimizer.apply([tf.ones(v.shape) for v in model.trainable_variables], model.trainable_variables)
    assert all(not np.allclose(old, new) for old, new in zip(before, model.get_weights(), strict=True))


KERAS_ARGUMENTS = {
    "clipnorm": {"clipnorm": 0.5},
    "clipvalue": {"clipvalue": 0.1},
    "global_clipnorm": {"global_clipnorm": 0.5},
    "average": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
    "accumulation": {"gradient_accumulation_steps": 2},
    "loss scale": {"loss_scale_factor": 4.0},
}


@pytest.mark.parametrize("arguments", KERAS_ARGUMENTS.values(), ids=KERAS_ARGUMENTS)
def test_the_arguments_of_keras_do_what_they_do_in_keras_and_are_kept(arguments):
    """Without decay, and with one rate for all, the rule is that of Keras's SGD."""
    ends = []
    ours = AlexNetSGD(0.25, decay=0.0, **arguments)
    again = AlexNetSGD.from_config(ours.get_config())
    assert arguments.items() <= again.get_config().items()
    for optimizer in (ours, again, keras.optimizers.SGD(0.25, momentum=0.9, **arguments)):
        keras.utils.set_random_seed(3)
        model = model_with_two_layers()
        optimizer.build(model.trainable_variables)
        random = np.random.default_rng(4)
        for _ in range(4):
            gradients = [tf.constant(random.normal(size=v.shape), tf.float32) for v in model.trainable_variables]
            optimizer.apply(gradients, model.trainable_variables)
        ends.append(model.get_weights())
    for weights in zip(*ends, strict=True):
        np.testing.assert_allclose(weights[0], weights[2], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(weights[0], weights[1])


def test_the_decay_of_keras_is_refused_because_there_is_another():
    with pytest.raises(ValueError, match="decay=, not weight_decay="):
        AlexNetSGD(0.1, weight_decay=0.1)


class Thirds(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, start=0.3):
        self.start = start

    def __call__(self, step):
        return self.start / 3.0 ** keras.ops.cast(step, "float32")

    def get_config(self):
        return {"start": self.start}


@pytest.mark.parametrize("kind", ["schedule", "callable"])
def test_a_schedule_of_keras_moves_every_rate_in_proportion(kind):
    optimizer = AlexNetSGD(Thirds() if kind == "schedule" else lambda: 0.3, 0.6, layers=["fc8"])
    assert optimizer.rates == pytest.approx({"weights": 0.3, "biases": 0.6, "fc8": 0.3})
    with pytest.raises(TypeError, match="follow a schedule"):
        optimizer.set_rates({"weights": 0.1})
    if kind == "callable":
        return
    model = model_with_two_layers()
    before = {v.path: v.numpy() for v in model.trainable_variables}
    optimizer.build(model.trainable_variables)
    plain = AlexNetSGD.from_config(optimizer.get_config(), custom_objects={"Thirds": Thirds})
    assert plain.rates == optimizer.rates
    optimizer.apply([tf.ones(v.shape) for v in model.trainable_variables], model.trainable_variables)
    assert optimizer.rates == pytest.approx({"weights": 0.1, "biases": 0.2, "fc8": 0.1})
    for v in model.trainable_variables:
        rate, decay = (0.6, 0.0) if "bias" in v.path else (0.3, 0.0005)
        np.testing.assert_allclose(v.numpy(), before[v.path] * (1 - rate * decay) - rate, rtol=1e-5, atol=1e-6)
    again = AlexNetSGD.from_config(optimizer.get_config(), custom_objects={"Thirds": Thirds})
    assert again.rates == pytest.approx({"weights": 0.3, "biases": 0.6, "fc8": 0.3}), "at its first step again"


def test_a_schedule_that_begins_at_nothing_has_no_multiples():
    warm = keras.optimizers.schedules.PolynomialDecay(0.0, 10, 0.5)
    with pytest.raises(ValueError, match="begins at 0"):
        AlexNetSGD(warm, 0.1)
    optimizer = AlexNetSGD(warm)
    optimizer.build(model_with_two_layers().trainable_variables)
    optimizer.iterations.assign(5)
    assert optimizer.rates == pytest.approx({"weights": 0.25, "biases": 0.25})
    with pytest.raises(ValueError, match="begins at 0"):
        AlexNetSGD(warm, layers={"conv1": 0.1})
    frozen = AlexNetSGD(warm, 0.0, layers={"conv1": 0.0})
    for each in (frozen, AlexNetSGD.from_config(frozen.get_config())):
        each.build(model_with_two_layers().trainable_variables)
        each.iterations.assign(5)
        assert each.rates == pytest.approx({"weights": 0.25, "biases": 0.0, "conv1": 0.0})


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")  # which has no velocities yet
def test_rates_by_layer_beside_a_schedule_are_kept(tmp_path):
    falling = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    model = model_with_two_layers()
    model.compile(AlexNetSGD(falling, layers={"conv1": 0.0, "fc8": 1.0}), loss="mse")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for optimizer in (AlexNetSGD.from_config(model.optimizer.get_config()), loaded.optimizer):
        assert optimizer.rates == pytest.approx({"weights": 0.1, "biases": 0.1, "conv1": 0.0, "fc8": 1.0})


def test_what_sets_the_rate_of_keras_moves_every_rate_in_proportion(tmp_path):
    optimizer = AlexNetSGD(0.5, 0.25, layers=["fc8"])
    optimizer.set_rates({"fc8": 2.0})
    optimizer.learning_rate = 0.25  # as ReduceLROnPlateau and LearningRateScheduler do
    assert optimizer.rates == {"weights": 0.25, "biases": 0.125, "fc8": 1.0}
    assert AlexNetSGD.from_config(optimizer.get_config()).rates == optimizer.rates
    optimizer.set_rates({"biases": 0.5})
    assert optimizer.rates == {"weights": 0.25, "biases": 0.5, "fc8": 1.0}
    optimizer.set_rates({"weights": 0.0})
    assert optimizer.rates == {"weights": 0.0, "biases": 0.5, "fc8": 1.0}
    optimizer.learning_rate = 0.125
    assert optimizer.rates == {"weights": 0.125, "biases": 0.5, "fc8": 1.0}, "of nothing there are no multiples"


def test_a_plateau_lowers_the_rates_of_biases_as_well():
    model = model_with_two_layers()
    model.compile(AlexNetSGD(0.5, 0.25), loss="mse")
    lower = keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1, min_delta=1e9)
    model.fit(np.ones((4, 6), np.float32), np.ones((4, 3), np.float32), epochs=3, verbose=0, callbacks=[lower])
    assert model.optimizer.rates == {"weights": 0.125, "biases": 0.0625}


def test_a_compiled_model_is_saved_with_its_rates_and_velocities(tmp_path):
    model = model_with_two_layers()
    model.compile(AlexNetSGD(0.5, 0.25, layers=["fc8"], clipnorm=1.0), loss="mse")
    x, y = np.ones((4, 6), np.float32), np.ones((4, 3), np.float32)
    model.train_on_batch(x, y)
    model.optimizer.set_rates({"fc8": 0.125})
    model.optimizer.learning_rate = 0.25
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.rates == {"weights": 0.25, "biases": 0.125, "fc8": 0.0625}
    assert loaded.optimizer.clipnorm == 1.0
    for each in (model, loaded):
        each.train_on_batch(x, y)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_variables_that_0_1_saved_are_loaded():
    optimizer = AlexNetSGD(0.5, 0.25, layers=["fc8"])
    optimizer.build(model_with_two_layers().trainable_variables)
    # iterations, the rate of weights, of biases, of fc8, then the velocities
    saved = [np.int64(7), np.float32(0.1), np.float32(0.2), np.float32(0.3)]
    saved += [np.full(v.shape, 2.0, np.float32) for v in optimizer.velocities]
    optimizer.load_own_variables({str(index): value for index, value in enumerate(saved)})
    assert optimizer.rates == pytest.approx({"weights": 0.1, "biases": 0.2, "fc8": 0.3})
    assert int(optimizer.iterations) == 7 and all(float(v.numpy().min()) == 2.0 for v in optimizer.velocities)


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_two_variables_that_were_not_trained_are_not_taken_for_those_of_0_1(tmp_path):
    model = model_with_two_layers()
    model.get_layer("fc8").trainable = False
    model.compile(AlexNetSGD(0.1, 0.2), loss="mse")
    model.train_on_batch(np.ones((4, 6), np.float32), np.ones((4, 3), np.float32))
    model.get_layer("fc8").trainable = True
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_variables_of_another_precision_are_trained(dtype):
    variable = keras.Variable(np.full((2, 3), 4.0), dtype=dtype, name="kernel")
    optimizer = AlexNetSGD(0.5, momentum=0.5, decay=0.25)
    for expected in (4 - 0.5 * (2 + 1), 2.5 - 0.5 * (2 + 0.625) - 0.75):  # of w = 4 and 2.5, with a gradient of 2
        optimizer.apply([keras.ops.full((2, 3), 2.0, dtype)], [variable])
        np.testing.assert_allclose(keras.ops.cast(variable, "float32"), expected, rtol=1e-2)


@pytest.mark.parametrize(
    "arguments", [{"layers": "conv1"}, {"momentum": 2.0}, {"decay": -1.0}, {"layer_decays": {"fc8": -0.1}}]
)
def test_arguments_that_cannot_be_meant_are_refused(arguments):
    with pytest.raises(ValueError, match="Received: "):
        AlexNetSGD(0.1, **arguments)


# The factor of float16's loss


def test_it_starts_at_2_to_the_15th_and_doubles_after_2000_good_steps_in_a_row():
    scale = LossScale()
    assert scale == LossScale(32768.0, 0)
    for good in range(1, 2000):
        scale = scale.after(True)
        assert scale == LossScale(32768.0, good)
    assert scale.after(True) == LossScale(65536.0, 0)


def test_an_overflow_halves_it_and_starts_the_count_anew():
    assert LossScale(32768.0, 1999).after(False) == LossScale(16384.0, 0)
    assert LossScale(16384.0, 0).after(True) == LossScale(16384.0, 1)


def test_it_is_exhausted_below_1():
    assert not LossScale(1.0).exhausted
    assert LossScale(1.0).after(False).exhausted
