"""Results on disk: result.json, a figure, and a page in Markdown; all of them on one HTML page."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.experiments.catalog import EXPERIMENTS, Experiment
from alexnet_keras.experiments.outcome import Finding, Outcome
from alexnet_keras.reports.page import image_file, render
from alexnet_keras.runs import environment
from alexnet_keras.storage.files import locked, write_by_rename
from alexnet_keras.storage.places import reproductions_root

if TYPE_CHECKING:
    from alexnet_keras.experiments.lab import Lab

RESULT, PAGE, FIGURE = "result.json", "page.md", "picture.png"
COLUMNS = ("measured", "the paper", "the lab's log", "ours", "verdict")


@dataclass(frozen=True)
class Result:
    """An outcome, and under which circumstances it came about."""

    path: Path
    experiment: Experiment
    scale: str
    command: str
    date: str  # UTC
    machine: dict[str, Any]
    outcome: Outcome


def reproduce(experiment: Experiment, lab: "Lab", command: str) -> Result:
    """Runs an experiment, or what is left of it, and writes its result.

    Args:
        command: how the user called it, for the page.

    Raises:
        AlexNetError: another process runs it; or whatever stops it.
    """
    lab.folder.mkdir(parents=True, exist_ok=True)
    busy = f"Another process{{holder}} works in {lab.folder}: wait for it, or choose another directory with --out."
    with locked(lab.folder / "lock", busy), lab.holding:
        outcome = experiment.module.run(lab)
        machine, date = environment(), datetime.now(UTC).isoformat(timespec="seconds")
        result = Result(lab.folder, experiment, lab.request.scale, command, date, machine, outcome)
        experiment.module.draw(outcome, lab.folder / FIGURE)
        with write_by_rename(lab.folder / PAGE) as file:
            file.write_text(page(result), encoding="utf-8", errors="backslashreplace")
        with write_by_rename(lab.folder / RESULT) as file:
            file.write_text(json.dumps(to_dict(result), indent=1) + "\n", encoding="utf-8")
    return result


def to_dict(result: Result) -> dict[str, Any]:
    """What result.json holds."""
    outcome = result.outcome
    return {
        "experiment": result.experiment.name,
        "scale": result.scale,
        "command": result.command,
        "date": result.date,
        "machine": result.machine,
        "summary": outcome.summary,
        "findings": [finding.to_dict() for finding in outcome.findings],
        "configuration": list(outcome.configuration),
        "facts": outcome.facts,
    }


def read_result(folder: Path) -> Result:
    """The result in an experiment's folder.

    Raises:
        DataError: it cannot be read.
    """
    try:
        values = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        outcome = Outcome(
            values["summary"],
            tuple(Finding.from_dict(finding) for finding in values["findings"]),
            tuple(values["configuration"]),
            values["facts"],
        )
        experiment = EXPERIMENTS[values["experiment"]]
        return Result(
            folder, experiment, values["scale"], values["command"], values["date"], values["machine"], outcome
        )
    except DAMAGED as error:
        raise DataError(
            f"{folder / RESULT} is damaged ({error!r}): run the experiment again, which redoes nothing but that file."
        ) from error


def all_results(root: Path | None = None) -> list[Result]:
    """Every result under a directory, in the order of the catalogue.

    Raises:
        DataError: one cannot be read.
    """
    found = [read_result(file.parent) for file in sorted((root or reproductions_root()).glob(f"*/{RESULT}"))]
    order = list(EXPERIMENTS)
    return sorted(found, key=lambda result: (order.index(result.experiment.name), result.path.name))


def rows(result: Result) -> list[list[str]]:
    """The cells of the table under COLUMNS."""
    return [[f.what, f.claim, f.log, f.measured, f.verdict] for f in result.outcome.findings]


def machine_of(result: Result) -> str:
    """What it ran on."""
    machine = result.machine
    return f"{machine['cpus']} processors, TensorFlow {machine['tensorflow']}, Keras {machine['keras']}"


def page(result: Result) -> str:
    """The page in Markdown."""
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
        "figure": image_file(result.path / FIGURE, result.experiment.title),
        "command": result.command,
        "date": result.date[:10],
        "machine": machine_of(result),
    }
