"""Training a CIFAR-10 network: resumable, and the same whenever it is repeated."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.errors import DivergedError
from alexnet_keras.evaluation.errors import top_k_misses
from alexnet_keras.experiments.cifar_images import CifarImages, Labelled, random_crops, ten_crops
from alexnet_keras.experiments.cifar_networks import CifarNetwork, build, optimizer_of
from alexnet_keras.training.checkpoint import Position, check_same, newest_state, save_state, shapes_of, state_variables

BATCH = 128  # as the paper's
STRETCHES = 4  # of an epoch, each with an error of its own
EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class CifarRun:
    """One training of one network on one set of pictures.

    Attributes:
        folder: Where its states are kept.
        drops: Epochs at which the rates of the weights are divided by ten.
    """

    folder: Path
    network: CifarNetwork
    images: CifarImages
    seed: int
    dtype: str = "float32"
    drops: tuple[int, ...] = ()

    @property
    def about(self) -> dict[str, Any]:
        """What a state has to share with the run that goes on from it."""
        return {
            "network": asdict(self.network),
            "data": self.images.digest,
            "seed": self.seed,
            "dtype": self.dtype,
            "drops": list(self.drops),
        }


class CifarTrainer:
    """A network in the state that its run has reached.

    Attributes:
        position: Where it stands; its history has a row a stretch: the epoch at its end (0.25, 0.5, ..., or fewer where
            an epoch has fewer batches), and loss and error, 0..1, in training, of the batches of the stretch as they
            came.

    Raises:
        DataError: its last states cannot be read, or are another run's.
    """

    def __init__(self, run: CifarRun) -> None:
        self.run = run
        mean_image = run.images.train.images.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.model = build(run.network, mean_image, run.seed, run.dtype)
        self.optimizer = optimizer_of(run.network, self.model)
        self.position = Position()
        variables = state_variables(self.model, self.optimizer)
        if state := newest_state(run.folder, shapes_of(variables)):
            check_same(state, run.about)
            for name, variable in variables.items():
                variable.assign(state.arrays[name])
            self.position = state.position
        self._compiled = tf.function(self._step, autograph=False)

    def train(self, epochs: int, on_stretch: Callable[[dict[str, float]], bool | None] = lambda row: None) -> None:
        """Trains until so many epochs are done in all, and saves the state after each whole one.

        Args:
            on_stretch: called with every new row of the history; it ends the training at once by returning True.

        Raises:
            DivergedError: the loss is not a finite number.
        """
        while self.position.epoch < epochs:
            if self._train_epoch(on_stretch):
                return

    def _train_epoch(self, on_stretch: Callable) -> bool:
        position, network = self.position, self.run.network
        drops = sum(position.epoch >= epoch for epoch in self.run.drops)
        self.optimizer.set_rates({"weights": network.weight_rate / 10**drops})
        random = np.random.default_rng([self.run.seed, position.epoch])
        order = random.permutation(len(self.run.images.train))
        batches = np.split(order, range(BATCH, len(order), BATCH))
        if len(batches[-1]) < BATCH and len(batches) > 1:
            batches.pop()
        stretches = min(STRETCHES, len(batches))
        for stretch, part in enumerate(np.array_split(np.arange(len(batches)), stretches)):
            found = [self._take_step(batches[index], random) for index in part]
            loss, error = np.mean(found, axis=0).tolist()
            if not np.isfinite(loss):
                raise DivergedError(f"The loss became {loss} at the rate {network.weight_rate:g}.")
            row = {"epoch": position.epoch + (stretch + 1) / stretches, "loss": loss, "error": error}
            position.history.append(row)
            if on_stretch(row):
                return True
        position.epoch += 1
        position.total_steps += len(batches)
        save_state(self.run.folder, self.model, self.optimizer, position, self.run.about)
        return False

    def _take_step(self, rows: np.ndarray, random: np.random.Generator) -> tuple[float, float]:
        images, labels = self.run.images.train.images[rows], self.run.images.train.labels[rows]
        if self.run.network.side < images.shape[1]:
            images = random_crops(images, self.run.network.side, random)
        loss, wrong = self._compiled(tf.constant(images), tf.constant(labels))
        return float(loss), float(wrong)

    def _step(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = self.model(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        variables = self.model.trainable_variables
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        self.optimizer.apply(gradients, variables)
        return loss, tf.reduce_mean(tf.cast(tf.argmax(logits, 1) != labels, tf.float32))


def error_on(model: keras.Model, pictures: Labelled, side: int) -> float:
    """Top-1 error, 0..1: on the whole pictures, or by the mean of the probabilities of ten crops of this side."""
    wrong = 0

    @tf.function(autograph=False)
    def probabilities(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(model(images, training=False))

    for start in range(0, len(pictures), EVALUATION_BATCH):
        images = pictures.images[start : start + EVALUATION_BATCH]
        views = ten_crops(images, side) if side < images.shape[1] else images[None]
        averaged = np.mean([probabilities(tf.constant(view)).numpy() for view in views], axis=0)
        wrong += top_k_misses(averaged, pictures.labels[start : start + EVALUATION_BATCH], 1)
    return wrong / len(pictures)
