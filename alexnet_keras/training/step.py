"""One training step, the same on one device, on two towers, on mirrored replicas and on the workers of a cluster."""

import hashlib
from collections.abc import Collection
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from alexnet_keras.backend import require_tensorflow
from alexnet_keras.network.model import logits_of
from alexnet_keras.training.optimizer import AlexNetSGD

AVERAGED_STEPS = 10  # the longer, the slower a running average grows long at the start
LOSS_SCOPE = "loss"  # of the names of the loss's operations, for who reads the graph or a trace of it


class StepResult(NamedTuple):
    """What one step found, over the global batch.

    Attributes:
        loss: Mean cross-entropy, nats, from logits in float32; under label smoothing that of the smoothed labels.
        top1_error: Share of images whose likeliest class is wrong, 0..1.
        updated: Whether the weights were changed: not where the loss, or under a loss scale a gradient, was not finite.
        stop: Whether any worker asked to stop after this step.
    """

    loss: float
    top1_error: float
    updated: bool
    stop: bool


class TrainingStep:
    """`step(images, labels, number)` updates the model once and says what it found.

    Dropout and colour noise depend on (seed, step number, layer, position in the global batch) and on nothing else.

    Args:
        model: From crops to probabilities.
        optimizer: Built on the model's trainable variables.
        strategy: TensorFlow's default, or the one that the model was made under.
        seed: The run's.
        batch_size: Images in the global batch; every step has exactly so many.
        scaled: Whether the loss is scaled, as float16 needs.
        label_smoothing: The share of the target that is spread over all classes.
        average: The running average of the weights, and how much of it a step leaves as it was at most.
        frozen: Layers whose rates are 0 in every step. No gradient is computed for them, nor for what only they read.
        still: Paths of variables whose rates are 0 as long as this step is used. No gradient is computed for them
            either, but what their velocity has left still moves them, as in the released code.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: AlexNetSGD,
        strategy: tf.distribute.Strategy,
        *,
        seed: int,
        batch_size: int,
        scaled: bool = False,
        label_smoothing: float = 0.0,
        average: tuple[keras.Model, float] | None = None,
        frozen: Collection[str] = (),
        still: Collection[str] = (),
    ) -> None:
        require_tensorflow("Training")
        self.model, self.optimizer, self.strategy, self.scaled = model, optimizer, strategy, scaled
        self.seed, self.batch_size = seed, batch_size
        self.label_smoothing, self.average = label_smoothing, average
        self._logits = logits_of(model)
        self._variables = [v for v in model.trainable_variables if not set(frozen) & set(v.path.split("/"))]
        self.still = frozenset(still)
        self._generators = random_generators(model)
        self.compiled = tf.function(self._step, autograph=False)

    def __call__(self, images: Any, labels: Any, number: int, *, scale: float = 1.0, stop: bool = False) -> StepResult:
        """One step.

        Args:
            images: uint8 `(batch, height, width, 3)`, this process's share of the batch, or a value a replica.
            labels: int64 `(batch,)`.
            number: Counts the run's steps from 0.
            scale: The loss scale.
            stop: This worker asks all to stop after this step.
        """
        loss, wrong, updated, stops = self.compiled(images, labels, *self.scalars(number, scale, stop))
        return StepResult(float(loss), float(wrong), bool(updated), float(stops) > 0)

    def scalars(self, number: int, scale: float = 1.0, stop: bool = False) -> tuple[tf.Tensor, ...]:
        """What a compiled step takes beside its batch."""
        return tf.constant(number, tf.int64), tf.constant(scale, tf.float32), tf.constant(stop, tf.float32)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, 3) of the crops."""
        return self._logits.input_shape[1:]

    def try_batch(self, rows: int) -> None:
        """Computes the gradients of a batch of black images, and changes nothing.

        Raises:
            tf.errors.ResourceExhaustedError: such a batch does not fit into memory.
        """
        share = max(1, rows // self.strategy.num_replicas_in_sync)
        images = tf.zeros((share, *self.input_shape), tf.uint8)
        labels = tf.zeros((share,), tf.int64)

        @tf.function(autograph=False)
        def loss() -> tf.Tensor:
            _, found = self.strategy.run(self._gradients, (images, labels, tf.constant(1.0), tf.constant(0.0)))
            return self.strategy.reduce("SUM", found, axis=None)

        loss()

    def _step(
        self, images: tf.Tensor, labels: tf.Tensor, number: tf.Tensor, scale: tf.Tensor, stop: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        # Keras's generators advance in their own order; here each is told where it stands, so that a resumed or
        # differently placed run draws the same numbers.
        for name, generator in self._generators.items():
            state = tf.stack([tf.cast(_name_seed(self.seed, name), tf.int64), number])
            generator.state.assign(tf.cast(state, generator.state.dtype))
        gradients, found = self.strategy.run(self._gradients, (images, labels, scale, stop))
        loss, wrong, stops, overflows = tf.unstack(self.strategy.reduce("SUM", found, axis=None))
        good = tf.math.is_finite(loss) & (overflows == 0)
        # A step that went wrong leaves the weights as they were: they tell which layer it went wrong in.
        with self.optimizer.only_if(good):
            self.strategy.run(lambda mine: self.optimizer.apply(mine, self._variables), (gradients,))
        if self.average:
            self.strategy.run(lambda step: follow(*self.average, self.model.trainable_variables, step), (number,))
        return loss, wrong, good, stops

    def _gradients(
        self, images: tf.Tensor, labels: tf.Tensor, scale: tf.Tensor, stop: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        learning = [variable.value for variable in self._variables if variable.path not in self.still]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(learning)
            logits = self._logits(images, training=True)
            with tf.name_scope(LOSS_SCOPE):
                scores = tf.cast(logits, tf.float32)
                losses = cross_entropy(labels, scores, self.label_smoothing)
                loss = tf.reduce_sum(losses) / self.batch_size
                target = loss * scale if self.scaled else loss
        gradients = tape.gradient(target, learning)
        overflows = tf.constant(0.0)
        if self.scaled:
            gradients = [gradient / scale for gradient in gradients]
            finite = [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]
            overflows = tf.cast(~tf.reduce_all(tf.stack(finite)), tf.float32)
        found = iter(gradients)
        gradients = [_nothing(v) if v.path in self.still else next(found) for v in self._variables]
        wrong = tf.reduce_sum(tf.cast(tf.argmax(scores, 1) != labels, tf.float32)) / self.batch_size
        return gradients, tf.stack([loss, wrong, stop, overflows])


def _nothing(variable: keras.Variable) -> tf.Tensor:
    """A gradient of zeros, on the variable's own device."""
    with tf.device(getattr(variable.value, "device", None) or None):
        return tf.zeros(variable.shape, variable.dtype)


def cross_entropy(labels: tf.Tensor, scores: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Of each example, nats, from its logits; the target is 1 - smoothing, and smoothing spread over all classes."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
    if not smoothing:
        return losses
    spread = tf.reduce_logsumexp(scores, axis=1) - tf.reduce_mean(scores, axis=1)
    return (1 - smoothing) * losses + smoothing * spread


def follow(average: keras.Model, most: float, variables: list[keras.Variable], step: int | tf.Tensor) -> None:
    """Moves an averaged network towards the weights after the step with this number.

    It keeps step / (step + AVERAGED_STEPS) of itself, and `most` in the long run, so that the initial weights are soon
    forgotten.
    """
    step = tf.cast(step, tf.float32)
    kept = tf.minimum(most, step / (step + AVERAGED_STEPS))
    for mean, variable in zip(average.trainable_variables, variables, strict=True):
        with tf.device(variable.value.device):
            handles = mean.value.handle, variable.value.handle
            old, new = (tf.raw_ops.ReadVariableOp(resource=each, dtype=mean.value.dtype) for each in handles)
            tf.raw_ops.AssignSubVariableOp(resource=handles[0], value=(1 - kept) * (old - new))


def random_generators(model: keras.Model) -> dict[str, keras.random.SeedGenerator]:
    """The model's random number generators by the name of their layer (a tower's copy: drop6_a)."""
    layers = model._flatten_layers(include_self=False, recursive=True)
    return {layer.name: layer.seed_generator for layer in layers if hasattr(layer, "seed_generator")}


def _name_seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "little") & 0x7FFFFFFF
