"""All results on one HTML page that needs nothing but itself."""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alexnet_keras.errors import UsageError
from alexnet_keras.experiments.catalog import EXPERIMENTS
from alexnet_keras.experiments.results import PICTURE, Result, all_results, machine_of, rows
from alexnet_keras.files import write_by_rename
from alexnet_keras.visualization.page import picture_file, render

TEMPLATE = "reproductions.html.jinja"


def write_report(root: Path, out: Path, now: datetime | None = None) -> list[Result]:
    """Writes the page; returns the results on it.

    Args:
        root: where the results are.
        now: when the page says it was written.

    Raises:
        UsageError: there is no result.
        DataError: one cannot be read.
    """
    results = all_results(root)
    if not results:
        raise UsageError(f"There is no result under {root} yet: `alexnet reproduce list` shows what can be run.")
    done = {result.experiment.name for result in results}
    page = render(
        TEMPLATE,
        {
            "results": [_shown(result) for result in results],
            "all": EXPERIMENTS,
            "missing": [experiment for name, experiment in EXPERIMENTS.items() if name not in done],
            "written": f"{now or datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "version": version("alexnet-keras"),
        },
    )
    with write_by_rename(out) as file:
        file.write_text(page, encoding="utf-8", errors="backslashreplace")
    return results


def _shown(result: Result) -> dict[str, Any]:
    return {
        "id": result.path.name,
        "experiment": result.experiment,
        "scale": {"mini": "in miniature", "full": "at full size"}[result.scale],
        "summary": result.outcome.summary,
        "rows": rows(result),
        "configuration": result.outcome.configuration,
        "picture": picture_file(result.path / PICTURE, result.experiment.title),
        "command": result.command,
        "date": result.date[:10],
        "machine": machine_of(result),
    }
