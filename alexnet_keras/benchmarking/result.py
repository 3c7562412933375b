"""The result of a benchmark: the machine, raw repeats from which all figures follow, and a comparison with another."""

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import pydantic
from pydantic import Field

from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.machine import Machine
from alexnet_keras.recipes.toml import migrated
from alexnet_keras.storage.places import command

FORMAT: Final = "alexnet-keras benchmark, version 1"
A_CORE = "images/s a core"  # a figure: images in a second of one processor's time


@dataclass(frozen=True)
class Request:
    """A measurement to be made, as plain values that can be sent to another process.

    Attributes:
        recipe: The recipe's fields, as `recipes.toml.to_dict` gives them.
        classes: Number of classes.
        batch_size: Images per step.
        precision: A Keras dtype policy.
        repeats: Number of timed repeats, after a warm-up.
        data: The prepared dataset that `input` reads; None: one made of generated images.
        source: The images that `prepare` prepares, as `alexnet prepare` names them; None: generated ones.
        device_rate: Images a second that a device trains, which `input` is to keep up with; None: as `train` measures.
        brief: For a plan: steps alone, without matrix products and a trace, and more images prepared.
        out: The directory in which `prepare` leaves the dataset that it has made last; None: none is left.
    """

    recipe: dict[str, Any]
    classes: int = 1000
    batch_size: int = 128
    precision: str = "float32"
    repeats: int = 5
    data: str | None = None
    source: str | None = None
    device_rate: float | None = None
    brief: bool = False
    out: str | None = None


@dataclass(frozen=True)
class Repeat:
    """One timed repeat.

    Attributes:
        images: Number of images.
        seconds: Duration.
        product_rate: Rate of the machine's matrix products right after it, operations per second; None where none were
            made.
        processor_seconds: Time of all processors that the process took; None where it was not measured.
    """

    images: int
    seconds: Annotated[float, Field(gt=0)]
    product_rate: Annotated[float, Field(gt=0)] | None = None
    processor_seconds: Annotated[float, Field(gt=0)] | None = None


class Spread(NamedTuple):
    """A figure over the repeats: the median, the smallest and the largest."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Measurement:
    """The measurement of one process.

    Attributes:
        what: A description: the work and its input.
        device: "CPU", or the name of a GPU.
        repeats: The repeats in order.
        operations: Floating-point operations per image; None where they do not decide the time.
        peak_bytes: Peak resident memory of the process before matrix products were made.
        base_bytes: The same before the model, or other object of the measurement, was made; None like `peak_bytes`
            where the system does not report it.
        shares: Share of the time of a step by kind of layer, 0..1; empty where there are no layers, or on a GPU.
        images: Images of each split of the source that some were prepared of; empty where nothing was.
    """

    what: str
    device: str
    repeats: Annotated[tuple[Repeat, ...], Field(min_length=1)]
    operations: int | None = None
    peak_bytes: int | None = None
    base_bytes: int | None = None
    shares: dict[str, float] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, Spread]:
        """Every figure by its name, which includes the unit."""
        found = {"images/s": Spread.of(each.images / each.seconds for each in self.repeats)}
        if all(each.processor_seconds for each in self.repeats):
            found[A_CORE] = Spread.of(each.images / (each.processor_seconds or 1) for each in self.repeats)
        products = [each.product_rate for each in self.repeats if each.product_rate]
        if self.operations and len(products) == len(self.repeats):
            rates = [self.operations * each.images / each.seconds for each in self.repeats]
            found |= {
                "ms a step": Spread.of(1000 * each.seconds for each in self.repeats),
                "GFLOP an image": Spread.of([self.operations / 1e9]),
                "GFLOP/s": Spread.of(rate / 1e9 for rate in rates),
                "matrix product, GFLOP/s": Spread.of(rate / 1e9 for rate in products),
                "% of matrix product": Spread.of(100 * a / b for a, b in zip(rates, products, strict=True)),
            }
        if self.peak_bytes is not None and self.base_bytes is not None:
            found["peak memory, MiB"] = Spread.of([self.peak_bytes / 2**20])
            found["of it since the libraries were loaded, MiB"] = Spread.of(
                [(self.peak_bytes - self.base_bytes) / 2**20]
            )
        return found

    @property
    def step_ms(self) -> dict[str, float]:
        """Milliseconds of the median step by the kind of layer: its share of it."""
        seconds = statistics.median(each.seconds for each in self.repeats)
        return {kind: 1000 * share * seconds for kind, share in self.shares.items()}


@dataclass(frozen=True)
class Result:
    """All measurements of one `alexnet benchmark`.

    Attributes:
        format: FORMAT.
        date: Start, ISO 8601, UTC.
        machine: The machine.
        request: What was measured.
        measurements: Measurements by name: train, infer, input, input-raw, input-cached, prepare.
    """

    format: Literal["alexnet-keras benchmark, version 1"]
    date: str
    machine: Machine
    request: Request
    measurements: dict[str, Measurement]

    @property
    def device_rate(self) -> float | None:
        """Images a second that the input has to keep up with: those asked for, or what training was measured at."""
        if self.request.device_rate or "train" not in self.measurements:
            return self.request.device_rate
        return self.measurements["train"].figures["images/s"].median

    @property
    def cores_needed(self) -> dict[str, float]:
        """By measurement of input, the cores that bring as many images as the device trains."""
        figures = {name: measured.figures for name, measured in self.measurements.items() if name.startswith("input")}
        rate = self.device_rate
        return {name: rate / found[A_CORE].median for name, found in figures.items() if rate and A_CORE in found}

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON holds it, with the figures that follow from the repeats."""
        made = asdict(self) | {"device_rate": self.device_rate, "cores_needed": self.cores_needed}
        for name, measurement in self.measurements.items():
            figures = {figure: spread._asdict() for figure, spread in measurement.figures.items()}
            made["measurements"][name] |= {"figures": figures, "step_ms": measurement.step_ms}
        return made


_RESULT, _MEASUREMENT = pydantic.TypeAdapter(Result), pydantic.TypeAdapter(Measurement)


def read_result(path: Path) -> Result:
    """Read a result that was written or printed as JSON.

    Raises:
        UsageError: There is no such file.
        DataError: The file holds something else.
    """
    if not path.exists():
        raise UsageError(f"There is no file {path}: `{command('benchmark', '--out', path)}` writes one.")
    try:
        return _RESULT.validate_json(path.read_bytes())
    except (pydantic.ValidationError, IsADirectoryError) as error:
        raise DataError(
            f"{path} is not a result of `alexnet benchmark --json` or --out that this version can read."
        ) from error


def measurement_from(values: dict[str, Any]) -> Measurement:
    """The measurement in plain values that a process has sent."""
    return _MEASUREMENT.validate_python(values)


class Change(NamedTuple):
    """A figure then and now; `then` is None where it was not measured."""

    then: Spread | None
    now: Spread

    @property
    def ratio(self) -> float | None:
        """Ratio of the medians, now to then; None where there was none, or 0."""
        return self.now.median / self.then.median if self.then and self.then.median else None


def changes(then: Result, now: Result) -> dict[tuple[str, str], Change]:
    """Every figure of the later result, by measurement and figure."""
    before = {name: measurement.figures for name, measurement in then.measurements.items()}
    return {
        (name, figure): Change(before.get(name, {}).get(figure), spread)
        for name, measurement in now.measurements.items()
        for figure, spread in measurement.figures.items()
    }


def differences(then: Result, now: Result) -> list[str]:
    """A sentence for each difference of machine, versions or options that changes the figures by itself."""
    sentences = []

    def compare(what: str, before: object, after: object) -> None:
        if before != after:
            sentences.append(f"the {what} was {before} then and is {after} now.")

    old, new = then.machine, now.machine
    for what in ("processor", "cores", "threads", "memory_gib", "system"):
        compare(what.replace("_gib", " in GiB"), getattr(old, what), getattr(new, what))
    if old.instructions != new.instructions:
        then_, now_ = (", ".join(machine.instructions) or "none of them" for machine in (old, new))
        sentences.append(f"the instruction sets for matrix products were {then_} then and are {now_} now.")
    for package in {**old.versions, **new.versions}:
        compare(f"version of {package}", old.versions.get(package), new.versions.get(package))
    measured = set(then.measurements) & set(now.measurements)
    if measured - {"prepare"}:
        compare("batch size", then.request.batch_size, now.request.batch_size)
        if migrated(then.request.recipe) != migrated(now.request.recipe):
            names = [result.request.recipe.get("name") for result in (then, now)]
            sentences.append(f"the recipe is another one (named {names[0]} then, {names[1]} now).")
    if measured & {"train", "infer"}:
        compare("classes", then.request.classes, now.request.classes)
        compare("precision", then.request.precision, now.request.precision)
    for name in sorted(measured):
        before, after = then.measurements[name], now.measurements[name]
        compare(f"device of {name}", before.device, after.device)
        if name.startswith("input") or name == "prepare":
            compare(f"data of {name}", before.what, after.what)
    return sentences
