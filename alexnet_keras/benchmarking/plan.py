"""What preparing and training a dataset will take on this machine, from a short measurement.

Preparation, reading and training steps are measured in processes of their own, as for a benchmark, on the images
themselves or on generated ones of ImageNet's usual size. The recipes are measured one after the other as long as
there is time; what is left is scaled from the first by its operations, and marked."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alexnet_keras.benchmarking.result import Measurement, Request, Spread
from alexnet_keras.benchmarking.worker import measure
from alexnet_keras.data.dataset import PreparedDataset, open_prepared
from alexnet_keras.data.image_cache import IMAGE_BYTES
from alexnet_keras.machine import Machine, this_machine
from alexnet_keras.recipes.geometry import operations
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.recipes.toml import to_dict
from alexnet_keras.reporter import SILENT, Reporter

BUDGET_S = 150.0  # no measurement begins that would end later
JPEG_BYTES = 39_000  # of a 256x256 JPEG of quality 95: mean of 180 ImageNet originals, docs/preparing-data.md
RECORD_BYTES = 100  # of a record, besides its image: label, name and frame
VALIDATION = 1 / 3  # of the time of a training image: a forward pass, and no gradients
PAPER = "five to six days on two GTX 580 (3 GB): 90 epochs of 1.2 million images, in two towers (section 5)"


@dataclass(frozen=True)
class Workload:
    """Images to be prepared and trained on.

    Attributes:
        what: A description.
        images: Number of images of each split.
        classes: Number of classes.
        jpeg_bytes: Bytes of an image on disk once it is prepared, as the dataset stores it; measured or assumed.
        prepared: The dataset is prepared already.
    """

    what: str
    images: dict[str, int]
    classes: int
    jpeg_bytes: float = JPEG_BYTES
    prepared: bool = False

    @property
    def total(self) -> int:
        """Images of all splits."""
        return sum(self.images.values())


IMAGENET = Workload("ImageNet 2012 (none of its files is read)", {"train": 1_281_167, "val": 50_000}, 1000)


@dataclass(frozen=True)
class Survey:
    """What was measured.

    Attributes:
        machine: The machine.
        workload: The images.
        prepare: The preparation; None where the images are prepared already.
        input: Reading and cropping the prepared images.
        training: Steps by recipe and precision, of those that there was time for; the first of a precision is there.
        seconds: Duration of all measurements.
    """

    machine: Machine
    workload: Workload
    prepare: Measurement | None
    input: Measurement
    training: dict[tuple[str, str], Measurement]
    seconds: float


@dataclass(frozen=True)
class TrainingPlan:
    """The training of one recipe in one precision.

    Attributes:
        steps: Steps of an epoch.
        measured: The recipe was measured; else its time follows from the first one's, by operations.
        step_seconds: Duration of a step with its input.
        days: Duration of all epochs with their validation.
        bound: "compute" or "input", whichever takes longer.
        input_share: Time of the input as a part of a step's where both share the processors; else over the step's.
        memory_bytes: Peak memory of the process; None where it is not known.
    """

    recipe: str
    precision: str
    epochs: int
    batch_size: int
    steps: int
    measured: bool
    step_seconds: Spread
    days: Spread
    bound: str
    input_share: float
    memory_bytes: int | None


@dataclass(frozen=True)
class Plan:
    """What a survey comes to.

    Attributes:
        survey: The measurements.
        prepare_hours: Duration of the preparation; None where there is nothing to prepare.
        jpeg_bytes, raw_bytes: Bytes on disk as JPEG (or as the dataset stores it) and raw.
        cache_bytes: Bytes of the decoded training images, for `alexnet train --cache`.
        training: A plan for each recipe and precision.
    """

    survey: Survey
    prepare_hours: Spread | None
    jpeg_bytes: int
    raw_bytes: int
    cache_bytes: int
    training: list[TrainingPlan] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON can hold it."""
        made = asdict(self)
        made["survey"]["training"] = [
            {"recipe": recipe, "precision": precision, **asdict(measured)}
            for (recipe, precision), measured in self.survey.training.items()
        ]
        for each, plan in zip(made["training"], self.training, strict=True):
            each |= {name: getattr(plan, name)._asdict() for name in ("step_seconds", "days")}
        return made | {"prepare_hours": self.prepare_hours and self.prepare_hours._asdict(), "paper": PAPER}


def survey(
    recipes: Sequence[Recipe],
    precisions: Sequence[str],
    *,
    source: str | None = None,
    data: PreparedDataset | None = None,
    repeats: int = 3,
    reporter: Reporter = SILENT,
) -> Survey:
    """Measure what a plan needs.

    Args:
        recipes: The recipes, of which the first is measured in every precision.
        precisions: Keras dtype policies.
        source: Images to prepare, as `alexnet prepare` names them; with neither this nor `data`, ImageNet's count.
        data: A prepared dataset.
        repeats: Timed repeats of each measurement.
        reporter: Receives the progress.

    Raises:
        UsageError, DataError: There is no such source, or its images cannot be used.
        AlexNetError: A process failed.
    """
    began = time.monotonic()

    def measured(name: str, recipe: Recipe, what: str, images: int | None = None, **more: Any) -> Measurement:
        batch = recipe.training.batch_size
        batch = batch if images is None else min(batch, images)  # as training does
        request = Request(to_dict(recipe), batch_size=batch, repeats=repeats, brief=True, **more)
        with reporter.progress(what, repeats, "repeats") as advance:
            return measure(name, request, advance)

    with tempfile.TemporaryDirectory(prefix="alexnet-plan-") as folder:
        prepare, out = None, Path(folder) / "prepared"
        if data is None:
            prepare = measured("prepare", recipes[0], "preparing", source=source, out=str(out))
        sample = open_prepared(out) if data is None else data
        workload = IMAGENET if data is None and source is None else _workload(sample, prepare)
        images = workload.images["train"]
        read = measured("input", recipes[0], "reading", images, data=str(sample.path.absolute()))
        if prepare:
            shutil.rmtree(out)
        training: dict[tuple[str, str], Measurement] = {}
        longest = 0.0
        for recipe in recipes:
            for precision in precisions:
                start = time.monotonic()
                if recipe is not recipes[0] and start - began + longest > BUDGET_S:
                    continue
                what = f"{recipe.name} {precision}"
                training[recipe.name, precision] = measured(
                    "train", recipe, what, images, classes=workload.classes, precision=precision
                )
                longest = max(longest, time.monotonic() - start)
    return Survey(this_machine(), workload, prepare, read, training, time.monotonic() - began)


def _workload(sample: PreparedDataset, prepare: Measurement | None) -> Workload:
    """The images of a dataset, or of the source of which it has some."""
    splits = sample.manifest["splits"].values()
    size = sum(shard["bytes"] for split in splits for shard in split["shards"])
    images = {split: sample.examples(split) for split in sample.splits}
    return Workload(
        what=sample.source if prepare else str(sample.path),
        images=prepare.images if prepare else images,
        classes=len(sample.classes),
        jpeg_bytes=size / sum(images.values()),
        prepared=prepare is None,
    )


def plan(found: Survey, recipes: Sequence[Recipe], precisions: Sequence[str]) -> Plan:
    """Compute what a survey's images take.

    Args:
        found: The measurements.
        recipes, precisions: As for `survey`.
    """
    images = found.workload
    return Plan(
        found,
        _scaled(_seconds_an_image(found.prepare), images.total / 3600) if found.prepare else None,
        jpeg_bytes=round(images.total * images.jpeg_bytes),
        raw_bytes=images.total * (IMAGE_BYTES + RECORD_BYTES),
        cache_bytes=images.images["train"] * IMAGE_BYTES,
        training=[_training(found, recipes[0], recipe, precision) for recipe in recipes for precision in precisions],
    )


def _training(found: Survey, first: Recipe, recipe: Recipe, precision: str) -> TrainingPlan:
    images, training = found.workload, recipe.training
    measured = found.training.get((recipe.name, precision))
    compute = _seconds_an_image(measured or found.training[first.name, precision])
    if not measured:
        counts = (operations(each, images.classes, training=True) for each in (recipe, first))
        compute = _scaled(compute, next(counts) / next(counts))
    read = _seconds_an_image(found.input)
    # On a processor the input takes from the step what it needs; beside a GPU both go on at the same time.
    device = (measured or found.training[first.name, precision]).device
    together = sum if device == "CPU" else max
    a_step = [together(pair) for pair in zip(compute, read, strict=True)]
    tested = [together((VALIDATION * pair[0], pair[1])) for pair in zip(compute, read, strict=True)]
    batch = min(training.batch_size, images.images["train"])
    steps = -(-images.images["train"] // batch)
    held_out = images.images.get("val", 0)
    seconds = [steps * batch * one + held_out * other for one, other in zip(a_step, tested, strict=True)]
    peak, base = found.input.peak_bytes, found.input.base_bytes
    memory = None
    if measured and measured.peak_bytes is not None and peak is not None and base is not None:
        memory = measured.peak_bytes + peak - base
    return TrainingPlan(
        recipe.name,
        precision,
        training.epochs,
        batch,
        steps,
        measured is not None,
        step_seconds=_scaled(Spread(*a_step), batch),
        days=_scaled(Spread(*seconds), training.epochs / 86_400),
        bound="input" if read.median > compute.median else "compute",
        input_share=read.median / a_step[0],
        memory_bytes=memory,
    )


def _seconds_an_image(measurement: Measurement) -> Spread:
    return Spread.of(each.seconds / each.images for each in measurement.repeats)


def _scaled(spread: Spread, factor: float) -> Spread:
    return Spread(*(factor * value for value in spread))
