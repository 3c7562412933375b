"""`alexnet eval`."""

from pathlib import Path
from typing import Literal

import click
import cloup

from alexnet_keras.cli import console
from alexnet_keras.cli.options import OutPath, chosen_run, data_names, refuse_given, runs_argument, section
from alexnet_keras.storage.places import runs_root

WORST = 5  # classes, and pairs of classes, that are printed; the JSON file has more
CSV_COLUMNS = ("run", "model", "data", "split", "views", "images", "classes", "loss")
LAST = " (last)"  # after the name of a run whose last model was evaluated
RESULT_COLUMNS = ("run", "views", "images", "top-1 error", "top-5 error", "loss")
input_option, ensemble_option, output_option = map(section, ("Model and data", "Several runs as one", "Output"))


@click.command("eval", cls=cloup.Command)
@runs_argument
@input_option(
    "--data",
    metavar="DIR",
    shell_complete=data_names,
    help="Prepared dataset, by name under data/ or by path. [default: what the run was trained on]",
)
@input_option(
    "--split",
    metavar="NAME",
    help="Split to evaluate on. [default: val; with --ensemble search, test if there is one]",
)
@input_option("--ten-crop", is_flag=True, help="Also average over ten crops: corners, centre and their mirror images.")
@input_option(
    "--model", "which", type=click.Choice(["best", "last"]), default="best", help="Model of the run to evaluate."
)
@ensemble_option(
    "--ensemble",
    type=click.Choice(["mean", "search"]),
    help="Also average the runs' probabilities, with --ten-crop those of ten crops: plainly, or with weights searched "
    "for the lowest top-5 error.",
)
@ensemble_option(
    "--search-on",
    metavar="NAME",
    default="val",
    help="Split on which the weights are searched; where that is --split too, one half of it serves for each.",
)
@output_option(
    "--submission",
    type=OutPath(dir_okay=False),
    help="Also write the five likeliest classes of each image as ILSVRC's servers read them.",
)
@output_option("--json", "form", flag_value="json", help="Print the results as JSON.")
@output_option("--csv", "form", flag_value="csv", help="Print the table as CSV.")
@output_option("--markdown", "form", flag_value="markdown", help="Print the table as Markdown.")
def evaluate(
    runs: tuple[str, ...],
    data: str | None,
    split: str | None,
    ten_crop: bool,
    which: str,
    ensemble: Literal["mean", "search"] | None,
    search_on: str,
    submission: Path | None,
    form: str | None,
) -> None:
    """Compute the top-1 and top-5 error of runs.

    Errors have 95 % intervals. Without RUN, the latest run. Each run keeps its predictions and results in
    evaluations/, so that nothing is computed twice: tables and ensembles of runs that were evaluated take seconds.

    Examples:

    \b
        alexnet eval
        alexnet eval my-run --ten-crop
        alexnet eval run-1 run-2 --ten-crop --markdown
        alexnet eval run-1 run-2 run-3 --ensemble search
    """
    from alexnet_keras.evaluation.evaluate import evaluate_runs
    from alexnet_keras.reports.model_card import write_model_card

    if ensemble != "search":
        refuse_given(("search_on",), "goes with --ensemble search")
    evaluated = evaluate_runs(
        [chosen_run(name) for name in runs or (None,)],
        data,
        split=split,
        views=("centre", "ten-crop") if ten_crop else ("centre",),
        which=which,
        ensemble=ensemble,
        search_on=search_on,
        submission=submission,
        reporter=console.TENSORFLOW_REPORTER,
    )
    results, combined = evaluated.results, evaluated.ensemble.results if evaluated.ensemble else []
    # members on the same images are among the results
    more = [each for each in combined if "ensemble" in each or each["split"] not in {own["split"] for own in results}]
    if form == "json":
        console.emit_json(results + more)
    elif form == "csv":
        _print_csv(results + more)
    elif combined:
        if other_views := [each for each in results if each["views"] != combined[0]["views"]]:
            _print(other_views, evaluated.titles, form)
            console.result("")
        _print_ensemble(combined, form)
    else:
        _print(results, evaluated.titles, form)
    for run, predictions in zip(evaluated.runs, evaluated.predictions, strict=True):
        write_model_card(run, console.REPORTER)
        kept = f"Wrote {predictions.path}" if run.is_writable else f"Kept nothing: {run.path} cannot be written."
        console.note(kept)
    if submission:
        console.note(f"Wrote {submission}")


def _print(results: list[dict], titles: dict[str, str], form: str | None) -> None:
    data = list(dict.fromkeys(f"{result['data']} {result['split']}" for result in results))
    several = ["data"] * (len(data) > 1)
    runs = {result["run"] for result in results}
    names = {run: Path(run).name if form is None and Path(run).parent == runs_root() else run for run in runs}
    rows = [
        [
            names[result["run"]] + LAST * (result["model"] == "last"),
            *(f"{Path(result['data']).name} {result['split']}" for _ in several),
            result["views"],
            result["images"],
            _with_interval(result["top1"]),
            _with_interval(result["top5"]) if result["classes"] > 5 else "-",
            f"{result['loss']:.4f}",
        ]
        for result in results
    ]
    first, *others = RESULT_COLUMNS
    columns = [first, *several, *others]
    title = f"Error on {', '.join(data)} (95 % interval)"
    console.table(title, columns, rows, 2 + len(several), form, ("images", "loss"))
    if form:
        return
    if few := [result["classes"] for result in results if result["classes"] <= 5]:
        console.result(f"No top-5 error: with {few[0]} classes the right one is always among five.")
    if len(runs) == 1:
        _print_details(results[-1], titles)


def _print_csv(results: list[dict]) -> None:
    """Print the table as numbers: errors and the ends of their intervals in 0..1; cells without one are empty."""
    ends = [(kind, end) for kind in ("top1", "top5") for end in ("error", "low", "high")]
    columns = [*CSV_COLUMNS, *(f"{kind}_{end}" for kind, end in ends)]
    rows = [
        [*(result[name] for name in CSV_COLUMNS), *(result[kind][end] if result[kind] else "" for kind, end in ends)]
        for result in results
    ]
    console.table("", columns, rows, form="csv")


def _print_details(result: dict, titles: dict[str, str]) -> None:
    """Print the worst classes, the worst pairs, and the calibration of the probabilities."""
    worst = sorted(result["by_class"], key=lambda errors: (-errors["top1"]["error"], -errors["images"]))[:WORST]
    console.table(
        f"Worst classes, {result['views']}",
        ["class", "images", "top-1 error"],
        [[titles[errors["label"]], errors["images"], _with_interval(errors["top1"])] for errors in worst],
    )
    if result["confusions"]:
        console.table(
            "Most confused",
            ["class", "taken for", "images", "of the class"],
            [
                [titles[pair["label"]], titles[pair["guess"]], pair["images"], f"{pair['share']:.1%}"]
                for pair in result["confusions"][:WORST]
            ],
            left=2,
        )
    points = 100 * result["calibration"]["expected_error"]
    console.result(f"Calibration: confidence and accuracy differ by {points:.1f} points on average (ECE, 15 bins).")


def _print_ensemble(results: list[dict], form: str | None) -> None:
    """Print the errors as the paper's table 2 does: a row for each model, columns for each set of images."""
    first, sets = results[0], list(dict.fromkeys(result["split"] for result in results))
    kinds = {"top1": "top-1", "top5": "top-5"} if first["classes"] > 5 else {"top1": "top-1"}
    rows: dict[str, dict[str, dict]] = {}
    for result in results:
        rows.setdefault(result["run"], {})[result["split"]] = result
    console.table(
        f"Error on {first['data']}, {first['views']}{', last models' * (first['model'] == 'last')} (95 % interval)",
        ["model", *(f"{title} ({where})" for where in sets for title in kinds.values())],
        [[name, *(_with_interval(row[where][kind]) for where in sets for kind in kinds)] for name, row in rows.items()],
        form=form,
    )
    if not form:
        for how, weights in {each["ensemble"]: each["weights"] for each in results if "ensemble" in each}.items():
            console.result(f"{how}: " + ", ".join(f"{share:.3g} {name}" for name, share in weights.items()))


def _with_interval(rate: dict[str, float]) -> str:
    return f"{rate['error']:.2%} ({100 * rate['low']:.2f}–{100 * rate['high']:.2f})"
