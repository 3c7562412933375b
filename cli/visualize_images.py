"""Commands of `alexnet visualize` that show images and a network's answers to them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import numpy as np

from alexnet_keras.cli import console
from alexnet_keras.cli.options import (
    FigurePath,
    chosen_run,
    data_of_run,
    layer_names,
    refuse_input,
    run_argument,
    run_data_option,
)
from alexnet_keras.errors import UsageError

if TYPE_CHECKING:
    from alexnet_keras.data.dataset import PreparedDataset
    from alexnet_keras.runs import Run
    from alexnet_keras.visualization.images import CaptionedImage

QUERIES, NEIGHBORS, SALIENCY_ROWS = 5, 6, 3  # or as many images as there are

out_option = click.option(
    "--out",
    type=FigurePath(dir_okay=False),
    help="File to write (.png, .svg, .pdf). [default: in the run's figures/]",
)
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), help="Chooses validation images where no file is given. [default: 0]"
)


def files_option(name: str, purpose: str, *, multiple: bool) -> Callable:
    """An option for image files of the user's own."""
    several = "; may be repeated" if multiple else ""
    return click.option(
        name,
        "files" if multiple else "file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        multiple=multiple,
        help=f"An image file {purpose}, prepared as training's images were{several}. [default: validation images]",
    )


def figure_command(function: Callable) -> click.Command:
    """A command with the arguments RUN, --data and --out."""
    for option in (out_option, run_data_option, run_argument):
        function = option(function)
    return click.command()(function)


@figure_command
@click.option(
    "--layer", metavar="NAME", shell_complete=layer_names, default="conv1", help="The layer whose maps are shown."
)
@click.option(
    "--scaling",
    type=click.Choice(["map", "global"]),
    default="map",
    help="Show each map by its own largest activity, or all by that of the layer.",
)
@files_option("--image", "to show", multiple=False)
@seed_option
def activations(
    run: str | None,
    data: str | None,
    out: Path | None,
    layer: str,
    scaling: Literal["map", "global"],
    file: Path | None,
    seed: int | None,
) -> None:
    """The feature maps of a layer for one image, towers apart.

    Examples:

    \b
        alexnet visualize activations
        alexnet visualize activations my-run --layer relu5 --image cat.jpg
    """
    _check_alone("--image", file, data=data, seed=seed)
    refuse_input(out, [file] if file else [])
    found = chosen_run(run)
    path = found.figure_path(f"activations-{layer}.png", out)
    console.start_tensorflow()
    from alexnet_keras.visualization.activations import draw_activations, feature_maps

    (shown,), _ = _images(found, [file] if file else [], None if file else data_of_run(found, data), 1, 1, seed)
    maps = feature_maps(found.load_model(), layer, shown.image)
    draw_activations(maps, path, shown.caption, scaling)
    console.result(f"Wrote {path}")


@figure_command
@files_option("--image", "to show", multiple=True)
@click.option(
    "--class", "class_name", metavar="NAME", help="Class whose score is explained. [default: the likeliest one]"
)
@click.option("--count", type=click.IntRange(1, 20), help=f"Validation images to show. [default: {SALIENCY_ROWS}]")
@seed_option
def saliency(
    run: str | None,
    data: str | None,
    out: Path | None,
    files: tuple[Path, ...],
    class_name: str | None,
    count: int | None,
    seed: int | None,
) -> None:
    """The pixels that a class score depends on: its gradient, SmoothGrad and Grad-CAM.

    A row for each image: the centre crop, the gradient of the score (Simonyan et al. 2013), and over the grey crop the
    mean gradient of noisy copies (Smilkov et al. 2017) and the heat map of the last maps (Selvaraju et al. 2017).

    Examples:

    \b
        alexnet visualize saliency --count 5
        alexnet visualize saliency my-run --image cat.jpg --class tabby
    """
    _check_alone("--image", files, data=data, count=count, seed=seed)
    refuse_input(out, files)
    found = chosen_run(run)
    path = found.figure_path("saliency.png", out)
    console.start_tensorflow()
    from alexnet_keras.visualization.saliency import class_named, draw_saliency, find_saliency

    images, titles = _images(found, files, None if files else data_of_run(found, data), count, SALIENCY_ROWS, seed)
    label = None if class_name is None else class_named(class_name, found.facts["classes"], titles)
    explained = find_saliency(found.load_model(), np.stack([shown.image for shown in images]), label)
    draw_saliency(explained, titles, path, [shown.label for shown in images])
    console.result(f"Wrote {path}")


@figure_command
@click.option("--queries", type=click.IntRange(1, 20), help=f"Validation images to search for. [default: {QUERIES}]")
@click.option(
    "--neighbors",
    "count",
    type=click.IntRange(1, 20),
    help=f"Training images next to each query. [default: {NEIGHBORS}]",
)
@seed_option
@files_option("--query", "to search for", multiple=True)
def neighbors(
    run: str | None,
    data: str | None,
    out: Path | None,
    queries: int | None,
    count: int | None,
    seed: int | None,
    files: tuple[Path, ...],
) -> None:
    """Query images and the training images nearest to them in the last hidden layer (the paper's figure 4).

    Examples:

    \b
        alexnet visualize neighbors my-run --queries 8 --out neighbors.png
        alexnet visualize neighbors --query cat.jpg --query dog.jpg
    """
    _check_alone("--query", files, queries=queries, seed=seed)
    refuse_input(out, files)
    found = chosen_run(run)
    path = found.figure_path("neighbors.png", out)
    dataset = data_of_run(found, data)
    console.start_tensorflow()
    from alexnet_keras.visualization.images import draw_neighbors, nearest_training_images

    images, _ = _images(found, files, dataset, queries, QUERIES, seed)
    pixels = np.stack([shown.image for shown in images])
    count = count or min(NEIGHBORS, dataset.examples("train"))
    nearest = nearest_training_images(found.load_model(), pixels, dataset, count, console.REPORTER)
    draw_neighbors(images, nearest, dataset.titles, path)
    console.result(f"Wrote {path}")


@figure_command
@click.option("--count", type=click.IntRange(1, 40), default=8, help="Images to show.")
@click.option("--only-errors", is_flag=True, help="Only images that the network gets wrong.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Chooses the validation images.")
def predictions(run: str | None, data: str | None, out: Path | None, count: int, only_errors: bool, seed: int) -> None:
    """Validation images with the five classes the network finds likeliest (the paper's figure 4, left).

    Examples:

    \b
        alexnet visualize predictions
        alexnet visualize predictions my-run --only-errors --out errors.png
    """
    from alexnet_keras.evaluation.predictions import predictions_of

    found = chosen_run(run)
    path = found.figure_path("errors.png" if only_errors else "predictions.png", out)
    dataset = data_of_run(found, data)
    predicted = predictions_of(found, dataset, "val", reporter=console.TENSORFLOW_REPORTER)
    console.start_tensorflow()
    from alexnet_keras.visualization.images import draw_predictions, predicted_images

    images = predicted_images(predicted, dataset, count, seed, only_errors=only_errors)
    if len(images) < count:
        console.note(f"All {len(images)} {'errors' if only_errors else 'images'} of the split are drawn.")
    draw_predictions(images, path)
    console.result(f"Wrote {path}")


@figure_command
@click.option("--split", default="val", metavar="NAME", help="Split whose images are counted.")
@click.option("--ten-crop", is_flag=True, help="Use the average over ten crops.")
def confusion(run: str | None, data: str | None, out: Path | None, split: str, ten_crop: bool) -> None:
    """The confusion matrix: the classes mistaken for each other; of many classes its worst part.

    \b
    Example: alexnet visualize confusion my-run --ten-crop --out confusion.pdf
    """
    from alexnet_keras.evaluation.analysis import Outcomes
    from alexnet_keras.evaluation.predictions import predictions_of
    from alexnet_keras.reports.page import VIEWS
    from alexnet_keras.visualization.confusion import draw_confusion

    found = chosen_run(run)
    dataset = data_of_run(found, data)
    views = "ten-crop" if ten_crop else "centre"
    kind = "".join(f"-{word}" for word in (split, views) if word not in ("val", "centre"))
    path = found.figure_path(f"confusion{kind}.png", out)
    predicted = predictions_of(found, dataset, split, views, reporter=console.TENSORFLOW_REPORTER)
    draw_confusion(Outcomes.of(predicted).matrix, dataset.titles, path, f"{split}, {VIEWS[views]}")
    console.result(f"Wrote {path}")


def _check_alone(option: str, files: Any, **others: object) -> None:
    """Refuse options that choose images of a dataset together with one that names image files."""
    given = [f"--{name}" for name, value in others.items() if value is not None]
    if files and given:
        raise UsageError(f"{option} names the images: leave out {' and '.join(given)}.")


def _images(
    run: "Run",
    files: Sequence[Path],
    dataset: "PreparedDataset | None",
    count: int | None,
    default: int,
    seed: int | None,
) -> "tuple[list[CaptionedImage], Sequence[str]]":
    """Images of files, or of the validation split, and the title of each class."""
    from alexnet_keras.visualization.images import images_from_files, images_from_split

    if files:
        return images_from_files(run, files), run.titles
    assert dataset is not None, "where no files are given"
    count = count or min(default, dataset.examples("val"))
    return images_from_split(dataset, count, seed or 0), dataset.titles
