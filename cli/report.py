"""`alexnet report`."""

from pathlib import Path

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import OutPath, chosen_run, data_if_there, json_option, run_argument, run_data_option

PARTS = ("kernels", "predictions", "neighbors", "curves", "classes", "calibration", "towers", "architecture")


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
    help="Also compute the errors over ten crops; otherwise they are shown where they were evaluated before.",
)
@click.option(
    "--without",
    type=click.Choice(PARTS),
    metavar="PART",
    multiple=True,
    help=f"Leave a part out; repeatable: {', '.join(PARTS)}. neighbors reads the whole training split, which takes "
    "long for a large one.",
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
    """Put everything about a run on one HTML page.

    The page needs no network: the run and its data, curves, errors next to the paper's, kernels, towers,
    predictions, neighbours, the worst classes, calibration, recipe, environment, and the commands that reproduce
    it. Errors that were evaluated before are not computed again. Without the dataset the page says which parts are
    missing.

    Examples:

    \b
        alexnet report
        alexnet report my-run --without neighbors --out my-run.html
    """
    found = chosen_run(run)
    found.path_of_model()  # raises at once where there is no epoch yet
    path = found.place(out, found.report_path)
    dataset, problem = data_if_there(found, data, "What needs the dataset is left out.")
    console.start_tensorflow()
    from alexnet_keras.reports.model_card import write_model_card
    from alexnet_keras.reports.run_report import write_report

    missing = write_report(
        found,
        dataset,
        path,
        split=split,
        ten_crop=ten_crop,
        without=without,
        problem=problem,
        reporter=console.REPORTER,
    )
    write_model_card(found, console.REPORTER)
    if as_json:
        parts = [name for name in PARTS if name not in {*missing, *without}]
        console.emit_json({"run": str(found.path), "report": str(path), "parts": parts, "missing": missing})
        return
    left_out = f", without {', '.join(missing)}" if missing else ""
    console.result(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB){left_out}")
