"""The update rule against the formula, step by step."""

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.layers import TowerDense
from alexnet_keras.training.optimizer import AlexNetSGD


def model_with_two_layers():
    entry = keras.Input((6,))
    hidden = TowerDense(5, name="conv1")(entry)
    (output,) = TowerDense(3, towers=1, reads="all", name="fc8")(hidden)
    return keras.Model(entry, output)


def test_a_hundred_steps_are_the_formula_for_weights_biases_and_a_frozen_layer():
    model = model_with_two_layers()
    optimizer = AlexNetSGD(0.01, 0.02, momentum=0.9, decay=0.0005, bias_decay=0.0, layers=("conv1",))
    optimizer.build(model.trainable_variables)
    random = np.random.default_rng(0)
    weights = {v.path: v.numpy().astype(np.float64) for v in model.trainable_variables}
    velocities = {path: np.zeros_like(w) for path, w in weights.items()}
    rates = {"weights": 0.01, "biases": 0.02, "conv1": 0.01}
    for step in range(100):
        if step == 40:  # a drop of the weights' rate
            rates |= {"weights": 0.001, "conv1": 1e-5}
        if step == 70:  # conv1 frozen: its velocity runs out
            rates |= {"conv1": 0.0}
        optimizer.set_rates(rates)
        gradients = [random.normal(size=v.shape).astype(np.float32) for v in model.trainable_variables]
        optimizer.apply([tf.constant(g) for g in gradients], model.trainable_variables)
        for v, g in zip(model.trainable_variables, gradients, strict=True):
            bias, conv1 = "bias" in v.path, v.path.startswith("conv1")
            rate = rates["biases"] if bias else rates["conv1"] if conv1 else rates["weights"]
            decay = 0.0 if bias else 0.0005
            w = weights[v.path]
            velocities[v.path] = 0.9 * velocities[v.path] - decay * rate * w - rate * g
            weights[v.path] = w + velocities[v.path]
    assert len(weights) == 6
    for v, slot in zip(model.trainable_variables, optimizer.velocities, strict=True):
        np.testing.assert_allclose(v.numpy(), weights[v.path], rtol=1e-5, atol=2e-6, err_msg=v.path)
        np.testing.assert_allclose(slot.numpy(), velocities[v.path], rtol=1e-4, atol=1e-6, err_msg=v.path)


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
