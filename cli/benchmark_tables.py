"""The tables of `alexnet benchmark`: Markdown, to paste into a report."""

from alexnet_keras.benchmarking.result import Result, Spread, changes
from alexnet_keras.cli import console
from alexnet_keras.machine import Machine


def print_result(result: Result, then: Result | None = None) -> None:
    """Print the machine, the figures, and the shares of the layers; with an earlier result, its figure next to each."""
    _print_machine(result.machine)
    for name, measurement in result.measurements.items():
        console.result(f"- {name}: {measurement.what}; {measurement.device}, {len(measurement.repeats)} repeats")
    console.result("")
    if then:
        console.result(f"then: {then.date}; now: {result.date}; ratio: now over then\n")
        head = ["measurement", "figure", "then", "now", "ratio"]
        rows = [
            [name, figure, *(_with_range(spread) for spread in change), _ratio(change.ratio)]
            for (name, figure), change in changes(then, result).items()
        ]
    else:
        head = ["measurement", "figure", "median", "least to most"]
        rows = [
            [name, figure, _number(spread.median), _range(spread)]
            for name, measurement in result.measurements.items()
            for figure, spread in measurement.figures.items()
        ]
    _table(head, rows, left=2)
    if needed := result.cores_needed:
        rows = [[name, f"{cores:,.1f}"] for name, cores in needed.items()]
        _table(["measurement", f"cores for {result.device_rate:,.0f} images/s"], rows, left=1)
    _print_shares(result, then)


def _print_shares(result: Result, then: Result | None) -> None:
    """Print each kind of layer's share of a step, the largest first."""
    head = ["measurement", "layers"]
    head += (
        ["share then", "share now", "ms then", "ms now", "ratio of ms"] if then else ["share of the step", "ms a step"]
    )
    rows = []
    for name, new in result.measurements.items():
        old = then.measurements.get(name) if then else None
        for kind, share in sorted(new.shares.items(), key=lambda pair: -pair[1]):
            before, after = old.step_ms.get(kind) if old else None, new.step_ms[kind]
            cells = [f"{share:.1%}", _number(after)]
            if then:
                shares = [_percent(old.shares.get(kind) if old else None), f"{share:.1%}"]
                cells = [*shares, _number(before), _number(after), _ratio(after / before if before else None)]
            rows.append([name, kind, *cells])
    if rows:
        _table(head, rows, left=2)
        console.result(
            "Shares are from TensorFlow's trace of steps that were not timed. A moment in which several operations ran "
            "is shared equally among them; what is fused into a convolution or matrix product counts there; other "
            "includes moments in which no operation ran."
        )


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


def _table(columns: list[str], rows: list[list], left: int) -> None:
    console.table("", columns, rows, left=left, form="markdown")
    console.result("")


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
