"""Results on disk: result.json, a figure, and a page in Markdown; all results on one HTML page."""

import hashlib
import json
import shutil
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.experiments.catalog import EXPERIMENTS, Experiment
from alexnet_keras.experiments.outcome import Comparison
from alexnet_keras.machine import environment, this_machine
from alexnet_keras.reports.page import image_file, render
from alexnet_keras.storage.files import write_by_rename, write_directory_by_rename
from alexnet_keras.storage.locks import locked
from alexnet_keras.visualization.style import own_style

if TYPE_CHECKING:
    from alexnet_keras.experiments.lab import Lab

RESULT, PAGE, FIGURE = "result.json", "page.md", "picture.png"
TEMPLATE = "reproductions.html.jinja"
SCALES = {"mini": "in miniature", "photos": "at full width, for a third of the epochs", "full": "at full size"}


@dataclass(frozen=True)
class Result:
    """The result of an experiment.

    Attributes:
        path: The experiment's folder.
        document: The content of result.json: "experiment", its name; "scale"; "command"; "date", when it ended, UTC;
            "settings", as `Lab.settings` has them; "machine", as `machine.environment` reports it, with its
            "processor"; "summary", "findings" (the comparisons), "configuration" and "facts" of its outcome.
    """

    path: Path
    document: dict[str, Any]

    @property
    def experiment(self) -> Experiment:
        """The entry in the catalogue."""
        return EXPERIMENTS[self.document["experiment"]]

    @property
    def columns(self) -> tuple[str, ...]:
        """The heads of the table's columns."""
        return "measured", self.experiment.claim_column, "the lab's log", "ours", "verdict"

    @cached_property
    def rows(self) -> list[list[str]]:
        """The cells of the table."""
        rows = [Comparison.from_dict(row) for row in self.document["findings"]]
        return [[row.what, row.claim, row.log, row.measured, row.verdict] for row in rows]

    @property
    def machine(self) -> str:
        """The machine and the versions that it was measured with, as text."""
        machine = self.document["machine"]
        processor = f" ({machine['processor']})" if "processor" in machine else ""  # version 0.1 did not record it
        return f"{machine['cpus']} processors{processor}, TensorFlow {machine['tensorflow']}, Keras {machine['keras']}"


def reproduce(experiment: Experiment, lab: "Lab", command: str) -> Result:
    """Run an experiment, or what is left of it, and write its result; the page has the command as the user called it.

    Raises:
        AlexNetError: Another process runs it, or the experiment failed.
    """
    lab.folder.mkdir(parents=True, exist_ok=True)
    busy = f"Another process{{holder}} works in {lab.folder}: wait for it, or choose another directory with --out."
    with locked(lab.folder / "lock", busy), lab.holding:
        outcome = experiment.module.run(lab)
        document = {
            "experiment": experiment.name,
            "scale": lab.options.scale,
            "command": command,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "settings": json.loads(json.dumps(lab.settings)),
            "machine": {**environment(), "processor": this_machine().processor},
            "summary": outcome.summary,
            "findings": [row.to_dict() for row in outcome.comparisons],
            "configuration": list(outcome.configuration),
            "facts": outcome.facts,
        }
        result = Result(lab.folder, document)
        if (kept := _keep_other(result)) is not None:
            lab.reporter.note(f"The older result, of other data or options, is kept in {kept}.")
        with ExitStack() as together:  # none is there before all are whole
            figure, text, numbers = (
                together.enter_context(write_by_rename(lab.folder / name)) for name in (FIGURE, PAGE, RESULT)
            )
            with own_style():
                experiment.module.draw(outcome, figure)
            text.write_text(page(result), encoding="utf-8", errors="backslashreplace")
            numbers.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return result


def _keep_other(result: Result) -> Path | None:
    """Copy the result that another is about to replace into a folder of its own, unless the other one has all of it.

    Returns:
        The folder, beside that of the result; None if there was nothing to keep.
    """
    try:
        older = read_result(result.path).document
    except DataError:
        return None  # there is none, or it is damaged
    if _includes(result.document["settings"], older.get("settings")):
        return None
    digest = hashlib.sha256(json.dumps(older, sort_keys=True).encode()).hexdigest()[:6]
    folder = result.path.with_name(f"{result.path.name}-{digest}")
    with write_directory_by_rename(folder, replacing=True) as made:
        for name in (FIGURE, PAGE, RESULT):
            with suppress(FileNotFoundError):  # a result may have been copied without it
                shutil.copy2(result.path / name, made / name)
    return folder


def _includes(settings: dict[str, Any], older: dict[str, Any] | None) -> bool:
    """True if a result with some settings has all of one with others: as many seeds, and the same parts, or more."""
    if older is None:  # version 0.1 did not record them
        return False
    same = {name: settings[name] for name in settings if name not in ("seeds", "only")}
    parts = not settings["only"] or (bool(older["only"]) and set(older["only"]) <= set(settings["only"]))
    return same == {name: older.get(name) for name in same} and settings["seeds"] >= older["seeds"] and parts


def _write_text(path: Path, text: str) -> None:
    with write_by_rename(path) as file:
        file.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_result(folder: Path) -> Result:
    """Read the result in an experiment's folder.

    Raises:
        DataError: It cannot be read.
    """
    try:
        result = Result(folder, json.loads((folder / RESULT).read_text(encoding="utf-8")))
        page(result)  # fails where something is missing, as this does where the scale is none
        SCALES[result.document["scale"]]
    except DAMAGED as error:
        raise DataError(
            f"{folder / RESULT} is damaged ({error!r}): run the experiment again, which writes that file again."
        ) from error
    return result


def page(result: Result) -> str:
    """The page of a result in Markdown."""
    experiment, document = result.experiment, result.document
    lines = [
        f"# {experiment.name}: {experiment.title}",
        "",
        f"**{experiment.claimant}**: {experiment.claim}",
        "",
        *([f"**The lab's logs**: {experiment.log}", ""] if experiment.log else []),
        f"**Here** ({document['scale']}): {document['summary']}",
        "",
        f"![{experiment.title}]({FIGURE})",
        "",
        *table(result),
        "",
        "Intervals are 95 % intervals of the mean over seeds (Student's t). McNemar's exact test compares the networks "
        "of one seed on the same images; it speaks of these networks, not of other seeds.",
        "",
        *(f"- {line}" for line in document["configuration"]),
        f"- `{document['command']}`, {document['date'][:10]}, {result.machine}",
        "",
    ]
    return "\n".join(lines)


def table(result: Result) -> list[str]:
    """The table of a result in Markdown, by lines."""
    return [
        "| " + " | ".join(result.columns) + " |",
        "|---|---|---|---|---|",
        *("| " + " | ".join(cell.replace("|", "\\|") or "-" for cell in row) + " |" for row in result.rows),
    ]


def write_report(root: Path, out: Path, now: datetime | None = None) -> list[Result]:
    """Write the HTML page of all results under a directory, and return them in the order of the catalogue.

    Raises:
        UsageError: There is no result.
        DataError: A result cannot be read.
    """
    results = [read_result(file.parent) for file in root.glob(f"*/{RESULT}")]
    if not results:
        raise UsageError(f"There is no result under {root} yet: `alexnet reproduce list` shows what can be run.")
    order = list(EXPERIMENTS)
    results.sort(key=lambda result: (order.index(result.experiment.name), result.path.name))
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
    figure = None
    with suppress(OSError):  # a result may have been copied without it; the page says so
        figure = image_file(result.path / FIGURE, result.experiment.title)
    return result.document | {
        "id": result.path.name,
        "experiment": result.experiment,
        "scale": SCALES[result.document["scale"]],
        "rows": result.rows,
        "figure": figure,
        "date": result.document["date"][:10],
        "machine": result.machine,
    }
