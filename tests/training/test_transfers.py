"""What passes between two towers is what figure 2 of the paper draws, read from the graph that runs."""

import pytest
import tensorflow as tf
from toy_runs import TOWERS

from alexnet_keras import AlexNet
from alexnet_keras.training.diagnostics import SCALARS, misplaced, transfers
from alexnet_keras.training.optimizer import AlexNetSGD
from alexnet_keras.training.step import TrainingStep


@pytest.fixture(scope="module")
def step(tiny):
    with TOWERS.scope():
        model = AlexNet(tiny, classes=3, seed=0)
        optimizer = AlexNetSGD(layers=("conv1",))
        optimizer.build(model.trainable_variables)
    return TrainingStep(model, optimizer, TOWERS.strategy, seed=0, batch_size=4)


@pytest.fixture
def traces():
    """TensorFlow keeps the graphs of all that runs, as it does after a TensorBoard callback with graphs."""
    tf.summary.trace_on(graph=True)
    yield
    tf.summary.trace_off()


def test_the_towers_meet_in_conv3_fc6_fc7_and_fc8_only(step, traces):
    tf.function(step.model, autograph=False)(tf.zeros((1, 224, 224, 3)))  # not of the step
    found = transfers(step, TOWERS)
    ways = [(each.layer, each.backward, each.source, each.target) for each in found if each.layer != SCALARS]
    both = [("a", "b"), ("b", "a")]
    forward = [(layer, False, *way) for layer in ("conv3", "fc6", "fc7") for way in both] + [("fc8", False, "b", "a")]
    backward = [(layer, True, *way) for layer in ("conv3", "fc6", "fc7") for way in both] + [("fc8", True, "a", "b")]
    image = [("conv1", False, "a", "b")]
    assert sorted(ways) == sorted(image + forward + backward), "each once, and nothing else"
    assert all(each.figure_2 for each in found if each.layer != SCALARS)
    assert sum(each.bytes for each in found if each.layer == SCALARS) < 200
    sizes = {each.layer: each.bytes for each in found if not each.backward}
    assert sizes["conv1"] == 4 * 224 * 224 * 3 * 4
    assert sizes["conv3"] == 4 * 13 * 13 * 8 * 4
    assert sizes["fc8"] == 4 * 12 * 4


def test_no_weight_and_no_velocity_is_on_the_wrong_device(step):
    assert misplaced(step, TOWERS) == []
    assert step.model.get_layer("conv2").kernels[1].value.device.endswith("CPU:1")


def test_what_is_misplaced_is_reported(tiny):
    model = AlexNet(tiny, classes=3, seed=0)  # all on the first device
    optimizer = AlexNetSGD()
    optimizer.build(model.trainable_variables)
    wrong = misplaced(TrainingStep(model, optimizer, TOWERS.strategy, seed=0, batch_size=4), TOWERS)
    assert len(wrong) == 2 * 14, "the weights and velocities of tower b in seven layers"
