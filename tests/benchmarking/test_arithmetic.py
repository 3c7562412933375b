"""The operations of a network, against arithmetic from the paper's own numbers."""

import pytest

from alexnet_keras import AlexNet
from alexnet_keras.benchmarking.measure import forward_operations, matrix_product, training_operations

# Output positions, kernels of both towers, and the inputs of one kernel: paper, section 3.5 and figure 2.
CONV1 = 55 * 55 * 96 * (11 * 11 * 3)
OTHERS = (
    27 * 27 * 256 * (5 * 5 * 48)
    + 13 * 13 * 384 * (3 * 3 * 256)
    + 13 * 13 * 384 * (3 * 3 * 192)
    + 13 * 13 * 256 * (3 * 3 * 192)
    + 4096 * (6 * 6 * 256)
    + 4096 * 4096
    + 1000 * 4096
)


@pytest.fixture(scope="module")
def model():
    return AlexNet("source", classes=1000, seed=0)


def test_the_forward_pass_is_two_operations_a_multiply_add(model):
    assert forward_operations(model) == 2 * (CONV1 + OTHERS)
    assert forward_operations(model) == pytest.approx(1.45e9, rel=0.005)


def test_training_adds_two_gradients_and_none_for_the_image(model):
    assert training_operations(model) == 2 * (2 * CONV1 + 3 * OTHERS)
    assert training_operations(model) == pytest.approx(4.13e9, rel=0.005)


def test_a_network_in_one_tower_is_counted_as_well(tiny):
    from alexnet_keras.recipes.toml import with_overrides

    one = AlexNet(with_overrides(tiny, ["network.towers=1"]), classes=3, seed=0)
    conv1 = 55 * 55 * 6 * (11 * 11 * 3)
    others = 27 * 27 * 8 * (25 * 6) + 13 * 13 * (8 * 9 * 8 * 2 + 6 * 9 * 8) + 16 * (36 * 6) + 12 * 16 + 3 * 12
    assert training_operations(one) == 2 * (2 * conv1 + 3 * others)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_matrix_products_have_a_rate(dtype):
    assert matrix_product(dtype, side=64)() > 0
