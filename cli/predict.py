"""`alexnet predict`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import FigurePath, chosen_run, refuse_input, run_names, weights_option
from alexnet_keras.data.sources.listing import Skipped, images_below, with_all_above
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.storage.places import refuse_url

if TYPE_CHECKING:
    from alexnet_keras.evaluation.classifier import Classification

STDIN = Path("-")
MOST_DRAWN = 16


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE|DIR|-...")
@click.option("--run", metavar="RUN", shell_complete=run_names, help="Run whose model is used. [default: the latest]")
@weights_option
@click.option("--top", type=click.IntRange(1), default=5, help="Number of classes to name.")
@click.option("--ten-crop", is_flag=True, help="Average over ten crops: corners, centre and their mirror images.")
@click.option(
    "--png",
    type=FigurePath(dir_okay=False),
    metavar="FILE",
    help=f"Also draw the first {MOST_DRAWN} images with their bars (.png, .svg, .pdf).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per image.")
def predict(
    images: tuple[str, ...],
    run: str | None,
    weights: str | None,
    top: int,
    ten_crop: bool,
    png: Path | None,
    as_json: bool,
) -> None:
    """Name the likeliest classes of images, with probabilities.

    An image is any file in JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, AVIF, HEIC (extra heic) or JPEG 2000, prepared
    exactly as the run's training images were; a directory is searched for such files, and other files in it are
    counted on stderr; - reads one image from stdin. An image that cannot be used is reported on stderr, the others are
    classified, and the exit code is 3; where a name is of no file at all, nothing is classified, and it is 2.

    Examples:

    \b
        alexnet predict photo.jpg
        alexnet predict photo.jpg --weights torchvision
        alexnet predict holiday/ --run my-run --ten-crop --json > answers.jsonl
        alexnet predict cat.jpg dog.jpg --png answers.png
        alexnet predict - < photo.jpg
    """
    if run is not None and weights:
        raise UsageError("--run and --weights both name a network: give one of them.")
    files = _files(images)
    refuse_input(png, files)
    chosen = None if weights else chosen_run(run)
    if chosen:
        chosen.path_of_model()
    console.start_tensorflow()
    from alexnet_keras.evaluation.classifier import Classifier

    classifier = Classifier(chosen, weights=weights, ten_crop=ten_crop, reporter=console.REPORTER)
    drawn: list[Classification] = []
    bad = 0
    with console.progress("predicting", len(files)) as advance:
        inputs = [sys.stdin.buffer] if files == [STDIN] else files  # it is read up to a limit
        for found in classifier.many(inputs, top):
            advance(1)
            if found.error and len(files) == 1:
                if as_json:
                    _print(found, as_json)
                raise found.error
            if found.error:
                bad += 1
                console.complain(str(found.error))
            elif png and len(drawn) < MOST_DRAWN:
                drawn.append(found)
            _print(found, as_json)
    if drawn and png:
        _draw(drawn, len(files) - bad, png)
    if bad:
        raise DataError(f"{bad} of {len(files)} images could not be used.")


def _files(arguments: tuple[str, ...]) -> list[Path]:
    """List the files named, and those in directories named, in order."""
    paths = [Path(argument) for argument in arguments]
    if STDIN in paths and len(paths) > 1:
        raise UsageError("- is one image on stdin; name no others besides it.")
    files: list[Path] = []
    for path in paths:
        if path == STDIN:
            if sys.stdin is None:
                raise UsageError("There is no stdin to read an image from.")
            return [path]
        try:
            there = path.exists()
        except PermissionError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}. Make its folder readable.") from error
        if not there:
            refuse_url(path)
            raise UsageError(f"There is no file or directory {path}.")
        if not path.is_dir():
            files.append(path)
            continue
        skipped = Skipped()
        inside = sorted(path / name for name, _ in images_below(path, "", with_all_above(path), skipped))
        for note in skipped.notes(path):
            console.note(note)
        if not inside:
            raise DataError(f"{path} has no images in it.")
        files += inside
    return files


def _print(found: "Classification", as_json: bool) -> None:
    file = str(found.path or STDIN)
    if as_json:
        predictions = [each.to_dict() for each in found.predictions]
        result = {"error": str(found.error)} if found.error else {"predictions": predictions}
        console.result(json.dumps({"file": file, **result}), fit=False)
    elif not found.error:
        console.result(file)
        for each in found.predictions:
            name = each.title if each.name in each.title else f"{each.title} ({each.name})"
            console.result(f"  {each.probability:7.2%}  {name}")


def _draw(drawn: "list[Classification]", usable: int, path: Path) -> None:
    from alexnet_keras.visualization.images import CaptionedImage, draw_predictions

    files = [found.path or STDIN for found in drawn]
    alike = len({file.name for file in files}) < len(files)
    captions = [str(file) if alike else file.name for file in files]
    draw_predictions(
        [
            CaptionedImage(found.square, caption, predictions=found.predictions)
            for found, caption in zip(drawn, captions, strict=True)
            if found.square is not None
        ],
        path,
    )
    console.note(f"Wrote {path}{f', of the first {len(drawn)} of {usable} images' if usable > len(drawn) else ''}")
