"""What the benchmarks print: rates as a Markdown table, and ratios within rounds."""

import statistics


def rate_table(rates: dict[str, list[float]], what: str) -> list[str]:
    """Lines of a table: for each name the median of its rates, images per second, and their range over the rounds."""
    return [
        f"| {what} | images/s, median | slowest to fastest round |",
        "|---|---|---|",
        *(f"| {name} | {statistics.median(r):.1f} | {min(r):.1f} to {max(r):.1f} |" for name, r in rates.items()),
        "",
    ]


def ratio_line(name: str, ours: list[float], theirs: list[float]) -> str:
    """The ratio to another, which means something only within a round: the median and every round's."""
    ratios = [mine / yours for mine, yours in zip(ours, theirs, strict=True)]
    listed = ", ".join(f"{ratio:.3g}" for ratio in ratios)
    return f"ratio to {name}: median {statistics.median(ratios):.3g} (rounds: {listed})"
