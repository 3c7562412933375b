"""Two results side by side: how much faster, and whether they can be compared."""

from typing import NamedTuple

from alexnet_keras.benchmarking.result import Result, Spread


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
    if measured - {"prepare"} and then.request.recipe != now.request.recipe:
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
