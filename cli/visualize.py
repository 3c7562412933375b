"""`alexnet visualize`: the paper's figures, from a run. Here: figures of networks and of their training."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import chosen_run, json_option, recipe_names, run_argument, runs_argument
from alexnet_keras.cli.visualize_images import activations, confusion, neighbors, out_option, predictions, saliency
from alexnet_keras.errors import UsageError

if TYPE_CHECKING:
    from alexnet_keras.network.kernels import ColorReport


@click.group()
def visualize() -> None:
    """Figures of what a run has learnt.

    \b
    Example: alexnet visualize kernels
    """


for command in (activations, confusion, neighbors, predictions, saliency):
    visualize.add_command(command)


@visualize.command()
@run_argument
@out_option
@click.option(
    "--scaling",
    type=click.Choice(["kernel", "global"]),
    default="kernel",
    help="Show each kernel by its own largest weight, or all by the largest of them.",
)
@click.option("--over-time", is_flag=True, help="About six moments of training side by side, most of them early.")
def kernels(run: str | None, out: Path | None, scaling: Literal["kernel", "global"], over_time: bool) -> None:
    """The kernels of the first layer, tower a above tower b (the paper's figure 3).

    Examples:

    \b
        alexnet visualize kernels my-run --out kernels.png
        alexnet visualize kernels --over-time --scaling global
    """
    found = chosen_run(run)
    path = found.figure_path("kernels-over-time.png" if over_time else "kernels.png", out)
    console.start_tensorflow()
    from alexnet_keras.visualization.kernels import draw_kernels, draw_kernels_over_time

    if over_time:
        draw_kernels_over_time(found, path, scaling)
    else:
        draw_kernels(found.load_model(), path, scaling)
    console.result(f"Wrote {path}")


@visualize.command()
@run_argument
@out_option
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    shell_complete=recipe_names,
    help="Draw a recipe's network, with 1000 classes, instead of a run's.",
)
def architecture(run: str | None, out: Path | None, recipe: str | None) -> None:
    """The network: its towers, shapes and neurons, and what passes between the towers (the paper's figure 2).

    Examples:

    \b
        alexnet visualize architecture
        alexnet visualize architecture --recipe source --out figure-2.pdf
    """
    if recipe is not None and (run or out is None):
        raise UsageError("--recipe draws a recipe's network and no run's: leave RUN out, and name a file with --out.")
    console.start_tensorflow()
    from alexnet_keras.network.model import AlexNet
    from alexnet_keras.recipes.toml import load_recipe
    from alexnet_keras.visualization.architecture import draw_architecture

    if recipe is not None and out:
        chosen = load_recipe(recipe)
        model, title, path = AlexNet(chosen), f"AlexNet, recipe {chosen.name}", out
    else:
        found = chosen_run(run)
        path = found.figure_path("architecture.png", out)
        model, title = found.load_model(), found.name
    draw_architecture(model, path, title)
    console.result(f"Wrote {path}")


@visualize.command()
@run_argument
@out_option
@json_option
def towers(run: str | None, out: Path | None, as_json: bool) -> None:
    """The colour of each tower's first kernels (the paper's section 6.1), in numbers and as a figure.

    The colour share of a kernel is the share of its energy off the grey axis: 0 for a grey kernel, 2/3 expected of
    random weights, 1 for a purely chromatic one.

    Examples:

    \b
        alexnet visualize towers
        alexnet visualize towers my-run --out towers.pdf --json
    """
    found = chosen_run(run)
    path = found.figure_path("towers.png", out)
    console.start_tensorflow()
    from alexnet_keras.network.kernels import compare_towers, first_kernels
    from alexnet_keras.visualization.kernels import draw_towers

    kernels = first_kernels(found.load_model())
    report = compare_towers(kernels)
    draw_towers(kernels, report, path)
    if as_json:
        console.emit_json({"run": str(found.path), "picture": str(path), **report.to_dict()})
        return
    _print_towers(report)
    console.result(f"Wrote {path}")


def _print_towers(report: "ColorReport") -> None:
    from alexnet_keras.network.kernels import CAVEAT

    console.table(
        "Colour share of the first kernels (0 grey, 0.67 random, 1 purely chromatic)",
        ["tower", "kernels", "dead", "median", "weighted by energy"],
        [
            [tower.tower, len(tower.shares), tower.dead, f"{tower.median:.3f}", f"{tower.weighted_mean:.3f}"]
            for tower in report.towers
        ],
    )
    for difference in report.differences:
        console.result(
            f"A kernel of tower {difference.more} is more colourful than one of tower {difference.less} with "
            f"probability {difference.probability:.3f} (Mann-Whitney, two-sided p = {difference.p_value:.2g})."
        )
    if report.differences:
        console.result(CAVEAT)


@visualize.command()
@runs_argument
@out_option
def curves(runs: tuple[str, ...], out: Path | None) -> None:
    """Loss, validation error and learning rate over the epochs, of one run or of several together.

    Examples:

    \b
        alexnet visualize curves
        alexnet visualize curves first second --out curves.png
    """
    from alexnet_keras.visualization.curves import draw_curves

    found = [chosen_run(run) for run in runs or (None,)]
    path = found[0].figure_path("curves.png", out)
    draw_curves(found, path)
    console.result(f"Wrote {path}")
