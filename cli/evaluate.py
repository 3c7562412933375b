"""`alexnet eval`."""

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import chosen_run, data_of_run, json_option, run_data_option


@click.command("eval")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@run_data_option
@click.option("--split", default="val", metavar="NAME", help="Split to evaluate on.")
@click.option("--ten-crop", is_flag=True, help="Also average over ten crops: corners, centre and their mirror images.")
@click.option("--model", "which", type=click.Choice(["best", "last"]), default="best", help="Which model of the run.")
@json_option
def evaluate(runs, data, split, ten_crop, which, as_json) -> None:
    """Top-1 and top-5 error of runs, with 95 % intervals.

    Without RUN, the latest run. Results are also kept in the run's evaluations/.

    \b
    Examples:
      alexnet eval
      alexnet eval my-run --ten-crop
      alexnet eval run-1 run-2 --ten-crop --json
    """
    console.start_tensorflow()
    from alexnet_keras.evaluation import errors

    results = []
    for run in [chosen_run(name) for name in runs or (None,)]:
        dataset = data_of_run(run, data)
        model = run.load_model(which)
        for views in ("centre", "ten-crop") if ten_crop else ("centre",):
            with console.progress(f"{run.name}, {views}", _images(dataset, split)) as advance:
                evaluation = errors.evaluate(errors.Predictor(model, views), dataset, split, on_progress=advance)
            result = {"run": str(run.path), "model": which, "data": str(dataset.path), **evaluation.to_dict()}
            run.write_evaluation(f"{which}-{dataset.path.name}-{split}-{views}", result)
            results.append(result)
    if as_json:
        console.emit_json(results)
        return
    _print_table(results)


def _images(dataset, split: str) -> int | None:
    return dataset.examples(split) if split in dataset.splits else None


def _print_table(results) -> None:
    rows = [
        [
            result["run"],
            result["views"],
            result["images"],
            _with_interval(result["top1"]),
            _with_interval(result["top5"]) if result["classes"] > 5 else f"- ({result['classes']} classes)",
            f"{result['loss']:.4f}",
        ]
        for result in results
    ]
    data = ", ".join(sorted({f"{result['data']} {result['split']}" for result in results}))
    console.table(
        f"Error on {data} (95 % interval)",
        ["run", "views", "images", "top-1 error", "top-5 error", "loss"],
        rows,
        left=2,
    )


def _with_interval(rate) -> str:
    return f"{rate['error']:.2%} ({rate['low']:.2%} to {rate['high']:.2%})"
