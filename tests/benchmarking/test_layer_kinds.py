"""Operations of real steps find their layers, whatever the recipe calls them."""

import dataclasses

import pytest
import tensorflow as tf

from alexnet_keras import AlexNet
from alexnet_keras.benchmarking.trace import CASTS, INPUT, LOSS, OPTIMIZER, OTHER, LayerKinds, kinds_in, traced_shares
from alexnet_keras.recipes.toml import with_overrides
from alexnet_keras.training.optimizer import new_optimizer
from alexnet_keras.training.step import TrainingStep

LRN, SPATIAL = "local response normalisation", "spatial normalisation"
NETWORK = [INPUT, "convolution", LRN, "pooling", "ReLU", SPATIAL, "fully connected", "dropout"]
BATCH = 4


class Traced:
    """A training step of a small network, with the kinds of its operations."""

    def __init__(self, recipe, precision="float32"):
        self.model = AlexNet(recipe, classes=3, seed=0, dtype=precision)
        optimizer = new_optimizer(recipe, self.model)
        step = TrainingStep(self.model, optimizer, tf.distribute.get_strategy(), seed=0, batch_size=BATCH)
        images, labels = tf.zeros((BATCH, 224, 224, 3), tf.uint8), tf.zeros((BATCH,), tf.int64)
        self.run = lambda: step(images, labels, 0)
        self.run()
        self.graph = step.compiled.get_concrete_function(images, labels, *step.scalars(0)).graph
        self.kinds = LayerKinds(self.model, self.graph, "images", optimizer.name)

    def shares(self, folder):
        return traced_shares(self.run, 1, self.kinds, folder)


@pytest.fixture(scope="module")
def traced(tiny):
    return Traced(tiny)


@pytest.mark.slow
def test_every_kind_of_layer_takes_its_share_of_a_step(traced, tmp_path):
    assert kinds_in(traced.model, training=True) == [*NETWORK, LOSS, OPTIMIZER, OTHER]
    found = traced.shares(tmp_path)
    assert sum(found.values()) == pytest.approx(1.0)
    assert set(found) == {*NETWORK, LOSS, OPTIMIZER, OTHER}
    assert all(share > 0 for share in found.values())


def test_a_network_without_normalisation_under_other_names_has_the_other_kinds(tiny, tmp_path):
    plain = with_overrides(
        tiny, ['network.conv1.followed_by=["relu", "pool"]', 'network.conv2.followed_by=["relu", "pool"]']
    )
    renamed = tuple(
        dataclasses.replace(layer, name=f"block{index}") for index, layer in enumerate(plain.network.convolutions)
    )
    recipe = dataclasses.replace(plain, network=dataclasses.replace(plain.network, convolutions=renamed))
    found = Traced(recipe).shares(tmp_path)
    assert set(found) == {*NETWORK, LOSS, OPTIMIZER, OTHER} - {LRN, SPATIAL}
    assert found["convolution"] > found["pooling"] > 0


@pytest.mark.slow
def test_casts_are_a_kind_where_precision_is_mixed(tiny, tmp_path):
    traced = Traced(tiny, "mixed_bfloat16")
    assert CASTS in kinds_in(traced.model, training=True)
    assert traced.shares(tmp_path)[CASTS] > 0


@pytest.mark.slow
def test_the_forward_pass_has_a_softmax_and_neither_loss_nor_optimizer(traced):
    assert kinds_in(traced.model, training=False) == [*NETWORK, "softmax", OTHER]


@pytest.mark.slow
def test_gradients_that_have_no_layer_in_their_name_belong_to_what_they_read(traced):
    calls = [each for each in traced.graph.get_operations() if each.type.endswith("PartitionedCall")]
    found = [traced.kinds(call.name, call.type) for call in calls if "alexnet" not in call.name]
    passes = [LRN] * 2 * 2 * 2 + [SPATIAL] * 4 * 2
    assert sorted(found) == passes, "two passes over memory in each of two layers and four in one, in two towers"


@pytest.mark.slow
def test_fused_operations_count_as_the_first_of_them(traced):
    relu = next(each for each in traced.graph.get_operations() if each.type == "Relu" and "relu3" in each.name)
    assert traced.kinds(relu.name, "Relu") == "ReLU"
    assert traced.kinds(relu.name, "_MklNativeFusedConv2D") == "convolution"
    dense = next(each for each in traced.graph.get_operations() if each.type == "Relu" and "relu_fc6" in each.name)
    assert traced.kinds(dense.name, "_FusedMatMul") == "fully connected"


@pytest.mark.slow
def test_names_that_are_not_in_the_graph_are_read_and_strangers_are_nobodys(traced):
    optimizer = "ReadVariableOp_tfg_inlined_alexnet_sgd/If_0"
    assert traced.kinds(optimizer, "ReadVariableOp") == OPTIMIZER
    assert traced.kinds("gradient_tape/alexnet_logits_9/pool5_9/pool5_b_9/new", "MaxPoolGrad") == "pooling"
    assert traced.kinds("loss/whatever", "Mul") == LOSS
    assert traced.kinds("somebody/else", "Mul") is None
