"""`alexnet report`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import OutPath, chosen_run, data_of_run, json_option, run_argument, run_data_option
from alexnet_keras.errors import DataError, UsageError

if TYPE_CHECKING:
    from alexnet_keras.data.dataset import PreparedDataset
    from alexnet_keras.evaluation.predictions import Predictions
    from alexnet_keras.runs import Run

PARTS = ("curves", "kernels", "towers", "predictions", "neighbors", "classes", "calibration")


@click.command()
@run_argument
@run_data_option
@click.option("--split", metavar="NAME", default="val", help="Split that the run is evaluated on.")
@click.option(
    "--out",
    type=OutPath(dir_okay=False),
    metavar="FILE",
    help="File to write.  [default: report.html in the run]",
)
@click.option(
    "--ten-crop/--no-ten-crop",
    default=True,
    help="Compute the errors over ten crops, too; if not, they are shown where they were evaluated before.",
)
@click.option(
    "--without",
    type=click.Choice(PARTS),
    multiple=True,
    help="Leave a part out; repeatable. neighbors reads the whole training split, which of a large set takes long.",
)
@json_option
def report(
    run: str | None,
    data: str | None,
    split: str,
    out: Path | None,
    ten_crop: bool,
    without: tuple[str, ...],
    as_json: bool,
) -> None:
    """All that there is to see and to know of a run, as one HTML page that needs no network.

    What was trained on what, curves, errors beside the paper's, kernels, towers, predictions, neighbours, the worst
    classes, calibration, recipe, environment, and the commands that reproduce it. Errors that were evaluated before
    are not computed again. Where the dataset is not there any more, the page says what it lacks.

    \b
    Examples:
      alexnet report
      alexnet report my-run --without neighbors --out my-run.html
    """
    run = chosen_run(run)
    run.path_of_model()  # which a run without an epoch lacks, so that it is said before anything takes time
    dataset, problem = _dataset(run, data)
    fingerprint = dataset.fingerprint if dataset else run.facts["data"]["fingerprint"]
    views = {"centre": dataset is not None, "ten-crop": dataset is not None and ten_crop}
    from alexnet_keras.evaluation.predictions import kept_predictions, predictions_of

    found: dict[str, Predictions | None] = {
        name: predictions_of(run, dataset, split, name, reporter=console.TENSORFLOW_REPORTER)
        for name in views
        if dataset and views[name]
    }
    console.start_tensorflow()
    from alexnet_keras.reports.model_card import write_model_card
    from alexnet_keras.reports.run_report import Evaluated, find_neighborhoods, write_report

    for name in views:
        found[name] = found.get(name) or kept_predictions(run, fingerprint, split, name)
    model, neighborhoods = run.load_model(), []
    if dataset and "neighbors" not in without:
        with console.progress("searching", dataset.examples("train")) as advance:
            neighborhoods = find_neighborhoods(model, dataset, split, advance)
    write_model_card(run)
    path = out or run.report_path
    with console.progress("drawing", len(PARTS) - len(set(without)), "parts") as advance:
        missing = write_report(
            run,
            Evaluated(split, dataset, found["centre"], found["ten-crop"], problem),
            model,
            path,
            neighborhoods=neighborhoods,
            without=without,
            on_part=advance,
        )
    if as_json:
        parts = [name for name in PARTS if name not in {*missing, *without}]
        console.emit_json({"run": str(run.path), "report": str(path), "parts": parts, "missing": missing})
        return
    left_out = f", without {', '.join(missing)}" if missing else ""
    console.result(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB){left_out}")


def _dataset(run: "Run", data: str | None) -> "tuple[PreparedDataset | None, str]":
    """The dataset, or None and why there is none. One that is named has to be there."""
    try:
        return data_of_run(run, data), ""
    except (UsageError, DataError) as error:
        if data is not None:
            raise
        console.warn(f"{error} What needs the dataset is left out.")
        return None, str(error)
