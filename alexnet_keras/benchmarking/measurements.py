"""The measurements, each to be made in a process of its own."""

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.benchmarking.arithmetic import forward_operations, matrix_product, training_operations
from alexnet_keras.benchmarking.generated import HEIGHT, WIDTH, write_pictures
from alexnet_keras.benchmarking.layer_kinds import OTHER, LayerKinds, kinds_in
from alexnet_keras.benchmarking.memory import peak_bytes
from alexnet_keras.benchmarking.result import Measurement, Repeat, Request
from alexnet_keras.benchmarking.tracing import traced_shares
from alexnet_keras.data.pipeline import iterate, training_batches
from alexnet_keras.data.prepare import prepare
from alexnet_keras.data.prepared import PreparedDataset, open_prepared
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.data.sources.open import SourceRequest, open_source
from alexnet_keras.data.sources.source import Source
from alexnet_keras.data.squares import IMAGE_SIZE
from alexnet_keras.model import AlexNet
from alexnet_keras.recipe_files import from_dict
from alexnet_keras.recipes import IMAGENET_RGB_MEAN, Recipe
from alexnet_keras.training.start import new_optimizer
from alexnet_keras.training.step import TrainingStep

WARM_UP, TRACED = 2, 2  # steps
RATE = (
    1e-6  # of learning: no weight goes far, and the update has ordinary numbers to work with, neither 0 nor tiny ones
)
READY, READ_SECONDS = 8, 1.0  # batches, more than the pipeline prefetches; a repeat reads for so long, and so many
PICTURES = 512  # prepared in a repeat, at most
FEWEST = 8  # of them in a split, where it has so many


def train(request: Request, folder: Path, tell: Callable[[], None]) -> Measurement:
    """Steps of training on one batch of random images in memory, with everything that a step of a run does.

    Args:
        request: What is asked for.
        folder: An empty directory for whatever is written.
        tell: Called after every timed repeat.
    """
    recipe, images = from_dict(request.recipe), _images(request)
    labels = tf.constant(np.random.default_rng(1).integers(0, request.classes, request.batch_size))
    base = peak_bytes()
    model = _network(recipe, request)
    optimizer = new_optimizer(recipe, model)
    optimizer.set_rates(dict.fromkeys(optimizer.rates, RATE))
    strategy, scaled = tf.distribute.get_strategy(), request.precision == "mixed_float16"
    step = TrainingStep(model, optimizer, strategy, seed=0, batch_size=request.batch_size, scaled=scaled)
    numbers = itertools.count()
    return _stepping(
        request,
        folder,
        tell,
        what=f"training steps of the recipe {recipe.name}, batches of {request.batch_size}, {request.precision}",
        step=lambda: step(images, labels, next(numbers)),
        base=base,
        operations=training_operations(model),
        kinds=kinds_in(model, training=True),
        # after the steps: the function is traced by then, and this finds it
        kind_of=lambda: LayerKinds(
            model,
            step.compiled.get_concrete_function(images, labels, *step.scalars(0)).graph,
            "images",
            optimizer.name,
        ),
    )


def infer(request: Request, folder: Path, tell: Callable[[], None]) -> Measurement:
    """The forward pass of one batch of random images in memory, to probabilities. Arguments as `train`."""
    recipe, images = from_dict(request.recipe), _images(request)
    base = peak_bytes()
    model = _network(recipe, request)
    probabilities = tf.function(lambda images: model(images, training=False), autograph=False)
    return _stepping(
        request,
        folder,
        tell,
        what=f"forward passes of the recipe {recipe.name}, batches of {request.batch_size}, {request.precision}",
        step=lambda: probabilities(images).numpy(),
        base=base,
        operations=forward_operations(model),
        kinds=kinds_in(model, training=False),
        kind_of=lambda: LayerKinds(model, probabilities.get_concrete_function(images).graph, "images"),
    )


def read_input(request: Request, folder: Path, tell: Callable[[], None]) -> Measurement:
    """Batches of crops from a prepared dataset, as training reads them, and no training. Arguments as `train`.

    Raises:
        UsageError, DataError: There is no such dataset, or it is damaged.
    """
    assert request.data is not None  # `processes.measure` has pictures drawn where none is named
    recipe, data = from_dict(request.recipe), open_prepared(request.data)
    base = peak_bytes()
    batches = iterate(data, _epochs(data, recipe, request.batch_size))
    repeats = []
    for _ in range(request.repeats):
        for _ in itertools.islice(batches, READY):  # those that were made while nobody waited are not timed
            pass
        start, read = time.perf_counter(), 0
        while (passed := time.perf_counter() - start) < READ_SECONDS or read < READY:
            next(batches)
            read += 1
        repeats.append(Repeat(read * request.batch_size, passed))
        tell()
    size = recipe.network.input_size
    return Measurement(
        what=f"crops of {size}x{size} from {data.name}, {data.examples('train')} pictures as {data.encoding.kind}, "
        f"batches of {request.batch_size}",
        device="CPU",
        repeats=tuple(repeats),
        peak_bytes=peak_bytes(),
        base_bytes=base,
    )


def prepare_pictures(request: Request, folder: Path, tell: Callable[[], None]) -> Measurement:
    """Preparation of pictures into a directory: all that `alexnet prepare` does after it has listed them.

    The first of `request.repeats + 1` preparations reads the files once and is not timed. Arguments as `train`.

    Raises:
        UsageError, DataError: There is no such source, or its pictures cannot be used.
    """
    source = _generated(folder) if request.source is None else _some_of(request.source, folder)
    pictures = sum(len(split) for split in source.splits.values())
    base, repeats = peak_bytes(), []
    for number in range(request.repeats + 1):
        out = folder / "prepared"
        start = time.perf_counter()
        prepare(source, out, name="benchmark")
        passed = time.perf_counter() - start
        shutil.rmtree(out)
        if number:
            repeats.append(Repeat(pictures, passed))
            tell()
    of = source.given if request.source else f"generated JPEG of {WIDTH}x{HEIGHT}"
    return Measurement(
        what=f"{pictures} pictures, {of}",
        device="CPU",
        repeats=tuple(repeats),
        peak_bytes=peak_bytes(),
        base_bytes=base,
    )


def prepare_generated(folder: Path) -> None:
    """Prepares generated pictures into a directory, for `read_input` where there is no other dataset."""
    source = _generated(folder.with_name(f"{folder.name}-pictures"))
    prepare(source, folder, name="generated pictures")


def _stepping(
    request: Request,
    folder: Path,
    tell: Callable[[], None],
    *,
    what: str,
    step: Callable[[], Any],
    base: int | None,
    operations: int,
    kinds: list[str],
    kind_of: Callable[[], LayerKinds],
) -> Measurement:
    """Warm-up, memory, timed steps each with matrix products after it, and then the trace of others."""
    for _ in range(WARM_UP):
        step()
    peak = peak_bytes()  # before there are large matrices
    product = matrix_product(keras.DTypePolicy(request.precision).compute_dtype)
    repeats = []
    for _ in range(request.repeats):
        start = time.perf_counter()
        step()
        repeats.append(Repeat(request.batch_size, time.perf_counter() - start, product()))
        tell()
    device, shares = _device(), {}
    if device == "CPU":  # of a GPU the operations' times on the host would say how long it took to start them
        found = traced_shares(step, TRACED, kind_of(), folder)
        shares = {kind: found.pop(kind, 0.0) for kind in kinds}
        shares[OTHER] += sum(found.values())
    return Measurement(what, device, tuple(repeats), operations, peak, base, shares)


def _network(recipe: Recipe, request: Request) -> keras.Model:
    mean = np.broadcast_to(np.asarray(IMAGENET_RGB_MEAN, np.float32), (IMAGE_SIZE, IMAGE_SIZE, 3))
    return AlexNet(recipe, classes=request.classes, mean_image=mean, seed=0, dtype=request.precision)


def _images(request: Request) -> tf.Tensor:
    side = from_dict(request.recipe).network.input_size
    random = np.random.default_rng(0)
    return tf.constant(random.integers(0, 256, (request.batch_size, side, side, 3), np.uint8))


def _device() -> str:
    """What TensorFlow computes on."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "CPU"
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")


def _epochs(data: PreparedDataset, recipe: Recipe, batch_size: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Batches without end, as training sees them."""
    for epoch in itertools.count():
        yield from training_batches(
            data,
            recipe.augmentation,
            batch_size=batch_size,
            crop_size=recipe.network.input_size,
            seed=0,
            epoch=epoch,
        )


def _generated(folder: Path) -> Source:
    pictures = folder / "pictures"
    write_pictures(pictures, PICTURES)
    return folder_source(pictures)


def _some_of(given: str, folder: Path) -> Source:
    """A source, and where it is large some of its pictures at random, of every split its part."""
    source = open_source(SourceRequest(given, demo_folder=folder / "demo", cache=folder))
    part = min(1.0, PICTURES / sum(len(pictures) for pictures in source.splits.values()))
    splits = {}
    for split, pictures in source.splits.items():
        number = max(min(FEWEST, len(pictures)), int(part * len(pictures)))
        chosen = np.random.default_rng(0).permutation(len(pictures))[:number]
        splits[split] = pictures.take(np.sort(chosen))
    return Source(source.given, source.classes, splits, source.words, source.ids, source.options, source.notes)
