"""`alexnet eval`."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import (
    OutPath,
    SectionedCommand,
    SectionOption,
    chosen_run,
    data_names,
    data_of_run,
    run_names,
)
from alexnet_keras.cli.predictions import predictions_with_progress
from alexnet_keras.errors import UsageError

if TYPE_CHECKING:
    from alexnet_keras.evaluation.predictions import Predictions
    from alexnet_keras.runs import Run

WORST = 5  # classes, and pairs of classes, that are printed; the JSON file has more
CONFUSIONS_KEPT = 100
CSV_COLUMNS = ("run", "data", "split", "views", "images", "classes", "loss")
RESULT_COLUMNS = ("run", "views", "images", "top-1 error", "top-5 error", "loss")


def _option(*names: str, section: str, **settings: Any) -> Callable:
    return click.option(*names, cls=SectionOption, section=section, **settings)


@click.command("eval", cls=SectionedCommand)
@click.argument("runs", nargs=-1, metavar="[RUN]...", shell_complete=run_names)
@_option(
    "--data",
    metavar="DIR",
    shell_complete=data_names,
    section="What is evaluated on what",
    help="Prepared dataset, by name under data/ or by path. [default: what the run was trained on]",
)
@_option(
    "--split",
    metavar="NAME",
    section="What is evaluated on what",
    help="Split to evaluate on. [default: val; with --ensemble search, test if there is one]",
)
@_option(
    "--ten-crop",
    is_flag=True,
    section="What is evaluated on what",
    help="Also average over ten crops: corners, centre and their mirror images.",
)
@_option(
    "--model",
    "which",
    type=click.Choice(["best", "last"]),
    default="best",
    section="What is evaluated on what",
    help="Which model of the run.",
)
@_option(
    "--ensemble",
    type=click.Choice(["mean", "search"]),
    section="Several runs as one",
    help="Also average the runs' probabilities: plainly, or with weights searched for the lowest top-5 error.",
)
@_option(
    "--search-on",
    metavar="NAME",
    default="val",
    section="Several runs as one",
    help="Split on which the weights are searched; where that is --split too, one half of it serves for each.",
)
@_option(
    "--submission",
    type=OutPath(dir_okay=False),
    section="What is written",
    help="Also write the five likeliest classes of each image as ILSVRC's servers read them.",
)
@_option("--json", "form", flag_value="json", section="What is written", help="Print the results as JSON.")
@_option("--csv", "form", flag_value="csv", section="What is written", help="Print the table as CSV.")
@_option("--markdown", "form", flag_value="markdown", section="What is written", help="Print the table as Markdown.")
def evaluate(
    runs: tuple[str, ...],
    data: str | None,
    split: str | None,
    ten_crop: bool,
    which: str,
    ensemble: str | None,
    search_on: str,
    submission: Path | None,
    form: str | None,
) -> None:
    """Top-1 and top-5 error of runs, with 95 % intervals.

    Without RUN, the latest run. Each run keeps its predictions and results in evaluations/, so that nothing is
    computed twice: tables and ensembles of runs that were evaluated take seconds.

    \b
    Examples:
      alexnet eval
      alexnet eval my-run --ten-crop
      alexnet eval run-1 run-2 --ten-crop --markdown
      alexnet eval run-1 run-2 run-3 --ensemble search
    """
    from alexnet_keras.evaluation.analysis import check_can_submit, write_submission
    from alexnet_keras.reports.model_card import write_model_card

    chosen = [chosen_run(name) for name in runs or (None,)]
    if ensemble and len({run.path.resolve() for run in chosen}) < max(2, len(chosen)):
        raise UsageError("An ensemble has at least two members, each once: name two different runs or more.")
    if submission and len(chosen) > 1 and not ensemble:
        raise UsageError("--submission is written for one run, or for an --ensemble of several.")
    # of an ensemble all members see the same images, the first one's
    datasets = [data_of_run(run, data or (chosen[0].data_path if ensemble else None)) for run in chosen]
    if split is None:
        split = "test" if ensemble == "search" and "test" in datasets[0].splits else "val"
    if submission:
        check_can_submit(datasets[0].ids)
    results, finest = [], []
    for views in ("centre", "ten-crop") if ten_crop else ("centre",):
        finest = [
            predictions_with_progress(run, dataset, split, views, which)
            for run, dataset in zip(chosen, datasets, strict=True)
        ]
        results += [_single(run, found, which) for run, found in zip(chosen, finest, strict=True)]
    combined = None
    together: list[dict[str, Any]] = []
    if ensemble:
        from alexnet_keras.cli.evaluate_ensemble import combine

        def predictions_on(other: str) -> list:
            return [
                predictions_with_progress(run, datasets[0], other, finest[0].facts["views"], which) for run in chosen
            ]

        combined, together = combine(ensemble, finest, search_on, predictions_on)
    if submission:
        top = combined.top if combined else finest[0].summary.top
        write_submission(submission, top, finest[0].filenames, datasets[0].ids)
    if form == "json":
        console.emit_json(results + together)
    elif form == "csv":
        _print_csv(results + together)
    elif ensemble:
        from alexnet_keras.cli.evaluate_ensemble import print_table

        print_table(together, form, _with_interval)
    else:
        _print(results, dict(zip(datasets[0].classes, datasets[0].titles, strict=True)), form)
    for run, found in zip(chosen, finest, strict=True):
        if run.is_writable:
            write_model_card(run)
            console.note(f"Wrote {found.path}")
        else:
            console.note(f"Kept nothing: {run.path} cannot be written.")
    if submission:
        console.note(f"Wrote {submission}")


def _single(run: "Run", predictions: "Predictions", which: str) -> dict:
    """The result of one run, which the run keeps."""
    from alexnet_keras.evaluation.analysis import Outcomes

    facts, outcomes = predictions.facts, Outcomes.of(predictions)
    classes = run.facts["classes"]
    result = {
        "run": str(run.path),
        "model": which,
        "data": facts["data"],
        "data_fingerprint": facts["data_fingerprint"],
        **predictions.evaluation().to_dict(),
        "calibration": asdict(outcomes.calibration()),
        "confusions": [
            {**asdict(pair), "label": classes[pair.label], "guess": classes[pair.guess]}
            for pair in outcomes.confusions(CONFUSIONS_KEPT)
        ],
        "by_class": [{**asdict(errors), "label": classes[errors.label]} for errors in outcomes.by_class()],
    }
    if run.is_writable:
        run.write_evaluation(predictions.path.name, result)
    return result


def _print(results: list[dict], titles: dict[str, str], form: str | None) -> None:
    data = ", ".join(dict.fromkeys(f"{result['data']} {result['split']}" for result in results))
    rows = [
        [
            result["run"],
            result["views"],
            result["images"],
            _with_interval(result["top1"]),
            _with_interval(result["top5"]) if result["classes"] > 5 else "-",
            f"{result['loss']:.4f}",
        ]
        for result in results
    ]
    console.table(f"Error on {data} (95 % interval)", list(RESULT_COLUMNS), rows, left=2, form=form)
    if form:
        return
    if any(result["classes"] <= 5 for result in results):
        console.result(f"No top-5 error: with {results[0]['classes']} classes the right one is always among five.")
    if len({result["run"] for result in results}) == 1:
        _print_details(results[-1], titles)


def _print_csv(results: list[dict]) -> None:
    """The table as numbers: errors and the ends of their intervals in 0..1."""
    ends = [(kind, end) for kind in ("top1", "top5") for end in ("error", "low", "high")]
    columns = [*CSV_COLUMNS, *(f"{kind}_{end}" for kind, end in ends)]
    rows = [[*(result[name] for name in CSV_COLUMNS), *(result[kind][end] for kind, end in ends)] for result in results]
    console.table("", columns, rows, form="csv")


def _print_details(result: dict, titles: dict[str, str]) -> None:
    """The worst classes, the worst pairs, and how far to trust the probabilities."""
    worst = sorted(result["by_class"], key=lambda found: -found["top1"]["error"])[:WORST]
    console.table(
        f"Worst classes, {result['views']}",
        ["class", "images", "top-1 error"],
        [[titles[found["label"]], found["images"], _with_interval(found["top1"])] for found in worst],
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
    error = result["calibration"]["expected_error"]
    console.result(f"Calibration: confidence and accuracy differ by {error:.1%} on average (ECE, 15 bins).")


def _with_interval(rate: dict[str, float]) -> str:
    return f"{rate['error']:.2%} ({rate['low']:.2%} to {rate['high']:.2%})"
