"""`alexnet reproduce`."""

import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import OutPath, json_option
from alexnet_keras.errors import UsageError
from alexnet_keras.storage.places import command, reproductions_root

if TYPE_CHECKING:
    from alexnet_keras.experiments.catalog import Experiment

LIST, REPORT = "list", "report"
SECTIONS = ("method", "data", "cost_full", "cost_mini")


@click.command()
@click.argument("what", metavar="[list|report|EXPERIMENT]", default=LIST)
@click.option("--data", metavar="DIR|SOURCE", help="The data it works on; `list` shows which. [default: see there]")
@click.option(
    "--pretrain",
    multiple=True,
    metavar="DIR",
    help="table-2, fall-2009: a prepared dataset of other classes to pre-train on; repeatable, in order.",
)
@click.option(
    "--scale",
    type=click.Choice(["mini", "full"]),
    default="mini",
    help="full: the paper's networks and epochs. mini: narrow networks, few epochs.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="Repetitions, for the intervals. [default: the experiment's]")
@click.option("--only", metavar="NAMES", help="Some parts of an experiment with several: names, separated by commas.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of every network. [default: the scale's]")
@click.option(
    "--precision",
    type=click.Choice(["float32", "mixed_bfloat16", "mixed_float16"]),
    default="float32",
    help="Precision of the arithmetic.",
)
@click.option("--gpus", type=click.IntRange(min=0), help="GPUs to use. [default: 1 if there is one]")
@click.option("--out", type=OutPath(file_okay=False), help="Directory of all results and networks. "
              "[default: saved_models/reproductions]")  # fmt: skip
@json_option
def reproduce(what: str, out: Path | None, as_json: bool, only: str | None, **options: Any) -> None:
    """Run a figure, a table or a claim of the paper.

    `alexnet reproduce list` shows every experiment: the paper's claim, what the lab's logs recorded, what is run and
    what it costs. A result is a directory with result.json, picture.png and page.md; `alexnet reproduce report` makes
    one page of all. An interrupted experiment resumes when the same command is run again, and networks that several
    experiments need are trained once.

    Examples:

    \b
        alexnet reproduce list
        alexnet reproduce figure-1 --data cifar10
        alexnet reproduce ablations --data imagenette --only no-lrn,no-dropout --seeds 2
        alexnet reproduce report
    """
    from alexnet_keras.experiments.catalog import EXPERIMENTS

    if what == LIST:
        _list(EXPERIMENTS.values(), as_json)
        return
    if what == REPORT:
        _report(out)
        return
    if what not in EXPERIMENTS:
        raise UsageError(f"There is no experiment {what!r}: choose {', '.join(EXPERIMENTS)}, or list or report.")
    _run(EXPERIMENTS[what], out, as_json, tuple(name.strip() for name in only.split(",")) if only else (), options)


def _list(experiments: "Iterable[Experiment]", as_json: bool) -> None:
    if as_json:
        fields = ("name", "title", "section", "claim", "log", *SECTIONS, "seeds")
        console.emit_json([{name: getattr(experiment, name) for name in fields} for experiment in experiments])
        return
    for experiment in experiments:
        console.result(f"{experiment.name}: {experiment.title} ({experiment.claimant.lower()})")
        lines = {
            "claim": experiment.claim,
            "logs": experiment.log,
            "run": experiment.method,
            "data": experiment.data,
            "cost": f"full: {experiment.cost_full}; mini: {experiment.cost_mini}; {experiment.seeds} seeds by default",
        }
        for name, text in lines.items():
            if text:
                console.result(click.wrap_text(text, 100, f"    {name:<6} ", " " * 11))
        console.result("")
    console.result("Run one: alexnet reproduce NAME --data ...")


def _report(out: Path | None) -> None:
    from alexnet_keras.experiments.results import write_report

    root = out or reproductions_root()
    path = root / "report.html"
    results = write_report(root, path)
    console.result(f"Wrote {path}: {', '.join(result.path.name for result in results)}.")


def _run(
    experiment: "Experiment", out: Path | None, as_json: bool, only: tuple[str, ...], options: dict[str, Any]
) -> None:
    if only and not experiment.parts:
        raise UsageError(f"{experiment.name} has no parts to choose from with --only.")
    if options["pretrain"] and not experiment.pretrain:
        raise UsageError(f"{experiment.name} pre-trains nothing: leave --pretrain out.")
    console.start_tensorflow()
    from alexnet_keras.experiments.lab import Lab, Options
    from alexnet_keras.experiments.results import COLUMNS, FIGURE, reproduce

    options["seeds"] = options["seeds"] or experiment.seeds
    root = out or reproductions_root()
    folder = root / f"{experiment.name}-{options['scale']}"
    lab = Lab(Options(only=only, **options), folder, console.REPORTER, root / "nets")
    with _sigterm_as_interrupt():
        result = reproduce(experiment, lab, command(*sys.argv[1:]))
    if as_json:
        console.emit_json(result.document)
        return
    console.result(result.document["summary"])
    console.table(f"{experiment.name}: {experiment.title}", list(COLUMNS), result.rows, left=len(COLUMNS))
    console.note(f"Wrote {folder}: result.json, {FIGURE}, page.md")


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Ends an experiment on SIGTERM as on Ctrl-C: what was finished is kept."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # which raises KeyboardInterrupt
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Interrupted. What was finished is kept; run the same command to resume.") from None
    finally:
        signal.signal(signal.SIGTERM, before)
