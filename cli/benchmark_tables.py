"""The tables of `alexnet benchmark`: Markdown, to paste into a report."""

from alexnet_keras.benchmarking.result import Result, Spread, changes
from alexnet_keras.cli import console
from alexnet_keras.machine import Machine


def print_result(result: Result) -> None:
    """Print the machine, the figures, and the shares of the layers."""
    _print_machine(result.machine)
    _print_what(result)
    rows = [
        [name, figure, _number(spread.median), _range(spread)]
        for name, measurement in result.measurements.items()
        for figure, spread in measurement.figures.items()
    ]
    _table(["measurement", "figure", "median", "least to most"], rows, left=2)
    _print_cores(result)
    rows = [
        [name, kind, f"{share:.1%}", _number(measurement.step_ms[kind])]
        for name, measurement in result.measurements.items()
        for kind, share in _largest_first(measurement.shares)
    ]
    if rows:
        _table(["measurement", "layers", "share of the step", "ms a step"], rows, left=2)
        _explain_shares()


def print_comparison(then: Result, now: Result) -> None:
    """Print the same, with an earlier figure next to each."""
    _print_machine(now.machine)
    _print_what(now)
    console.result(f"then: {then.date}; now: {now.date}; ratio: now over then\n")
    rows = [
        [name, figure, *(_with_range(spread) for spread in change), _ratio(change.ratio)]
        for (name, figure), change in changes(then, now).items()
    ]
    _table(["measurement", "figure", "then", "now", "ratio"], rows, left=2)
    _print_cores(now)
    rows = []
    for name, new in now.measurements.items():
        old = then.measurements.get(name)
        shares_then, ms_then = (old.shares, old.step_ms) if old else ({}, {})
        for kind, share in _largest_first(new.shares):
            before, after = ms_then.get(kind), new.step_ms[kind]
            cells = [_percent(shares_then.get(kind)), _percent(share), _number(before), _number(after)]
            rows.append([name, kind, *cells, _ratio(after / before if before else None)])
    if rows:
        _table(["measurement", "layers", "share then", "share now", "ms then", "ms now", "ratio of ms"], rows, left=2)
        _explain_shares()


def _print_machine(machine: Machine) -> None:
    instructions = f" ({', '.join(machine.instructions)})" if machine.instructions else ""
    rows = [
        ["processor", f"{machine.processor}{instructions}"],
        ["cores", f"{machine.cores}; TensorFlow computes with {machine.threads} threads"],
        ["memory", "-" if machine.memory_gib is None else f"{machine.memory_gib} GiB"],
        ["system", machine.system],
        ["versions", ", ".join(f"{package} {version}" for package, version in machine.versions.items())],
    ]
    _table(["machine", ""], rows, left=2)


def _print_cores(result: Result) -> None:
    """Print the cores that the input needs to keep up with a device, where its rate is known."""
    if needed := result.cores_needed:
        rows = [[name, f"{cores:,.1f}"] for name, cores in needed.items()]
        _table(["measurement", f"cores for {result.device_rate:,.0f} images/s"], rows, left=1)


def _print_what(result: Result) -> None:
    for name, measurement in result.measurements.items():
        console.result(f"- {name}: {measurement.what}; {measurement.device}, {len(measurement.repeats)} repeats")
    console.result("")


def _explain_shares() -> None:
    console.result(
        "Shares are from TensorFlow's trace of steps that were not timed. A moment in which several operations ran is "
        "shared equally among them; what is fused into a convolution or matrix product counts there; other includes "
        "moments in which no operation ran."
    )


def _table(columns: list[str], rows: list[list], left: int) -> None:
    console.table("", columns, rows, left=left, form="markdown")
    console.result("")


def _largest_first(shares: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda pair: -pair[1])


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.{2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0}f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _range(spread: Spread) -> str:
    return "" if spread.least == spread.most else f"{_number(spread.least)} to {_number(spread.most)}"


def _with_range(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return _number(spread.median) + (f" ({_range(spread)})" if _range(spread) else "")
