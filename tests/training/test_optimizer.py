"""The update rule against the formula, step by step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_keras.layers import TowerDense
from alexnet_keras.training import optimizer as optimizer_module
from alexnet_keras.training.devices import Placement
from alexnet_keras.training.optimizer import AlexNetSGD


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


def test_biases_decay_when_the_recipe_says_so():
    def bias_after(bias_decay):
        model = model_with_two_layers()
        model.get_layer("fc8").biases[0].assign([1.0, 1.0, 1.0])
        optimizer = AlexNetSGD(0.1, 0.1, bias_decay=bias_decay)
        zeros = [tf.zeros(v.shape) for v in model.trainable_variables]
        optimizer.apply(zeros, model.trainable_variables)
        return model.get_layer("fc8").biases[0].numpy()

    np.testing.assert_allclose(bias_after(0.5), 1 - 0.1 * 0.5, rtol=1e-6)
    np.testing.assert_array_equal(bias_after(0.0), 1.0)


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


def test_its_config_has_what_it_takes_and_nothing_of_keras_that_it_does_not_heed():
    config = AlexNetSGD(0.5, 0.25, 0.8, 0.1, 0.2, ("conv1",), {"fc8": 0.3}).get_config()
    assert config == {
        "name": "alexnet_sgd",
        "learning_rate": 0.5,
        "loss_scale_factor": None,
        "bias_learning_rate": 0.25,
        "momentum": 0.8,
        "decay": 0.1,
        "bias_decay": 0.2,
        "layers": ["conv1"],
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
