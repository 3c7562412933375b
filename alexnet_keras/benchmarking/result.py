"""A result: raw repeats, from which every figure follows, as a file, and two results side by side."""

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import pydantic
from pydantic import Field

from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.recipes.toml import migrated
from alexnet_keras.storage.files import write_by_rename
from alexnet_keras.storage.places import command

FORMAT: Final = "alexnet-keras benchmark, version 1"


@dataclass(frozen=True)
class Machine:
    """What a measurement ran on.

    Attributes:
        processor: Its model, as the system names it.
        instructions: Of those that matrix products gain from, what it has.
        cores: Processors that the system has.
        threads: That TensorFlow computes with: as many as this process may use, unless TF_NUM_INTRAOP_THREADS is set.
        memory_gib: Of the machine, GiB; None where the system does not tell.
        system: The operating system.
        versions: Of Python and the packages.
    """

    processor: str
    instructions: tuple[str, ...]
    cores: int
    threads: int
    memory_gib: float | None
    system: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Request:
    """What is to be measured; plain values, so that it travels to another process.

    Attributes:
        recipe: Its fields, as `recipes.toml.to_dict` gives them.
        classes: Of the network.
        batch_size: Images a step.
        precision: A Keras dtype policy.
        repeats: That are timed, after a warm-up.
        data: The prepared dataset that `input` reads; None: one made of generated images.
        source: The images that `prepare` prepares, as `alexnet prepare` names them; None: generated ones.
    """

    recipe: dict[str, Any]
    classes: int = 1000
    batch_size: int = 128
    precision: str = "float32"
    repeats: int = 5
    data: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class Repeat:
    """One timed repeat.

    Attributes:
        images: How many went through.
        seconds: How long it took.
        product_rate: The machine's matrix products right after it, operations a second; None where none were made.
    """

    images: int
    seconds: Annotated[float, Field(gt=0)]
    product_rate: Annotated[float, Field(gt=0)] | None = None


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
    """What one process measured.

    Attributes:
        what: In words: what it did with what.
        device: Where it computed: "CPU", or the name of a GPU.
        repeats: In order.
        operations: Floating-point operations an image takes; None where they are not what the time goes into.
        peak_bytes: The most memory that the process has had resident, until matrix products were made.
        base_bytes: The same before the model, or what else was measured, was made; None with `peak_bytes` where the
            system does not tell.
        shares: Of the time of a step, by the kind of layer, 0..1; empty where there are no layers, or on a GPU.
    """

    what: str
    device: str
    repeats: Annotated[tuple[Repeat, ...], Field(min_length=1)]
    operations: int | None = None
    peak_bytes: int | None = None
    base_bytes: int | None = None
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, Spread]:
        """Every figure by its name, which says the unit."""
        found = {"images/s": Spread.of(each.images / each.seconds for each in self.repeats)}
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
    """All that one run of `alexnet benchmark` measured.

    Attributes:
        format: FORMAT.
        date: When, ISO 8601, UTC.
        machine: On what.
        request: What was asked for.
        measurements: By name: train, infer, input, prepare.
    """

    format: Literal["alexnet-keras benchmark, version 1"]
    date: str
    machine: Machine
    request: Request
    measurements: dict[str, Measurement]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, the figures that follow from the repeats included."""
        made = asdict(self)
        for name, measurement in self.measurements.items():
            figures = {figure: spread._asdict() for figure, spread in measurement.figures.items()}
            made["measurements"][name] |= {"figures": figures, "step_ms": measurement.step_ms}
        return made

    def write(self, path: Path) -> None:
        """Writes the result as JSON."""
        with write_by_rename(path) as partial:
            partial.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")


_RESULT, _MEASUREMENT = pydantic.TypeAdapter(Result), pydantic.TypeAdapter(Measurement)


def read_result(path: Path) -> Result:
    """A result that was written or printed as JSON.

    Raises:
        UsageError: There is no such file.
        DataError: It is something else.
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
    """The measurement that a process has sent as plain values."""
    return _MEASUREMENT.validate_python(values)


class Change(NamedTuple):
    """A figure then and now; then is None where it was not measured."""

    then: Spread | None
    now: Spread

    @property
    def ratio(self) -> float | None:
        """Now over then, of the medians; None where there is nothing then, or 0."""
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
    """A sentence for each thing that makes figures differ and has nothing to do with what is compared."""
    sentences = []

    def compare(what: str, before: object, after: object) -> None:
        if before != after:
            sentences.append(f"the {what} was {before} then and is {after} now.")

    old, new = then.machine, now.machine
    for what in ("processor", "cores", "threads", "memory_gib", "system"):
        compare(what.replace("_gib", " in GiB"), getattr(old, what), getattr(new, what))
    for package in {**old.versions, **new.versions}:
        compare(f"version of {package}", old.versions.get(package), new.versions.get(package))
    measured = set(then.measurements) & set(now.measurements)
    for what in _matters(measured):
        compare(what.replace("_", " "), getattr(then.request, what), getattr(now.request, what))
    if measured - {"prepare"} and migrated(then.request.recipe) != migrated(now.request.recipe):
        names = [result.request.recipe.get("name") for result in (then, now)]
        sentences.append(f"the recipe is another one (named {names[0]} then, {names[1]} now).")
    for name in sorted(measured):
        before, after = then.measurements[name], now.measurements[name]
        compare(f"device of {name}", before.device, after.device)
        if name in ("input", "prepare"):
            compare(f"data of {name}", before.what, after.what)
    return sentences


def _matters(measured: set[str]) -> list[str]:
    """The options that decide the figures of these measurements."""
    found = ["batch_size"] if measured - {"prepare"} else []
    return [*found, "classes", "precision"] if measured & {"train", "infer"} else found
