"""The compiled step, as its graph is placed: what a GPU would be waited for."""

import pytest
import tensorflow as tf
from toy_runs import ONE, TOWERS

from alexnet_keras import AlexNet
from alexnet_keras.training.devices import Placement
from alexnet_keras.training.optimizer import AlexNetSGD
from alexnet_keras.training.step import TrainingStep

IMAGES, LABELS = tf.zeros((4, 224, 224, 3), tf.uint8), tf.zeros((4,), tf.int64)


def graph_of(recipe, placement, device, **options):
    """The graph of a step that is traced as on a machine whose first device is another than the host."""
    with tf.device(device), placement.scope():
        model = AlexNet(recipe, classes=3, seed=0)
        optimizer = AlexNetSGD()
        optimizer.build(model.trainable_variables)
    step = TrainingStep(model, optimizer, placement.strategy, seed=0, batch_size=4, **options)
    with tf.device(device):
        return step.compiled.get_concrete_function(IMAGES, LABELS, *step.scalars(0)).graph


def needed(tensors):
    """Every operation that a tensor depends on."""
    found, left = set(), [tensor.op for tensor in tensors]
    while left:
        operation = left.pop()
        if operation not in found:
            found.add(operation)
            left += [tensor.op for tensor in operation.inputs]
    return found


@pytest.mark.parametrize(
    ("placement", "device", "scaled"),
    [(ONE, "/CPU:1", False), (ONE, "/CPU:1", True), (Placement("towers", ("/CPU:1", "/CPU:0")), "/CPU:1", False)],
    ids=["one", "float16", "towers"],
)
def test_the_host_gets_the_result_after_the_forward_pass_and_with_a_scale_after_the_gradients(
    tiny, placement, device, scaled
):
    graph = graph_of(tiny, placement, device, scaled=scaled)
    assert not graph.outputs
    assigned = [op.inputs[1] for op in graph.get_operations() if op.type == "AssignVariableOp"]
    (result,) = [tensor for tensor in assigned if tensor.shape == (4,)]  # the others are seeds
    assert "CPU:0" in result.device
    conditions = [op.inputs[0] for op in graph.get_operations() if op.type == "If"]
    assert len(conditions) == 30, "kernels and biases of 7 layers in two towers, and of fc8"
    for tensors in ([result], conditions):
        operations = needed(tensors)
        assert any("conv5" in op.name for op in operations)
        assert any("gradient_tape" in op.name for op in operations) == scaled


def test_images_become_numbers_on_the_device(tiny):
    graph = graph_of(tiny, ONE, "/CPU:1")
    images = graph.inputs[0]
    casts = [op for op in graph.get_operations() if any(each is images for each in op.inputs)]
    assert images.dtype == tf.uint8 and casts
    # without a device of its own an operation is on that of the step
    assert not any("CPU:0" in op.device for op in casts), [(op.name, op.device) for op in casts]


def test_the_numbers_of_a_step_are_given_in_the_memory_of_the_host(tiny):
    model = AlexNet(tiny, classes=3, seed=0)
    with tf.device("/CPU:1"):
        scalars = TrainingStep(model, AlexNetSGD(), TOWERS.strategy, seed=0, batch_size=4).scalars(5, 2.0, True)
    assert [each.numpy() for each in scalars] == [5, 2, 1]
    assert all(each.device.endswith("CPU:0") for each in scalars)
