"""`alexnet visualize`: the paper's figures, from a run."""

from pathlib import Path

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import chosen_run, data_of_run, run_argument, run_data_option

out_option = click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write (.png, .svg, .pdf). [default: in the run's figures/]",
)


@click.group()
def visualize() -> None:
    """Pictures of what a run has learnt.

    \b
    Example: alexnet visualize kernels
    """


@visualize.command()
@run_argument
@out_option
def kernels(run, out) -> None:
    """The kernels of the first layer, tower a above tower b (the paper's figure 3).

    \b
    Example: alexnet visualize kernels my-run --out kernels.png
    """
    console.start_tensorflow()
    from alexnet_keras.visualization.kernels import draw_kernels

    run = chosen_run(run)
    path = out or run.figure_path("kernels.png")
    draw_kernels(run.load_model(), path)
    console.result(f"Wrote {path}")


@visualize.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@out_option
def curves(runs, out) -> None:
    """Loss, validation error and learning rate over the epochs, of one run or of several together.

    \b
    Examples:
      alexnet visualize curves
      alexnet visualize curves first second --out curves.png
    """
    from alexnet_keras.visualization.curves import draw_curves

    found = [chosen_run(run) for run in runs or (None,)]
    path = out or found[0].figure_path("curves.png")
    draw_curves(found, path)
    console.result(f"Wrote {path}")


@visualize.command()
@run_argument
@run_data_option
@out_option
@click.option("--queries", type=click.IntRange(1, 20), default=5, help="Query images, from the validation split.")
@click.option("--neighbors", "count", type=click.IntRange(1, 20), default=6, help="Training images beside each query.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Chooses the query images.")
def neighbors(run, data, out, queries, count, seed) -> None:
    """Query images and the training images nearest to them in the last hidden layer (the paper's figure 4).

    \b
    Example: alexnet visualize neighbors my-run --queries 8 --out neighbors.png
    """
    console.start_tensorflow()
    from alexnet_keras.visualization.neighbors import draw_neighbors, find_neighbors

    run = chosen_run(run)
    dataset = data_of_run(run, data)
    model = run.load_model()
    with console.progress("searching", dataset.examples("train")) as advance:
        found = find_neighbors(model, dataset, queries=queries, count=count, seed=seed, on_progress=advance)
    path = out or run.figure_path("neighbors.png")
    draw_neighbors(found, path)
    console.result(f"Wrote {path}")
