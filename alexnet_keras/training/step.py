"""One training step, the same on one device, on two towers and on mirrored replicas."""

import hashlib
from collections.abc import Callable

import keras
import tensorflow as tf

from alexnet_keras.model import logits_of
from alexnet_keras.training.optimizer import AlexNetSGD


def make_training_step(
    model: keras.Model, optimizer: AlexNetSGD, strategy: tf.distribute.Strategy, seed: int
) -> Callable:
    """A compiled `step(images, labels, number) -> (mean loss, top-1 error)` that updates the model once.

    The loss is the mean over the global batch of the cross-entropy in nats, computed in float32 from logits.
    Dropout and colour noise depend on (seed, step number, layer, position in the batch) and on nothing else.
    """
    logits = logits_of(model)
    variables = model.trainable_variables
    generators = random_generators(model)

    def replica_step(images, labels, global_batch):
        with tf.GradientTape() as tape:
            scores = tf.cast(logits(images, training=True), tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
            loss = tf.reduce_sum(losses) / global_batch
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        wrong = tf.reduce_sum(tf.cast(tf.argmax(scores, 1) != labels, tf.float32)) / global_batch
        return loss, wrong

    @tf.function(autograph=False)
    def step(images, labels, number):
        # Keras's generators advance in their own order; here each is told where it stands, so that a resumed or
        # differently placed run draws the same numbers.
        for name, generator in generators.items():
            state = tf.stack([tf.cast(_name_seed(seed, name), tf.int64), tf.cast(number, tf.int64)])
            generator.state.assign(tf.cast(state, generator.state.dtype))
        batch = strategy.reduce("SUM", strategy.run(_rows, (labels,)), axis=None)
        loss, wrong = strategy.run(replica_step, (images, labels, batch))
        return strategy.reduce("SUM", loss, axis=None), strategy.reduce("SUM", wrong, axis=None)

    return step


def random_generators(model: keras.Model) -> dict[str, keras.random.SeedGenerator]:
    """The model's random number generators by the name of their layer (a tower's copy: drop6_a)."""
    layers = model._flatten_layers(include_self=False, recursive=True)
    return {layer.name: layer.seed_generator for layer in layers if hasattr(layer, "seed_generator")}


def _rows(labels):
    return tf.cast(tf.shape(labels)[0], tf.float32)


def _name_seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "little") & 0x7FFFFFFF
