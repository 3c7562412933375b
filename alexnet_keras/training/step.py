"""One training step, the same on one device, on two towers, on mirrored replicas and on the workers of a cluster."""

import hashlib
from collections.abc import Collection
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.backend import require_tensorflow
from alexnet_keras.network.model import logits_of
from alexnet_keras.training.optimizer import AlexNetSGD

AVERAGED_STEPS = 10  # steps over which the running average ramps up at the start
LOSS_SCOPE = "loss"  # name scope of the loss's operations, for readers of the graph or of a trace


class StepResult(NamedTuple):
    """The measurements of one step, over the global batch.

    Attributes:
        loss: Mean cross-entropy, nats, from logits in float32; under label smoothing that of the smoothed labels.
        top1_error: Share of images whose likeliest class is wrong, 0..1.
        updated: True if the weights were changed; False if the loss, or a scaled gradient, was not finite.
        stop: True if any worker asked to stop after this step.
    """

    loss: float
    top1_error: float
    updated: bool
    stop: bool


class TrainingStep:
    """One compiled update of a model: `step(images, labels, number)` returns a `StepResult`.

    On a GPU it returns as soon as the loss is known, while the GPU goes on with the gradients and the update.
    Dropout and colour noise depend on (seed, step number, layer, position in the global batch) and on nothing else.

    Args:
        model: A model from crops to probabilities.
        optimizer: An optimizer built on the model's trainable variables.
        strategy: TensorFlow's default, or the strategy that the model was made under.
        seed: The run's seed.
        batch_size: The number of images in the global batch, the same in every step.
        scaled: Scale the loss, as float16 needs.
        label_smoothing: The share of the target that is spread over all classes, 0..1.
        class_weights: Factors of the loss by class, float32 `(classes,)`; None for 1.
        average: A model with the running average of the weights, and the largest share of itself that it keeps in a
            step, 0..1.
        frozen: Names of layers whose rates are 0 in every step. No gradient is computed for them, nor for layers that
            only they read.
        coasting: Paths of variables whose rates are 0 as long as this step is used. No gradient is computed for them
            either, but the rest of their velocity still moves them, as in the released code.
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
        class_weights: np.ndarray | None = None,
        average: tuple[keras.Model, float] | None = None,
        frozen: Collection[str] = (),
        coasting: Collection[str] = (),
    ) -> None:
        require_tensorflow("Training")
        self.model, self.optimizer, self.strategy, self.scaled = model, optimizer, strategy, scaled
        self.seed, self.batch_size = seed, batch_size
        self.label_smoothing, self.class_weights, self.average = label_smoothing, class_weights, average
        self._logits = logits_of(model)
        self._variables = [v for v in model.trainable_variables if not set(frozen) & set(v.path.split("/"))]
        self.coasting = frozenset(coasting)
        layers = model._flatten_layers(include_self=False, recursive=True)  # a tower's copy has its own name: drop6_a
        self._generators = {layer.name: layer.seed_generator for layer in layers if hasattr(layer, "seed_generator")}
        self._host = _host_of(strategy)
        # In the host's memory, written by the step as soon as the loss is known. What a function returns is where the
        # rest of it computes, and a copy from a GPU waits for all that the GPU has been given by then.
        with tf.device(self._host):
            self._result = tf.Variable(tf.zeros(4), trainable=False, name="result")
        self.compiled = tf.function(self._step, autograph=False)

    def __call__(self, images: Any, labels: Any, number: int, *, scale: float = 1.0, stop: bool = False) -> StepResult:
        """Update the model once.

        Args:
            images: uint8 `(batch, height, width, 3)`, this process's share of the batch, or one value per replica.
            labels: int64 `(batch,)`.
            number: The number of the step in the run, from 0.
            scale: The loss scale.
            stop: Ask all workers to stop after this step.
        """
        self.compiled(images, labels, *self.scalars(number, scale, stop))
        loss, wrong, updated, stops = self._result.numpy()
        return StepResult(float(loss), float(wrong), bool(updated), bool(stops > 0))

    def scalars(self, number: int, scale: float = 1.0, stop: bool = False) -> tuple[tf.Tensor, ...]:
        """Return the inputs of the compiled step that follow images and labels.

        They are in the host's memory: to put a number on a GPU would wait for what that computes.
        """
        with tf.device(self._host):
            return tf.constant(number, tf.int64), tf.constant(scale, tf.float32), tf.constant(stop, tf.float32)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape of a crop, (height, width, 3)."""
        return self._logits.input_shape[1:]

    def try_batch(self, rows: int) -> None:
        """Compute the gradients of a batch of black images, without an update.

        Args:
            rows: The number of images.

        Raises:
            tf.errors.ResourceExhaustedError: The batch does not fit into memory.
        """
        share = max(1, rows // self.strategy.num_replicas_in_sync)
        images = tf.zeros((share, *self.input_shape), tf.uint8)
        labels = tf.zeros((share,), tf.int64)

        @tf.function(autograph=False)
        def loss() -> tf.Tensor:
            _, sums = self.strategy.run(self._gradients, (images, labels, tf.constant(1.0), tf.constant(0.0)))
            return self.strategy.reduce("SUM", sums, axis=None)

        loss()

    def _step(self, images: tf.Tensor, labels: tf.Tensor, number: tf.Tensor, scale: tf.Tensor, stop: tf.Tensor) -> None:
        # Keras's generators advance in their own order; here the state of each is set, so that a resumed or
        # differently placed run draws the same numbers.
        for name, generator in self._generators.items():
            state = tf.stack([tf.cast(_name_seed(self.seed, name), tf.int64), number])
            generator.state.assign(tf.cast(state, generator.state.dtype))
        gradients, sums = self.strategy.run(self._gradients, (images, labels, scale, stop))
        loss, wrong, stops, overflows = tf.unstack(self.strategy.reduce("SUM", sums, axis=None))
        finite = tf.math.is_finite(loss) & (overflows == 0)
        # A step that is not finite leaves the weights as they were, so that the layer at fault can be found from them.
        with self.optimizer.only_if(finite):
            self.strategy.run(lambda own: self.optimizer.apply(own, self._variables), (gradients,))
        if self.average:
            weights = self.model.trainable_variables
            self.strategy.run(lambda step: update_average(*self.average, weights, step), (number,))
        with tf.device(self._host):
            self._result.assign(tf.stack([loss, wrong, tf.cast(finite, tf.float32), stops]))

    def _gradients(
        self, images: tf.Tensor, labels: tf.Tensor, scale: tf.Tensor, stop: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        learning = [variable.value for variable in self._variables if variable.path not in self.coasting]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(learning)
            logits = self._logits(images, training=True)
            with tf.name_scope(LOSS_SCOPE):
                scores = tf.cast(logits, tf.float32)
                losses = cross_entropy(labels, scores, self.label_smoothing)
                if self.class_weights is not None:
                    losses *= tf.gather(tf.constant(self.class_weights, tf.float32), labels)
                loss = tf.reduce_sum(losses) / self.batch_size
                target = loss * scale if self.scaled else loss
        gradients = tape.gradient(target, learning)
        overflows = tf.constant(0.0)
        if self.scaled:
            gradients = [gradient / scale for gradient in gradients]
            finite = [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]
            overflows = tf.cast(~tf.reduce_all(tf.stack(finite)), tf.float32)
        computed = iter(gradients)
        gradients = [_zeros_like(v) if v.path in self.coasting else next(computed) for v in self._variables]
        wrong = tf.reduce_sum(tf.cast(tf.argmax(scores, 1) != labels, tf.float32)) / self.batch_size
        return gradients, tf.stack([loss, wrong, stop, overflows])


def _host_of(strategy: tf.distribute.Strategy) -> str:
    """The processor of this process: in a cluster "/CPU:0" alone is the chief's."""
    resolver = strategy.cluster_resolver
    return f"/job:{resolver.task_type}/task:{resolver.task_id}/CPU:0" if resolver else "/CPU:0"


def _zeros_like(variable: keras.Variable) -> tf.Tensor:
    """A gradient of zeros, on the variable's own device."""
    with tf.device(getattr(variable.value, "device", None) or None):
        return tf.zeros(variable.shape, variable.dtype)


def cross_entropy(labels: tf.Tensor, scores: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Return the cross-entropy of each example, `(batch,)` in nats.

    Args:
        labels: int64 `(batch,)`.
        scores: Logits, float32 `(batch, classes)`.
        smoothing: The share of the target that is spread over all classes, 0..1.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
    if not smoothing:
        return losses
    spread = tf.reduce_logsumexp(scores, axis=1) - tf.reduce_mean(scores, axis=1)
    return (1 - smoothing) * losses + smoothing * spread


def update_average(average: keras.Model, decay: float, variables: list[keras.Variable], step: int | tf.Tensor) -> None:
    """Move an averaged network towards the weights after a step.

    It keeps the share step / (step + AVERAGED_STEPS) of itself, at most `decay`, so that the initial weights are soon
    forgotten.
    """
    step = tf.cast(step, tf.float32)
    kept = tf.minimum(decay, step / (step + AVERAGED_STEPS))
    for mean, variable in zip(average.trainable_variables, variables, strict=True):
        with tf.device(variable.value.device):
            handles = mean.value.handle, variable.value.handle
            old, new = (tf.raw_ops.ReadVariableOp(resource=each, dtype=mean.value.dtype) for each in handles)
            tf.raw_ops.AssignSubVariableOp(resource=handles[0], value=(1 - kept) * (old - new))


def _name_seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "little") & 0x7FFFFFFF
