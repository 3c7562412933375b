"""Results on disk: result.json, a figure, and a page in Markdown; all results on one HTML page."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.experiments.catalog import EXPERIMENTS, Experiment
from alexnet_keras.experiments.outcome import Comparison, Outcome
from alexnet_keras.reports.page import image_file, render
from alexnet_keras.runs import environment
from alexnet_keras.storage.documents import write_json
from alexnet_keras.storage.files import locked, write_by_rename
from alexnet_keras.storage.places import reproductions_root

if TYPE_CHECKING:
    from alexnet_keras.experiments.lab import Lab

RESULT, PAGE, FIGURE = "result.json", "page.md", "picture.png"
COLUMNS = ("measured", "the paper", "the lab's log", "ours", "verdict")


@dataclass(frozen=True)
class Result:
    """An outcome, with the circumstances of its measurement.

    Attributes:
        path: The experiment's folder.
        experiment: The entry in the catalogue.
        scale: "full" or "mini".
        command: The command that was run.
        date: When it ended, UTC, ISO 8601.
        machine: Processors and versions, as `runs.environment` reports them.
        outcome: What was measured.
    """

    path: Path
    experiment: Experiment
    scale: str
    command: str
    date: str
    machine: dict[str, Any]
    outcome: Outcome


def reproduce(experiment: Experiment, lab: "Lab", command: str) -> Result:
    """Run an experiment, or what is left of it, and write its result.

    Args:
        experiment: The experiment.
        lab: Where and how it is run.
        command: The command as the user called it, for the page.

    Raises:
        AlexNetError: Another process runs it, or the experiment failed.
    """
    lab.folder.mkdir(parents=True, exist_ok=True)
    busy = f"Another process{{holder}} works in {lab.folder}: wait for it, or choose another directory with --out."
    with locked(lab.folder / "lock", busy), lab.holding:
        outcome = experiment.module.run(lab)
        date = datetime.now(UTC).isoformat(timespec="seconds")
        result = Result(lab.folder, experiment, lab.options.scale, command, date, environment(), outcome)
        experiment.module.draw(outcome, lab.folder / FIGURE)
        _write_text(lab.folder / PAGE, page(result))
        write_json(lab.folder / RESULT, to_dict(result), indent=1)
    return result


def _write_text(path: Path, text: str) -> None:
    with write_by_rename(path) as file:
        file.write_text(text, encoding="utf-8", errors="backslashreplace")


def to_dict(result: Result) -> dict[str, Any]:
    """The result as it is in result.json."""
    outcome = result.outcome
    return {
        "experiment": result.experiment.name,
        "scale": result.scale,
        "command": result.command,
        "date": result.date,
        "machine": result.machine,
        "summary": outcome.summary,
        "findings": [row.to_dict() for row in outcome.comparisons],
        "configuration": list(outcome.configuration),
        "facts": outcome.facts,
    }


def read_result(folder: Path) -> Result:
    """Read the result in an experiment's folder.

    Raises:
        DataError: It cannot be read.
    """
    try:
        values = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        outcome = Outcome(
            values["summary"],
            tuple(Comparison.from_dict(row) for row in values["findings"]),
            tuple(values["configuration"]),
            values["facts"],
        )
        experiment = EXPERIMENTS[values["experiment"]]
        return Result(
            folder, experiment, values["scale"], values["command"], values["date"], values["machine"], outcome
        )
    except DAMAGED as error:
        raise DataError(
            f"{folder / RESULT} is damaged ({error!r}): run the experiment again, which writes that file again."
        ) from error


def all_results(root: Path | None = None) -> list[Result]:
    """All results under a directory, in the order of the catalogue.

    Args:
        root: The directory; by default that of all reproductions.

    Raises:
        DataError: One cannot be read.
    """
    results = [read_result(file.parent) for file in (root or reproductions_root()).glob(f"*/{RESULT}")]
    order = list(EXPERIMENTS)
    return sorted(results, key=lambda result: (order.index(result.experiment.name), result.path.name))


def rows(result: Result) -> list[list[str]]:
    """The cells of the table under COLUMNS."""
    return [[row.what, row.claim, row.log, row.measured, row.verdict] for row in result.outcome.comparisons]


def machine_of(result: Result) -> str:
    """The machine and the versions that a result was measured with, as text."""
    machine = result.machine
    return f"{machine['cpus']} processors, TensorFlow {machine['tensorflow']}, Keras {machine['keras']}"


def page(result: Result) -> str:
    """The page of a result in Markdown."""
    experiment = result.experiment
    lines = [
        f"# {experiment.name}: {experiment.title}",
        "",
        f"**{experiment.claimant}**: {experiment.claim}",
        "",
        *([f"**The lab's logs**: {experiment.log}", ""] if experiment.log else []),
        f"**Here** ({result.scale}): {result.outcome.summary}",
        "",
        f"![{experiment.title}]({FIGURE})",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---|---|---|---|---|",
        *("| " + " | ".join(cell.replace("|", "\\|") or "-" for cell in row) + " |" for row in rows(result)),
        "",
        "Intervals are 95 % intervals of the mean over seeds (Student's t).",
        "",
        *(f"- {line}" for line in result.outcome.configuration),
        f"- `{result.command}`, {result.date[:10]}, {machine_of(result)}",
        "",
    ]
    return "\n".join(lines)


TEMPLATE = "reproductions.html.jinja"


def write_report(root: Path, out: Path, now: datetime | None = None) -> list[Result]:
    """Write the HTML page of all results and return the results.

    Args:
        root: The directory of the results.
        out: The file to write.
        now: The time that the page gives; by default the present.

    Raises:
        UsageError: There is no result.
        DataError: A result cannot be read.
    """
    results = all_results(root)
    if not results:
        raise UsageError(f"There is no result under {root} yet: `alexnet reproduce list` shows what can be run.")
    done = {result.experiment.name for result in results}
    html = render(
        TEMPLATE,
        {
            "results": [_template_values(result) for result in results],
            "all": EXPERIMENTS,
            "missing": [experiment for name, experiment in EXPERIMENTS.items() if name not in done],
            "written": f"{now or datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "version": version("alexnet-keras"),
        },
    )
    _write_text(out, html)
    return results


def _template_values(result: Result) -> dict[str, Any]:
    return {
        "id": result.path.name,
        "experiment": result.experiment,
        "scale": {"mini": "in miniature", "full": "at full size"}[result.scale],
        "summary": result.outcome.summary,
        "rows": rows(result),
        "configuration": result.outcome.configuration,
        "figure": image_file(result.path / FIGURE, result.experiment.title),
        "command": result.command,
        "date": result.date[:10],
        "machine": machine_of(result),
    }
