"""`alexnet visualize`: the paper's figures, from a run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import numpy as np

from alexnet_keras.cli import console
from alexnet_keras.cli.options import (
    OutPath,
    chosen_run,
    data_of_run,
    json_option,
    run_argument,
    run_data_option,
    run_names,
)
from alexnet_keras.errors import DataError, UsageError

if TYPE_CHECKING:
    from alexnet_keras.network.kernels import ColorReport
    from alexnet_keras.runs import Run

SALIENCY_ROWS = 3

out_option = click.option(
    "--out",
    type=OutPath(dir_okay=False),
    help="File to write (.png, .svg, .pdf). [default: in the run's figures/]",
)
scaling_option = click.option(
    "--scaling",
    type=click.Choice(["kernel", "global"]),
    default="kernel",
    help="Show each kernel by its own largest weight, or all by the largest of them.",
)
image_seed_option = click.option(
    "--seed", type=click.IntRange(min=0), help="Chooses validation images where no --image is given. [default: 0]"
)


def image_option(**settings: Any) -> Callable:
    """--image; with `multiple=True` it may be given several times."""
    what = "An image file, prepared as training's images were"
    several = "; may be repeated" if settings.get("multiple") else ""
    return click.option(
        "--image",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"{what}{several}. [default: from the validation split]",
        **settings,
    )


@click.group()
def visualize() -> None:
    """Figures of what a run has learnt.

    \b
    Example: alexnet visualize kernels
    """


@visualize.command()
@run_argument
@out_option
@scaling_option
@click.option(
    "--over-time", is_flag=True, help="About six moments of training side by side, the first and the last too."
)
def kernels(run: str | None, out: Path | None, scaling: Literal["kernel", "global"], over_time: bool) -> None:
    """The kernels of the first layer, tower a above tower b (the paper's figure 3).

    \b
    Examples:
      alexnet visualize kernels my-run --out kernels.png
      alexnet visualize kernels --over-time --scaling global
    """
    console.start_tensorflow()
    from alexnet_keras.visualization.kernels import draw_kernels, draw_kernels_over_time

    run = chosen_run(run)
    path = out or run.figure_path("kernels-over-time.png" if over_time else "kernels.png")
    if over_time:
        draw_kernels_over_time(run, path, scaling)
    else:
        draw_kernels(run.load_model(), path, scaling)
    console.result(f"Wrote {path}")


@visualize.command()
@run_argument
@out_option
@click.option("--recipe", metavar="NAME|FILE", help="Draw a recipe's network, with 1000 classes, instead of a run's.")
def architecture(run: str | None, out: Path | None, recipe: str | None) -> None:
    """The network: its towers, shapes and neurons, and what passes between the towers (the paper's figure 2).

    \b
    Examples:
      alexnet visualize architecture
      alexnet visualize architecture --recipe source --out figure-2.pdf
    """
    if recipe and (run or out is None):
        raise UsageError("--recipe draws a recipe's network and no run's: leave RUN out, and name a file with --out.")
    console.start_tensorflow()
    from alexnet_keras.network.model import AlexNet
    from alexnet_keras.recipes.toml import load_recipe
    from alexnet_keras.visualization.architecture import draw_architecture

    if recipe and out:
        found = load_recipe(recipe)
        model, title, path = AlexNet(found), f"AlexNet, recipe {found.name}", out
    else:
        run = chosen_run(run)
        model, title, path = run.load_model(), run.name, out or run.figure_path("architecture.png")
    draw_architecture(model, path, title)
    console.result(f"Wrote {path}")


@visualize.command()
@run_argument
@out_option
@json_option
def towers(run: str | None, out: Path | None, as_json: bool) -> None:
    """How colour-specific the first kernels of each tower are (the paper's section 6.1), in numbers and as a figure.

    The colour share of a kernel is the share of its energy off the grey axis: 0 for a grey kernel, 2/3 expected of
    random weights, 1 for a purely chromatic one.

    \b
    Examples:
      alexnet visualize towers
      alexnet visualize towers my-run --out towers.pdf --json
    """
    console.start_tensorflow()
    from alexnet_keras.network.kernels import compare_towers, first_kernels
    from alexnet_keras.visualization.kernels import draw_towers

    run = chosen_run(run)
    found = first_kernels(run.load_model())
    report = compare_towers(found)
    path = out or run.figure_path("towers.png")
    draw_towers(found, report, path)
    if as_json:
        console.emit_json({"run": str(run.path), "picture": str(path), **report.to_dict()})
        return
    _print_towers(report)
    console.result(f"Wrote {path}")


@visualize.command()
@run_argument
@run_data_option
@out_option
@click.option("--layer", metavar="NAME", default="conv1", help="The layer whose maps are shown.")
@click.option(
    "--scaling",
    type=click.Choice(["map", "global"]),
    default="map",
    help="Show each map by its own largest activity, or all by that of the layer.",
)
@image_option()
@image_seed_option
def activations(
    run: str | None,
    data: str | None,
    out: Path | None,
    layer: str,
    scaling: Literal["map", "global"],
    image: Path | None,
    seed: int | None,
) -> None:
    """The feature maps of a layer for one image, towers apart.

    \b
    Examples:
      alexnet visualize activations
      alexnet visualize activations my-run --layer relu5 --image cat.jpg --out relu5.png
    """
    console.start_tensorflow()
    from alexnet_keras.visualization.activations import draw_activations, feature_maps

    _check_alone(image, data=data, seed=seed)
    run = chosen_run(run)
    images, labels, names, titles = _images(run, data, [image] if image else [], 1, seed)
    found = feature_maps(run.load_model(), layer, images[0])
    path = out or run.figure_path(f"activations-{layer}.png")
    draw_activations(found, path, names[0] if labels is None else titles[labels[0]], scaling)
    console.result(f"Wrote {path}")


@visualize.command()
@run_argument
@run_data_option
@out_option
@image_option(multiple=True)
@click.option(
    "--class", "class_name", metavar="NAME", help="Class whose score is explained. [default: the likeliest one]"
)
@click.option("--count", type=click.IntRange(1, 20), help=f"Validation images to show. [default: {SALIENCY_ROWS}]")
@image_seed_option
def saliency(
    run: str | None,
    data: str | None,
    out: Path | None,
    image: tuple[Path, ...],
    class_name: str | None,
    count: int | None,
    seed: int | None,
) -> None:
    """Images beside the gradient of a class's score with respect to their pixels (Simonyan et al. 2013).

    \b
    Examples:
      alexnet visualize saliency --count 5
      alexnet visualize saliency my-run --image cat.jpg --image dog.jpg --class tabby
    """
    console.start_tensorflow()
    from alexnet_keras.visualization.saliency import class_named, draw_saliency, find_saliency

    _check_alone(image, data=data, count=count, seed=seed)
    run = chosen_run(run)
    images, labels, _, titles = _images(run, data, image, count or SALIENCY_ROWS, seed)
    label = None if class_name is None else class_named(class_name, run.facts["classes"], titles)
    path = out or run.figure_path("saliency.png")
    draw_saliency(find_saliency(run.load_model(), images, label), titles, path, labels)
    console.result(f"Wrote {path}")


@visualize.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...", shell_complete=run_names)
@out_option
def curves(runs: tuple[str, ...], out: Path | None) -> None:
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
@click.option("--queries", type=click.IntRange(1, 20), help="Validation images to ask about. [default: 5]")
@click.option("--neighbors", "count", type=click.IntRange(1, 20), default=6, help="Training images beside each query.")
@click.option("--seed", type=click.IntRange(min=0), help="Chooses the validation images. [default: 0]")
@click.option(
    "--query",
    "files",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="An image of your own to ask about, prepared as training's images were; may be repeated.",
)
def neighbors(
    run: str | None,
    data: str | None,
    out: Path | None,
    queries: int | None,
    count: int,
    seed: int | None,
    files: tuple[Path, ...],
) -> None:
    """Query images and the training images nearest to them in the last hidden layer (the paper's figure 4).

    \b
    Examples:
      alexnet visualize neighbors my-run --queries 8 --out neighbors.png
      alexnet visualize neighbors --query cat.jpg --query dog.jpg
    """
    if files and (queries, seed) != (None, None):
        raise UsageError("--query says which images are asked about: leave out --queries and --seed.")
    run = chosen_run(run)
    dataset = data_of_run(run, data)
    if dataset.examples("train") < count:
        raise DataError(f"{dataset.path} has {dataset.examples('train')} training images, too few for {count}.")
    console.start_tensorflow()
    from alexnet_keras.evaluation.features import FeatureExtractor, feature_batches, find_nearest
    from alexnet_keras.visualization.neighbors import Query, draw_neighbors

    extract = FeatureExtractor(run.load_model())
    images, labels, names, titles = _images(run, data, files, queries or 5, seed)
    asked = [
        Query(image, name) if labels is None else Query(image, titles[label], label)
        for image, label, name in zip(images, [None] * len(images) if labels is None else labels, names, strict=True)
    ]
    with console.progress("searching", dataset.examples("train")) as advance:
        found = find_nearest(extract(images), feature_batches(extract, dataset, "train"), count, advance)
    path = out or run.figure_path("neighbors.png")
    draw_neighbors(asked, found, dataset.titles, path)
    console.result(f"Wrote {path}")


@visualize.command()
@run_argument
@run_data_option
@out_option
@click.option("--count", type=click.IntRange(1, 40), default=8, help="Images to show.")
@click.option("--only-errors", is_flag=True, help="Only images that the network gets wrong.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Chooses the validation images.")
def predictions(run: str | None, data: str | None, out: Path | None, count: int, only_errors: bool, seed: int) -> None:
    """Validation images with the five classes the network finds likeliest (the paper's figure 4, left).

    \b
    Examples:
      alexnet visualize predictions
      alexnet visualize predictions my-run --only-errors --count 16 --out errors.png
    """
    import numpy as np

    from alexnet_keras.evaluation.predictions import predictions_of

    run = chosen_run(run)
    dataset = data_of_run(run, data)
    found = predictions_of(run, dataset, "val", reporter=console.TENSORFLOW_REPORTER)
    order = np.random.default_rng(seed).permutation(len(found.labels))
    if only_errors:
        guesses = found.summary.top[:, 0]
        order = order[guesses[order] != found.labels[order]]
        if not len(order):
            raise DataError(f"The run {run.path} makes no error on the val split of {dataset.path}.")
    console.start_tensorflow()
    from alexnet_keras.evaluation.inputs import spread_over_classes
    from alexnet_keras.visualization.predictions import draw_predictions, predicted_images

    chosen = order[spread_over_classes(found.labels[order], count)]
    path = out or run.figure_path("errors.png" if only_errors else "predictions.png")
    draw_predictions(predicted_images(found, dataset, chosen), path)
    console.result(f"Wrote {path}")


@visualize.command()
@run_argument
@run_data_option
@out_option
@click.option("--split", default="val", metavar="NAME", help="Split whose images are counted.")
@click.option("--ten-crop", is_flag=True, help="Of the average over ten crops.")
def confusion(run: str | None, data: str | None, out: Path | None, split: str, ten_crop: bool) -> None:
    """Which classes are taken for which: the confusion matrix, of many classes the worst part of it.

    \b
    Example: alexnet visualize confusion my-run --ten-crop --out confusion.pdf
    """
    from alexnet_keras.evaluation.analysis import Outcomes
    from alexnet_keras.evaluation.predictions import predictions_of
    from alexnet_keras.visualization.confusion import draw_confusion

    run = chosen_run(run)
    dataset = data_of_run(run, data)
    views = "ten-crop" if ten_crop else "centre"
    found = predictions_of(run, dataset, split, views, reporter=console.TENSORFLOW_REPORTER)
    path = out or run.figure_path("confusion.png")
    draw_confusion(Outcomes.of(found).matrix, dataset.titles, path)
    console.result(f"Wrote {path}")


def _check_alone(image: Path | tuple[Path, ...] | None, **others: object) -> None:
    """Refuses options that choose images of a dataset beside --image, which brings its own."""
    given = [f"--{name}" for name, value in others.items() if value is not None]
    if image and given:
        raise UsageError(f"--image says which images are shown: leave out {' and '.join(given)}.")


def _images(
    run: "Run", data: str | None, files: Sequence[Path], count: int, seed: int | None
) -> "tuple[np.ndarray, np.ndarray | None, list[str], Sequence[str]]":
    """The images that files hold, or some of the validation split.

    Returns:
        Images uint8 `(n, 256, 256, 3)`, labels `(n,)` or None where the user brought the images, their names, and
        what the run's classes are called.
    """
    import numpy as np

    from alexnet_keras.evaluation.inputs import preparation_of, read_image, some_images

    if files:
        preparation = preparation_of(run)
        images = np.stack([read_image(file, preparation) for file in files])
        return images, None, [file.name for file in files], run.titles
    dataset = data_of_run(run, data)
    return *some_images(dataset, "val", count, seed or 0), dataset.titles


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
    for found in report.differences:
        console.result(
            f"A kernel of tower {found.more} is more colourful than one of tower {found.less} with probability "
            f"{found.probability:.3f} (Mann-Whitney, two-sided p = {found.p_value:.2g})."
        )
    if report.differences:
        console.result(CAVEAT)
