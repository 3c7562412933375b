"""The paper's networks for CIFAR-10, which it names and does not give: their images, layers and training.

Section 3.1 speaks of "a four-layer convolutional network", section 3.3 of "a four-layer CNN" with 13 % test error
without normalisation and 11 % with. The second two are in what the authors released as cuda-convnet: its
`layers-conv-local-13pct.cfg` and `layers-conv-local-11pct.cfg`, two convolutional and two locally-connected layers
under the classifier. For the first we take the network with four layers of weights there, `layers-19pct.cfg`.

Trainings resume, and repeat bit for bit."""

import hashlib
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from PIL import Image

from alexnet_keras.backend import CHANNELS_LAST, Tensor
from alexnet_keras.data.sources.open import SourceRequest, open_source
from alexnet_keras.data.sources.source import ImageList
from alexnet_keras.errors import DataError, DivergedError
from alexnet_keras.evaluation.crops import corners
from alexnet_keras.evaluation.errors import top_k_misses
from alexnet_keras.layers import LocallyConnected2D, LocalResponseNormalization, MeanSubtraction
from alexnet_keras.network.model import seed_of_part
from alexnet_keras.reporter import SILENT, Advance, Reporter
from alexnet_keras.training.checkpoint import Position, check_same, newest_state, save_state, shapes_of, state_variables
from alexnet_keras.training.optimizer import AlexNetSGD

SIDE, CLASSES = 32, 10  # CIFAR-10's: pixels, and classes


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images uint8 `(n, side, side, 3)`, RGB, and labels int64 `(n,)`."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class CifarImages:
    """The training and the test images of a source.

    Attributes:
        given: The source as it was named.
        digest: Checksum of classes, labels and pixels, hex.
        split: The source's name of the test images, "test"; or "val", where it has no others to test on.
    """

    train: Labelled
    test: Labelled
    classes: tuple[str, ...]
    given: str
    digest: str
    split: str


def load_cifar(given: str, reporter: Reporter = SILENT) -> CifarImages:
    """Read all images of a source into memory.

    Args:
        given: A folder with train and test folders of class folders, or `tfds:cifar10`. Without a test split the one
            for validation takes its place.
        reporter: Reports how the source was read, and the progress.

    Raises:
        UsageError: There is no such source.
        DataError: It has more than ten classes, or an image cannot be read, or is not 32x32.
    """
    source = open_source(SourceRequest(given))
    if len(source.classes) > CLASSES:
        raise DataError(f"{given} has {len(source.classes)} classes; CIFAR-10 has {CLASSES}.")
    for text in source.notes:
        reporter.note(text)
    split = "test" if "test" in source.splits else "val"
    lists = [source.splits[name] for name in ("train", split)]
    with reporter.progress("reading CIFAR-10", sum(map(len, lists))) as advance:
        train, test = (_read(each, advance) for each in lists)
    digest = hashlib.sha256("\n".join((split, *source.classes)).encode())
    for array in (train.images, train.labels, test.images, test.labels):
        digest.update(array.tobytes())
    return CifarImages(train, test, source.classes, source.given, digest.hexdigest(), split)


def random_crops(images: np.ndarray, side: int, random: np.random.Generator) -> np.ndarray:
    """Crop images `(n, height, width, 3)` at positions of their own to `(n, side, side, 3)`; half are mirrored."""
    margin = images.shape[1] - side
    top, left = random.integers(0, margin + 1, (2, len(images), 1))
    rows, columns = (start + np.arange(side) for start in (top, left))
    columns = np.where(random.random((len(images), 1)) < 0.5, columns, columns[:, ::-1])
    return images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def ten_crops(images: np.ndarray, side: int) -> np.ndarray:
    """The four corners, the centre, and their reflections (paper, section 4.1): `(10, n, side, side, 3)`."""
    places = corners(images.shape[1], side)
    crops = np.stack([images[:, top : top + side, left : left + side] for top, left in places])
    return np.concatenate([crops, crops[:, :, :, ::-1]])


def _read(listed: ImageList, advance: Advance) -> Labelled:
    def read(index: int) -> np.ndarray:
        name = listed.filenames[index]
        try:
            with Image.open(io.BytesIO(listed.read(index))) as image:
                size = image.size
                pixels = np.asarray(image.convert("RGB")) if size == (SIDE, SIDE) else None
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"The image {name} cannot be read: {error}.") from error
        if pixels is None:
            raise DataError(f"The image {name} is {size[0]}x{size[1]}; CIFAR-10's are {SIDE}x{SIDE}.")
        advance()
        return pixels

    with ThreadPoolExecutor() as pool:
        images = np.stack(list(pool.map(read, range(len(listed)))))
    return Labelled(images, listed.labels.astype(np.int64))


@dataclass(frozen=True)
class CifarNetwork:
    """One of these networks, and how it is trained.

    Attributes:
        kind: `"convolutional"` (section 3.1) or `"local"` (section 3.3).
        activation: Activation of every hidden layer.
        normalize: Whether local response normalisation follows both convolutions of `"local"`.
        side: Side of the crop that it reads, pixels; 32 is the whole image.
        decay: Weight decay from the locally-connected layers on.
        weight_rate: Initial learning rate of the weights. cuda-convnet: epsW 0.001.
        bias_rate: Initial learning rate of the biases. cuda-convnet: epsB 0.002.
    """

    kind: Literal["convolutional", "local"]
    activation: Literal["relu", "tanh"] = "relu"
    normalize: bool = False
    side: int = 32
    decay: float = 0.0
    weight_rate: float = 0.001
    bias_rate: float = 0.002


def build(network: CifarNetwork, mean_image: np.ndarray, seed: int, dtype: str = "float32") -> keras.Model:
    """Build the model, from uint8 crops `(batch, side, side, 3)` to float32 logits `(batch, 10)`.

    The centre of the mean image, `(32, 32, 3)`, 0..255, is subtracted from every crop.
    """
    options = {"dtype": dtype}
    margin = (mean_image.shape[0] - network.side) // 2
    mean = mean_image[margin : margin + network.side, margin : margin + network.side]

    def weights(name: str, std: float) -> dict:
        initializer = keras.initializers.RandomNormal(0.0, std, seed=seed_of_part(seed, name))
        return {"kernel_initializer": initializer, "name": name, **options}

    def convolution(name: str, filters: int, std: float) -> layers.Layer:
        return layers.Conv2D(filters, 5, padding="same", data_format=CHANNELS_LAST, **weights(name, std))

    def nonlinear(x: Tensor) -> Tensor:
        return layers.Activation(network.activation, **options)(x)

    def pooled(x: Tensor, kind: type[layers.Layer] = layers.MaxPooling2D) -> Tensor:
        # windows that end outside, as cuda-convnet's
        return kind(3, 2, padding="same", data_format=CHANNELS_LAST, **options)(x)

    image = keras.Input((network.side, network.side, 3), name="image", dtype="uint8")
    x = MeanSubtraction(mean.shape, mean, name="mean")(image)
    if network.kind == "convolutional":  # layers-19pct.cfg
        x = nonlinear(pooled(convolution("conv1", 32, 0.0001)(x)))
        x = pooled(nonlinear(convolution("conv2", 32, 0.01)(x)), layers.AveragePooling2D)
        x = pooled(nonlinear(convolution("conv3", 64, 0.01)(x)), layers.AveragePooling2D)
    else:  # layers-conv-local-13pct.cfg, and with normalisation layers-conv-local-11pct.cfg
        for index, std in ((1, 0.0001), (2, 0.01)):
            x = nonlinear(convolution(f"conv{index}", 64, std)(x))
            if network.normalize:  # rnorm: scale 0.001, divided by its size, power 0.75, constant 1
                x = LocalResponseNormalization(5, 0.001, 0.75, 1.0, "mean", name=f"norm{index}", **options)(x)
            x = pooled(x)
        for index in (3, 4):
            x = nonlinear(LocallyConnected2D(32, 3, **weights(f"local{index}", 0.04))(x))
    x = layers.Flatten(data_format=CHANNELS_LAST, **options)(x)
    logits = layers.Dense(CLASSES, **weights("fc10", 0.01))(x)
    return keras.Model(image, layers.Activation("linear", dtype="float32", name="logits")(logits))


def optimizer_of(network: CifarNetwork, model: keras.Model) -> AlexNetSGD:
    """The paper's update rule at the network's rates; as in the released networks, convolutions do not decay."""
    decays = {layer.name: 0.0 for layer in model.layers if layer.name in ("conv1", "conv2", "conv3")}
    optimizer = AlexNetSGD(
        network.weight_rate, network.bias_rate, decay=network.decay, layer_decays=decays, name="cifar_sgd"
    )
    optimizer.build(model.trainable_variables)
    return optimizer


BATCH = 128  # as the paper's
SEGMENTS = 4  # of an epoch, each with an error of its own
EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class CifarRun:
    """One training of one network on one set of images.

    Attributes:
        root: The directory in which its states have a folder, whose name depends on all that decides what it learns.
        label: The beginning of that name.
        network: What is trained.
        images: What it is trained and tested on.
        seed: Seed of weights, order and crops.
        dtype: A Keras dtype policy.
        drops: Epochs at which the rates of the weights are divided by ten.
    """

    root: Path
    label: str
    network: CifarNetwork
    images: CifarImages
    seed: int
    dtype: str = "float32"
    drops: tuple[int, ...] = ()

    @property
    def about(self) -> dict[str, Any]:
        """The properties that a state and the run that resumes from it have to share."""
        return {
            "network": asdict(self.network),
            "data": self.images.digest,
            "seed": self.seed,
            "dtype": self.dtype,
            "drops": list(self.drops),
        }

    @property
    def folder(self) -> Path:
        """Where its states are kept."""
        return self.root / f"{self.label}-{hashlib.sha256(json.dumps(self.about).encode()).hexdigest()[:6]}"


class CifarTrainer:
    """A network in the state that its run has reached.

    Attributes:
        position: The position of the training. Its history has one row per segment of an epoch: the epoch at its end
            (0.25, 0.5, ..., or fewer where an epoch has fewer batches), and the mean loss and error, 0..1, of its
            batches in training.

    Raises:
        DataError: The last states cannot be read, or are another run's.
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

    def train(self, epochs: int, target: float | None = None, reporter: Reporter = SILENT) -> list[dict[str, float]]:
        """Train up to an epoch, saving the state after each whole one.

        Args:
            epochs: The number of epochs, those of earlier calls included.
            target: A training error, 0..1, at which the training ends at once.
            reporter: Reports the progress.

        Returns:
            The history up to that epoch, one row per segment.

        Raises:
            DivergedError: The loss is not a finite number.
        """
        done = self.position.epoch
        what = f"{self.run.label}, epoch {done + 1} to {epochs}"
        with reporter.progress(what, SEGMENTS * max(0, epochs - done), "quarters") as advance:
            while self.position.epoch < epochs:
                for row in self._train_epoch():
                    advance(1, text=f"error {row['error']:.1%}")
                    if target is not None and row["error"] <= target:
                        return self.position.history
        return [row for row in self.position.history if row["epoch"] <= epochs]  # its last state may be beyond that

    def _train_epoch(self) -> Iterator[dict[str, float]]:
        position, network = self.position, self.run.network
        drops = sum(position.epoch >= epoch for epoch in self.run.drops)
        self.optimizer.set_rates({"weights": network.weight_rate / 10**drops})
        random = np.random.default_rng([self.run.seed, position.epoch])
        order = random.permutation(len(self.run.images.train))
        batches = np.split(order, range(BATCH, len(order), BATCH))
        if len(batches[-1]) < BATCH and len(batches) > 1:
            batches.pop()
        segments = min(SEGMENTS, len(batches))
        for segment, part in enumerate(np.array_split(np.arange(len(batches)), segments)):
            results = [self._take_step(batches[index], random) for index in part]
            loss, error = np.mean(results, axis=0).tolist()
            if not np.isfinite(loss):
                raise DivergedError(f"The loss became {loss} at the rate {network.weight_rate:g}.")
            row = {"epoch": position.epoch + (segment + 1) / segments, "loss": loss, "error": error}
            position.history.append(row)
            yield row
        position.epoch += 1
        position.total_steps += len(batches)
        save_state(self.run.folder, self.model, self.optimizer, position, self.run.about)

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


def error_on(model: keras.Model, labelled: Labelled, side: int) -> float:
    """The top-1 error, 0..1, of a model that `build` made, by ten crops of a side, or by the images if as large."""
    wrong = 0

    @tf.function(autograph=False)
    def probabilities(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(model(images, training=False))

    for start in range(0, len(labelled), EVALUATION_BATCH):
        images = labelled.images[start : start + EVALUATION_BATCH]
        views = ten_crops(images, side) if side < images.shape[1] else images[None]
        averaged = np.mean([probabilities(tf.constant(view)).numpy() for view in views], axis=0)
        wrong += top_k_misses(averaged, labelled.labels[start : start + EVALUATION_BATCH], 1)
    return wrong / len(labelled)
