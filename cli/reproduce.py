"""`alexnet reproduce`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import OutPath, experiment_names, json_option, refuse_given
from alexnet_keras.data import CACHES
from alexnet_keras.errors import UsageError
from alexnet_keras.storage.places import command, reproductions_root
from alexnet_keras.training import PRECISIONS

if TYPE_CHECKING:
    from alexnet_keras.experiments.catalog import Experiment

LIST, REPORT = "list", "report"
SECTIONS = ("method", "data", "cost_full", "cost_photos", "cost_mini")


class ReproduceCommand(click.Command):
    """Its help also says what an experiment that is named before --help does and costs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.obj = next(iter(args), None)  # --help is carried out before arguments are known
        return super().parse_args(ctx, args)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from alexnet_keras.experiments.catalog import EXPERIMENTS

        super().format_help_text(ctx, formatter)
        if experiment := EXPERIMENTS.get(ctx.obj):
            formatter.write_paragraph()
            formatter.write_text(_heading(experiment))
            with formatter.indentation():
                formatter.write_dl(list(_details(experiment).items()))


@click.command(cls=ReproduceCommand)
@click.argument("what", metavar="[list|report|EXPERIMENT]", default=LIST, shell_complete=experiment_names)
@click.argument("named", metavar="[EXPERIMENT]", required=False, shell_complete=experiment_names)
@click.option("--data", metavar="DIR|SOURCE", help="The data it works on. [default: see NAME --help]")
@click.option(
    "--pretrain",
    multiple=True,
    metavar="DIR",
    help="table-2, fall-2009: a prepared dataset of other classes to pre-train on; repeatable, in order.",
)
@click.option(
    "--scale",
    type=click.Choice(["mini", "photos", "full"]),
    default="mini",
    help="mini: narrow networks, few epochs. photos: the paper's networks, a third of its epochs. full: all of them. "
    "figure-1 and figure-2 have one scale.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="Repetitions, for the intervals. [default: the experiment's]")
@click.option(
    "--only",
    metavar="NAMES",
    callback=lambda ctx, param, names: () if names is None else tuple(name.strip() for name in names.split(",")),
    help="Some parts of an experiment with several: names, separated by commas.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of every network. [default: the scale's]")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="float32",
    help="Precision of the arithmetic; mixed_float16 not in figure-1, cifar-lrn and initialisation.",
)
@click.option("--gpus", type=click.IntRange(min=0), help="GPUs to use. [default: 1 if there is one]")
@click.option(
    "--cache",
    type=click.Choice(CACHES),
    help="Keep decoded training images in memory, or on disk for later networks, too. [default: nowhere]",
)
@click.option("--out", type=OutPath(file_okay=False), help="Directory of all results and networks. "
              "[default: saved_models/reproductions]")  # fmt: skip
@json_option
def reproduce(what: str, named: str | None, out: Path | None, as_json: bool, **options: Any) -> None:
    """Run a figure, a table or a claim of the paper.

    `alexnet reproduce list` shows every experiment, `alexnet reproduce NAME --help` one of them: the paper's claim,
    what the lab's logs recorded, what is run and what it costs. A result is a directory with result.json, picture.png
    and page.md; `alexnet reproduce report` makes one page of all. An interrupted experiment resumes when the same
    command is run again, and networks that several experiments need are trained once.

    Examples:

    \b
        alexnet reproduce list
        alexnet reproduce figure-1 --help
        alexnet reproduce figure-1
        alexnet reproduce ablations --only no-lrn,no-dropout --seeds 2
        alexnet reproduce modern --scale photos --precision mixed_bfloat16
        alexnet reproduce report
    """
    from alexnet_keras.experiments.catalog import EXPERIMENTS

    for name, choices in ((what, [*EXPERIMENTS, LIST, REPORT]), (named, [*EXPERIMENTS])):
        if name is not None and name not in choices:
            raise UsageError(f"There is no experiment {name!r}: choose {', '.join(choices)}.")
    if named and what != LIST:
        raise UsageError(f"Name one experiment at a time: {what} or {named}.")
    if what in (LIST, REPORT):
        refuse_given((*options, *(["out"] if what == LIST else [])), f"is for experiments, not for {what}")
    if what == LIST:
        _list([EXPERIMENTS[named]] if named else list(EXPERIMENTS.values()), as_json)
    elif what == REPORT:
        _report(out, as_json)
    else:
        _run(EXPERIMENTS[what], out, as_json, options)


def _list(experiments: "list[Experiment]", as_json: bool) -> None:
    if as_json:
        fields = ("name", "title", "section", "claim", "log", *SECTIONS, "seeds")
        console.emit_json([{name: getattr(experiment, name) for name in fields} for experiment in experiments])
        return
    if len(experiments) > 1:
        rows = [[each.name, each.title, each.section, each.cost_mini] for each in experiments]
        columns = ["experiment", "what it is", "paper", "cost in miniature"]
        console.table("Experiments", columns, rows, left=4, optional=[columns[3], columns[2]], one_line=True)
        console.result("What one does and costs: alexnet reproduce NAME --help")
        return
    for experiment in experiments:
        console.result(_heading(experiment))
        for name, text in _details(experiment).items():
            console.result(click.wrap_text(text, 100, f"    {name:<6} ", " " * 11))


def _heading(experiment: "Experiment") -> str:
    return f"{experiment.name}: {experiment.title} ({experiment.claimant.lower()})"


def _details(experiment: "Experiment") -> dict[str, str]:
    """The claim, the logs, what is run, the data and the cost of an experiment, each under its name."""
    costs = (
        f"mini: {experiment.cost_mini}; photos: {experiment.cost_photos}; full: {experiment.cost_full}; "
        f"{experiment.seeds} seeds by default"
    )
    lines = {"claim": experiment.claim, "logs": experiment.log, "run": experiment.method, "data": experiment.data}
    return {name: text for name, text in {**lines, "cost": costs}.items() if text}


def _report(out: Path | None, as_json: bool) -> None:
    console.start_tensorflow(keras=False)
    from alexnet_keras.experiments.results import write_report

    root = out or reproductions_root()
    path = root / "report.html"
    results = write_report(root, path)
    if as_json:
        console.emit_json({"report": str(path), "results": [str(result.path) for result in results]})
        return
    console.result(f"Wrote {path}: {', '.join(result.path.name for result in results)}.")


def _run(experiment: "Experiment", out: Path | None, as_json: bool, options: dict[str, Any]) -> None:
    refuse_given(experiment.unused, f"changes nothing in {experiment.name}: leave it out")
    if options["precision"] == "mixed_float16" and not experiment.float16:
        raise UsageError(
            f"{experiment.name} does not scale the loss, as mixed_float16 needs: choose float32 or mixed_bfloat16."
        )
    console.start_tensorflow(gpus=None)
    from alexnet_keras.experiments.lab import Lab, Options
    from alexnet_keras.experiments.results import FIGURE, reproduce

    options["seeds"] = options["seeds"] or experiment.seeds
    root = out or reproductions_root()
    folder = root / f"{experiment.name}-{options['scale']}"
    lab = Lab(Options(**options), folder, console.REPORTER, root / "nets")
    try:
        result = reproduce(experiment, lab, command(*sys.argv[1:]))
    except KeyboardInterrupt:  # of a training, too, which would say how to resume that alone
        raise KeyboardInterrupt("Interrupted. What was finished is kept; run the same command to resume.") from None
    if as_json:
        console.emit_json(result.document)
        return
    console.result(result.document["summary"])
    console.table(f"{experiment.name}: {experiment.title}", list(result.columns), result.rows, left=len(result.columns))
    console.note(f"Wrote {folder}: result.json, {FIGURE}, page.md")
