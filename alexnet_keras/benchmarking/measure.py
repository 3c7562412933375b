"""The measurements, each to be made in a process of its own."""

import itertools
import math
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.benchmarking.result import Measurement, Repeat, Request
from alexnet_keras.benchmarking.trace import OTHER, LayerKinds, kinds_in, traced_shares
from alexnet_keras.data.dataset import open_prepared
from alexnet_keras.data.generated_images import HEIGHT, WIDTH, write_images
from alexnet_keras.data.image_cache import cached
from alexnet_keras.data.images import IMAGE_SIZE
from alexnet_keras.data.pipeline import iterate, training_batches
from alexnet_keras.data.preparation import prepare
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.data.sources.open import SourceRequest, open_source
from alexnet_keras.data.sources.source import Source
from alexnet_keras.network.model import AlexNet
from alexnet_keras.recipes.geometry import operations
from alexnet_keras.recipes.schema import IMAGENET_RGB_MEAN, Recipe
from alexnet_keras.recipes.toml import from_dict
from alexnet_keras.reporter import SILENT, Advance, Reporter
from alexnet_keras.training.optimizer import new_optimizer
from alexnet_keras.training.step import TrainingStep

_STATUS = Path("/proc/self/status")


def peak_bytes() -> int | None:
    """The peak resident memory of this process, bytes; None where the system does not report it.

    Linux counts VmHWM from the start of the program. Its `ru_maxrss`, which other systems have instead, would start
    at the peak of the parent process.
    """
    if _STATUS.exists():
        found = re.search(r"^VmHWM:\s*(\d+) kB$", _STATUS.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


PRODUCT_SIDE = 4096  # of the square matrices whose product is timed
PRODUCT_SECONDS = 0.5  # products are repeated for at least this long


def matrix_product(dtype: str, side: int = PRODUCT_SIDE) -> Callable[[], float]:
    """A function that multiplies two square matrices in TensorFlow and returns the rate, operations per second.

    Args:
        dtype: Dtype of the matrices, such as "float32" or "bfloat16".
        side: Number of rows and columns.
    """
    random = tf.random.Generator.from_seed(0)
    left, right = (tf.cast(random.normal((side, side)), dtype) for _ in range(2))
    product = tf.function(lambda: tf.matmul(left, right)[0, 0], autograph=False)
    float(product())  # traced, and its memory taken

    def rate() -> float:
        start, products = time.perf_counter(), 0
        while (passed := time.perf_counter() - start) < PRODUCT_SECONDS or not products:
            float(product())
            products += 1
        return 2 * side**3 * products / passed

    return rate


WARM_UP, TRACED = 2, 2  # steps
RATE = 1e-6  # learning rate: weights hardly change, and the update computes with ordinary numbers, not 0 or subnormal
READY, READ_SECONDS = 8, 1.0  # batches, more than the pipeline prefetches, and seconds: a repeat reads at least both
IMAGES = 512  # prepared in a repeat at most
MANY_IMAGES = 2048  # for a plan, and of those that are generated to be read: an epoch's beginning and end cost time
STEPS_SECONDS = 0.5  # a repeat of steps for a plan lasts at least as long
FEWEST = 8  # of them in a split that has as many


def train(request: Request, folder: Path, tell: Callable[[], None]) -> Measurement:
    """Measure training steps on one batch of random images in memory, with all that a step of a run does.

    Args:
        request: The network, the batch and the number of repeats.
        folder: An empty directory for temporary files.
        tell: Called after every timed repeat.
    """
    recipe, images = from_dict(request.recipe), _images(request)
    labels = tf.constant(np.random.default_rng(1).integers(0, request.classes, request.batch_size))
    base = peak_bytes()
    model = _network(recipe, request)
    optimizer = new_optimizer(recipe, model)
    optimizer.set_rates(dict.fromkeys(optimizer.rates, RATE))
    strategy, scaled = tf.distribute.get_strategy(), request.precision == "mixed_float16"
    step = TrainingStep(
        model,
        optimizer,
        strategy,
        seed=0,
        batch_size=request.batch_size,
        scaled=scaled,
        label_smoothing=recipe.training.label_smoothing,
        average=(_network(recipe, request), 0.999) if recipe.training.averaging_epochs else None,
    )
    numbers, least = itertools.count(), min(model.trainable_variables, key=lambda weights: math.prod(weights.shape))

    def whole_step() -> None:
        step(images, labels, next(numbers))
        least.numpy()  # a GPU goes on with the update after the step has returned

    return _stepping(
        request,
        folder,
        tell,
        what=f"training steps of the recipe {recipe.name}, batches of {request.batch_size}, {request.precision}",
        step=whole_step,
        base=base,
        operations=operations(recipe, request.classes, training=True),
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
    """Measure the forward pass, to probabilities, of one batch of random images in memory. Arguments as in `train`."""
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
        operations=operations(recipe, request.classes, training=False),
        kinds=kinds_in(model, training=False),
        kind_of=lambda: LayerKinds(model, probabilities.get_concrete_function(images).graph, "images"),
    )


def read_input(request: Request, folder: Path, tell: Callable[[], None], *, cache: str | None = None) -> Measurement:
    """Measure reading batches of crops from a prepared dataset, as training does.

    Args:
        request, folder, tell: As in `train`.
        cache: Where decoded images are kept, as `image_cache.cached` takes it.

    Raises:
        UsageError, DataError: There is no such dataset, or it is damaged.
    """
    assert request.data is not None  # `worker.measure` prepares generated images where none is named
    recipe, data = from_dict(request.recipe), open_prepared(request.data)
    base = peak_bytes()
    data = cached(data, cache)
    epoch = training_batches(
        data,
        recipe.augmentation,
        batch_size=request.batch_size,
        crop_size=recipe.network.input_size,
        seed=0,
        epoch=0,
    )
    batches = iterate(data, epoch.repeat())  # to begin another takes a fraction of a second
    repeats = []
    for _ in range(request.repeats):
        for _ in itertools.islice(batches, READY):  # batches that were ready before are not timed
            pass
        start, processors, read = time.perf_counter(), time.process_time(), 0
        while (passed := time.perf_counter() - start) < READ_SECONDS or read < READY:
            next(batches)
            read += 1
        taken = time.process_time() - processors
        repeats.append(Repeat(read * request.batch_size, passed, processor_seconds=taken))
        tell()
    size = recipe.network.input_size
    kept = f"decoded in {cache}" if cache else f"as {data.encoding.kind}"
    return Measurement(
        what=f"crops of {size}x{size} from {data.name}, {data.examples('train')} images {kept}, "
        f"batches of {request.batch_size}",
        device="CPU",
        repeats=tuple(repeats),
        peak_bytes=peak_bytes(),
        base_bytes=base,
    )


class PreparationClock(Reporter):
    """Times a preparation without its beginning and its end, which take as long however many images it has."""

    def __init__(self) -> None:
        self.marks: list[tuple[int, float]] = []  # images so far, and when

    @contextmanager
    def progress(self, what: str, total: int | None, unit: str = "images", done: int = 0) -> Iterator[Advance]:
        def advance(n: int = 1, text: str = "") -> None:
            self.marks.append((n + (self.marks[-1][0] if self.marks else 0), time.perf_counter()))

        yield advance

    def repeat(self, seconds: float) -> Repeat:
        """The images after the first ones, and their time; all images and `seconds` if the first ones are too many."""
        (first, began), (images, ended) = self.marks[0], self.marks[-1]
        return Repeat(images - first, ended - began) if images > 4 * first else Repeat(images, seconds)


def prepare_images(request: Request, folder: Path, tell: Callable[[], None]) -> Measurement:
    """Measure preparing images into a directory: all that `alexnet prepare` does after listing them.

    A brief measurement leaves out the beginning and the end, which cost a long preparation as much as a short one. The
    first of `request.repeats + 1` preparations reads the files once and is not timed. Arguments as in `train`.

    Raises:
        UsageError, DataError: There is no such source, or its images cannot be used.
    """
    most = MANY_IMAGES if request.brief else IMAGES
    if request.source is None:
        whole = _generated(folder, most)
    else:
        whole = open_source(SourceRequest(request.source, demo_folder=folder / "demo", cache=folder))
    source = _some_of(whole, most)
    images = sum(len(split) for split in source.splits.values())
    base, repeats = peak_bytes(), []
    for number in range(request.repeats + 1):
        out = Path(request.out or folder / "prepared")
        start = time.perf_counter()
        clock = PreparationClock()
        prepare(source, out, name="benchmark", reporter=clock)
        passed = time.perf_counter() - start
        if request.out is None or number < request.repeats:
            shutil.rmtree(out)
        if number:
            repeats.append(clock.repeat(passed) if request.brief else Repeat(images, passed))
            tell()
    of = f"generated JPEG of {WIDTH}x{HEIGHT}" if request.source is None else source.given
    return Measurement(
        what=f"{images} images, {of}",
        device="CPU",
        repeats=tuple(repeats),
        peak_bytes=peak_bytes(),
        base_bytes=base,
        images={split: len(listed) for split, listed in whole.splits.items()},
    )


def prepare_generated(folder: Path, encoding: Literal["jpeg", "raw"]) -> None:
    """Prepare generated images into a directory, for `read_input` where there is no other dataset."""
    source = _generated(folder.with_name(f"{folder.name}-pictures"), MANY_IMAGES)
    prepare(source, folder, name="generated images", encoding=encoding, reporter=SILENT)


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
    """Warm up, measure memory, time steps each followed by matrix products, and trace further steps."""
    for _ in range(1 if request.brief else WARM_UP):
        step()
    peak = peak_bytes()  # before there are large matrices
    if request.brief:
        return Measurement(what, _device(), tuple(_brief(request, step, tell)), operations, peak, base)
    product = matrix_product(keras.DTypePolicy(request.precision).compute_dtype)
    repeats = []
    for _ in range(request.repeats):
        start = time.perf_counter()
        step()
        repeats.append(Repeat(request.batch_size, time.perf_counter() - start, product()))
        tell()
    device, shares = _device(), {}
    if device == "CPU":  # on a GPU, times on the host are those of starting operations
        found = traced_shares(step, TRACED, kind_of(), folder)
        shares = {kind: found.pop(kind, 0.0) for kind in kinds}
        shares[OTHER] += sum(found.values())
    return Measurement(what, device, tuple(repeats), operations, peak, base, shares)


def _brief(request: Request, step: Callable[[], Any], tell: Callable[[], None]) -> Iterator[Repeat]:
    """Repeats of some steps each, and nothing else."""
    for _ in range(request.repeats):
        start, steps = time.perf_counter(), 0
        while (passed := time.perf_counter() - start) < STEPS_SECONDS or not steps:
            step()
            steps += 1
        yield Repeat(steps * request.batch_size, passed)
        tell()


def _network(recipe: Recipe, request: Request) -> keras.Model:
    mean = np.broadcast_to(np.asarray(IMAGENET_RGB_MEAN, np.float32), (IMAGE_SIZE, IMAGE_SIZE, 3))
    return AlexNet(recipe, classes=request.classes, mean_image=mean, seed=0, dtype=request.precision)


def _images(request: Request) -> tf.Tensor:
    side = from_dict(request.recipe).network.input_size
    random = np.random.default_rng(0)
    return tf.constant(random.integers(0, 256, (request.batch_size, side, side, 3), np.uint8))


def _device() -> str:
    """The device on which TensorFlow computes."""
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return "CPU"
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")


def _generated(folder: Path, number: int) -> Source:
    images = folder / "pictures"
    write_images(images, number)
    return folder_source(images)


def _some_of(source: Source, most: int) -> Source:
    """A source; of a large one a random sample, with each split's share of it."""
    part = min(1.0, most / sum(len(images) for images in source.splits.values()))
    splits = {}
    for split, images in source.splits.items():
        number = max(min(FEWEST, len(images)), int(part * len(images)))
        chosen = np.random.default_rng(0).permutation(len(images))[:number]
        splits[split] = images.take(np.sort(chosen))
    return replace(source, splits=splits)
