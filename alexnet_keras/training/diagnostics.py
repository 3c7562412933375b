"""Diagnostics of a network in training: transfers between the devices of its towers, and the signal in every layer.

Figure 2 of the paper lets the towers communicate in certain layers only. The graph of a training step is read after
TensorFlow has placed and partitioned it, and every tensor that one tower's device sends to another's is listed.

Initial weights that are too small make every image look the same to the last layers. The loss then stays at
ln(classes), whatever the learning rate, until the first layers have grown."""

import re
from dataclasses import dataclass
from math import prod
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.eager import context  # no public name gives the partitioned graphs

from alexnet_keras.layers.towers import tower_letter
from alexnet_keras.network.summary import tower_layers
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.training.checkpoint import state_variables
from alexnet_keras.training.devices import Placement
from alexnet_keras.training.schedule import layer_rate_factors, plan_epoch
from alexnet_keras.training.step import TrainingStep

FIGURE_2 = {
    "conv1": "both GPUs get the image",
    "conv3": "reads the kernel maps of both towers",
    "fc6": "reads both towers",
    "fc7": "reads both towers",
    "fc8": "reads both towers",
}
SCALARS = "scalars"  # learning rates, seeds, the condition of the update
_EDGE = re.compile(r"^edge_\d+_")


@dataclass(frozen=True)
class Transfer:
    """A tensor that one tower's device sends to another's in every step.

    Attributes:
        layer: The layer that reads it or, backward, whose gradient it is; "scalars" for single numbers.
        backward: The tensor is a gradient.
        source, target: Towers: a, b, ...
        shape: The tensor's shape, with the batch first; () for all scalars together.
        bytes: Bytes per step.
    """

    layer: str
    backward: bool
    source: str
    target: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def figure_2(self) -> str:
        """The connection in the paper's figure 2; "" where the figure has none."""
        return FIGURE_2.get(self.layer, "")


def transfers(step: TrainingStep, placement: Placement) -> list[Transfer]:
    """List every tensor that passes between towers in one step.

    Args:
        step: A step that was not used before. It is run once on black images, which changes the weights: use a model
            made for this.
        placement: The placement of the towers.

    Returns:
        Forward transfers in the order of figure 2, then backward ones, then the scalars.
    """
    towers = {_device(name): tower_letter(index) for index, name in enumerate(placement.devices)}
    images = tf.zeros((step.batch_size, *step.input_shape), tf.uint8)
    labels = tf.zeros((step.batch_size,), tf.int64)
    context.enable_run_metadata()
    context.export_run_metadata()  # drops what this process ran before
    try:
        step(images, labels, 0)
        metadata = context.export_run_metadata()
    finally:
        context.disable_run_metadata()
    graph = step.compiled.get_concrete_function(images, labels, *step.scalars(0)).graph
    partitions = _partitions(graph, metadata)
    sources = {
        node.attr["tensor_name"].s.decode(): node.input[0]
        for partition in partitions
        for node in partition.node
        if node.op in ("_Send", "_HostSend")
    }
    tensors: list[Transfer] = []
    scalars: dict[tuple[str, str], int] = {}
    for partition in partitions:
        for node in partition.node:
            if node.op not in ("_Recv", "_HostRecv"):
                continue
            source, target = (towers.get(_device(node.attr[key].s.decode())) for key in ("send_device", "recv_device"))
            name = node.attr["tensor_name"].s.decode()
            if source is None or target is None or source == target or "ControlEdges" in name:
                continue
            origin, _, slot = sources[name].partition(":")
            tensor = graph.get_operation_by_name(origin).outputs[int(slot or 0)]
            size = prod(tensor.shape.as_list()) * tensor.dtype.size
            if tensor.shape.num_elements() <= 4:
                scalars[source, target] = scalars.get((source, target), 0) + size
                continue
            backward = origin.startswith("gradient_tape/")
            readers = [other.name for other in partition.node if _reads(other, node.name)]
            layer = next(filter(None, (_layer_of(each) for each in ([origin] if backward else readers))), "?")
            tensors.append(Transfer(layer, backward, source, target, tuple(tensor.shape.as_list()), size))
    order = {layer: index for index, layer in enumerate(FIGURE_2)}
    tensors.sort(key=lambda each: (each.backward, order.get(each.layer, -1), each.source))
    return tensors + [
        Transfer(SCALARS, False, source, target, (), size) for (source, target), size in sorted(scalars.items())
    ]


def misplaced(step: TrainingStep, placement: Placement) -> list[str]:
    """Return a sentence for every weight or velocity that is not on its tower's device (without a tower, the first)."""
    sentences = []
    for name, variable in state_variables(step.model, step.optimizer).items():
        letter = re.search(r"_([a-z])(/velocity)?$", name)
        tower = ord(letter[1]) - ord("a") if letter else 0
        wanted, actual = placement.devices[tower], variable.value.device
        if _device(wanted) != _device(actual):
            sentences.append(f"{name} is on {actual}, not on {wanted}")
    return sentences


def _partitions(graph: tf.Graph, metadata: Any) -> list:
    """The graphs, one per device, that a function ran as; other threads may have run other functions meanwhile."""
    names = {operation.name for operation in graph.get_operations()}

    def in_common(functions: Any) -> int:
        return sum(node.name in names for partition in functions.partition_graphs for node in partition.node)

    return list(max(metadata.function_graphs, key=in_common).partition_graphs)


def _reads(node: Any, name: str) -> bool:
    return any(each.partition(":")[0] == name for each in node.input)


def _layer_of(node: str) -> str:
    """The layer of the network in whose scope a node is: "alexnet_logits_1/conv3_1/concat" is conv3's."""
    scope = re.search(r"_logits(?:_\d+)?/([a-z_]+\d)", node)
    return scope[1] if scope else ""


def _device(name: str) -> str:
    """GPU:0 for "/GPU:0" and for "/job:localhost/replica:0/task:0/device:GPU:0"."""
    return ":".join(name.split("/")[-1].split(":")[-2:]).upper()


@dataclass(frozen=True)
class LayerSignal:
    """The signal in one layer with weights, over all towers.

    Activations are those that the next such layer reads, after ReLU, normalisation and pooling; for the classifier
    they are the logits.

    Attributes:
        name: The layer's name.
        activation_std: Standard deviation of the activations over all units and images.
        activation_size: Mean absolute activation.
        zeros: Share of activations that are exactly zero, 0..1.
        spread: Standard deviation of a unit over the images, averaged over the units: how well it separates images.
        weight_rms: Root mean square of the kernels.
        gradient_rms: Root mean square of the loss's gradient with respect to the kernels.
        rate: Learning rate of the kernels in the first epoch.
    """

    name: str
    activation_std: float
    activation_size: float
    zeros: float
    spread: float
    weight_rms: float
    gradient_rms: float
    rate: float

    @property
    def update_ratio(self) -> float:
        """The size of a first update by this gradient as a share of the weights', without momentum and decay."""
        return self.rate * self.gradient_rms / self.weight_rms if self.weight_rms else 0.0


def measure_signal(model: keras.Model, recipe: Recipe, images: tf.Tensor, labels: tf.Tensor) -> list[LayerSignal]:
    """Measure signal and gradient of every layer with weights; the model is not changed.

    The loss is that of training, the mean cross-entropy in nats, without colour noise and with dropout as outside
    training, a multiplication by the share kept: only the images make their activations differ.

    Args:
        model: A model with a classifier, new or trained.
        recipe: The model's recipe, for the rates of its first epoch.
        images: uint8 `(batch, height, width, 3)`.
        labels: int `(batch,)`.

    Returns:
        One `LayerSignal` per layer, in the order of the network.
    """
    layers = tower_layers(model)
    reads = [layer.input for layer in layers[1:]] + [layers[-1].output]
    every = keras.Model(model.input, [list(t) if isinstance(t, list | tuple) else [t] for t in reads])
    kernels = [[kernel.value for kernel in layer.kernels] for layer in layers]

    with tf.GradientTape() as tape:
        activations = every(tf.convert_to_tensor(images), training=False)
        (logits,) = activations[-1]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, kernels)
    rates = plan_epoch(recipe.training, 0, [], layer_rate_factors(recipe.network)).rates
    signals = []
    for layer, towers, weights, slopes in zip(layers, activations, kernels, gradients, strict=True):
        std, size, zeros, spread, weight, slope = map(float, (*_activity(towers), _rms(weights), _rms(slopes)))
        rate = rates.get(layer.name, rates["weights"])
        signals.append(LayerSignal(layer.name, std, size, zeros, spread, weight, slope, rate))
    return signals


def _activity(towers: list[tf.Tensor]) -> tuple[tf.Tensor, ...]:
    """Standard deviation, mean size, share of zeros and spread of the towers' activations, images first."""
    rows = [tf.reshape(tf.cast(tower, tf.float32), (tf.shape(tower)[0], -1)) for tower in towers]
    units = tf.concat(rows, axis=1)
    return (
        tf.math.reduce_std(units),
        tf.reduce_mean(tf.abs(units)),
        tf.reduce_mean(tf.cast(units == 0, tf.float32)),
        tf.reduce_mean(tf.math.reduce_std(units, axis=0)),
    )


def _rms(tensors: list[tf.Tensor]) -> tf.Tensor:
    flat = tf.concat([tf.reshape(tensor, (-1,)) for tensor in tensors], axis=0)
    return tf.sqrt(tf.reduce_mean(tf.square(tf.cast(flat, tf.float32))))
