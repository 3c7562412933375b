"""Row 2.9: the update of weights and biases that a recipe's optimizer makes, against the formula in float64.

    v = momentum v - decay rate w - rate g;  w = w + v

tests/training/test_optimizer.py has it over a hundred steps in every placement, through a drop of the rates and the
freezing of conv1.
"""

import keras
import numpy as np
import pytest

from alexnet_keras.layers import TowerDense
from alexnet_keras.recipes.toml import load_recipe, with_overrides
from alexnet_keras.training.optimizer import new_optimizer

# momentum, decay of weights and of biases, rates of weights and of biases
CASES = {
    "source": ([], (0.9, 0.0005, 0.0, 0.01, 0.02)),
    "paper": ([], (0.9, 0.0005, 0.0005, 0.01, 0.01)),
    "source with other numbers": (
        ["momentum=0.6", "weight_decay=0.03", "bias_decay=0.2", "weight_rate=0.05", "bias_rate=0.3"],
        (0.6, 0.03, 0.2, 0.05, 0.3),
    ),
    "source without momentum": (["momentum=0.0", "weight_decay=0.4"], (0.0, 0.4, 0.0, 0.01, 0.02)),
}


@pytest.mark.parametrize("case", CASES)
def test_five_steps_of_a_recipes_optimizer(case):
    changes, (momentum, decay, bias_decay, rate, bias_rate) = CASES[case]
    recipe = with_overrides(load_recipe(case.split()[0]), [f"training.{change}" for change in changes])
    entry = keras.Input((6,))
    model = keras.Model(entry, TowerDense(3, name="fc7")(TowerDense(5, name="conv3")(entry)))
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    optimizer = new_optimizer(recipe, model)
    w = {v.path: np.float64(v.numpy()) for v in model.trainable_variables}
    v = {path: np.zeros_like(values) for path, values in w.items()}
    assert len(w) == 8 and sum("bias" in path for path in w) == 4
    for _ in range(5):
        gradients = {path: random.normal(size=values.shape) for path, values in w.items()}
        optimizer.apply([keras.ops.cast(g, "float32") for g in gradients.values()], model.trainable_variables)
        for path, g in gradients.items():
            own_rate, own_decay = (bias_rate, bias_decay) if "/bias" in path else (rate, decay)
            v[path] = momentum * v[path] - own_decay * own_rate * w[path] - own_rate * g
            w[path] = w[path] + v[path]
    for variable, velocity in zip(model.trainable_variables, optimizer.velocities, strict=True):
        np.testing.assert_allclose(velocity.numpy(), v[variable.path], rtol=2e-5, atol=1e-7, err_msg=variable.path)
        np.testing.assert_allclose(variable.numpy(), w[variable.path], rtol=2e-5, atol=1e-6, err_msg=variable.path)


@pytest.mark.parametrize(("recipe", "batch"), [("source", 128), ("paper", 128), ("caffe", 256), ("torchvision", 256)])
def test_batches(recipe, batch):
    assert load_recipe(recipe).training.batch_size == batch
