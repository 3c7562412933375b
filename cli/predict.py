"""`alexnet predict`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import OutPath, run_names
from alexnet_keras.data.sources.listing import Skipped, identity_of, images_below
from alexnet_keras.errors import AlexNetError, DataError, UsageError
from alexnet_keras.storage.places import refuse_url

if TYPE_CHECKING:
    from alexnet_keras.evaluation.classifier import Answer, Classifier

STDIN = "-"
MOST_DRAWN = 16


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE|DIR|-...")
@click.option("--run", metavar="RUN", shell_complete=run_names, help="Whose model to ask. [default: the latest run]")
@click.option("--top", type=click.IntRange(1), default=5, help="How many classes to name.")
@click.option("--ten-crop", is_flag=True, help="Average over ten crops: corners, centre and their mirror images.")
@click.option(
    "--png",
    type=OutPath(dir_okay=False),
    metavar="FILE",
    help=f"Also draw the first {MOST_DRAWN} images with their bars (.png, .svg, .pdf).",
)
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON an image.")
def predict(
    images: tuple[str, ...], run: str | None, top: int, ten_crop: bool, png: Path | None, as_json: bool
) -> None:
    """What is in images: the likeliest classes with their probabilities.

    An image is any file in JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, AVIF, HEIC (extra heic) or JPEG 2000, prepared
    exactly as the run's training images were; a directory is searched for such files, and what else it holds is
    counted on stderr; - reads one image from stdin. One that cannot be used is told on stderr, the others are
    answered, and the exit code is 3.

    \b
    Examples:
      alexnet predict photo.jpg
      alexnet predict holiday/ --run my-run --ten-crop --json > answers.jsonl
      alexnet predict cat.jpg dog.jpg --png answers.png
      alexnet predict - < photo.jpg
    """
    from alexnet_keras.cli.options import chosen_run

    found, chosen = _files(images), chosen_run(run)
    chosen.path_of_model()
    console.start_tensorflow()
    from alexnet_keras.evaluation.classifier import Answer, Classifier

    classifier = Classifier(chosen, ten_crop=ten_crop)
    drawn: list[Answer] = []
    bad = 0
    with console.progress("predicting", len(found)) as advance:
        from_stdin = found == [Path(STDIN)]
        for answer in [_of_stdin(classifier, top)] if from_stdin else classifier.many(found, top):
            advance(1)
            if answer.error and len(found) == 1:
                raise answer.error
            if answer.error:
                bad += 1
                console.note(str(answer.error))
            elif png and len(drawn) < MOST_DRAWN:
                drawn.append(answer)
            _print(answer, as_json)
    if drawn and png:
        _draw(drawn, png)
    if bad:
        raise DataError(f"{bad} of {len(found)} images could not be used.")


def _files(arguments: tuple[str, ...]) -> list[Path]:
    """The files named, and those in directories named, in order."""
    if STDIN in arguments and len(arguments) > 1:
        raise UsageError("- is one image on stdin; name no others beside it.")
    files: list[Path] = []
    for path in map(Path, arguments):
        if not path.exists() and str(path) != STDIN:
            refuse_url(path)
            raise UsageError(f"There is no file or directory {path}.")
        if not path.is_dir() or str(path) == STDIN:
            files.append(path)
            continue
        skipped = Skipped()
        inside = sorted(path / name for name, _ in images_below(path, "", frozenset([identity_of(path)]), skipped))
        for note in skipped.notes(path):
            console.note(note)
        if not inside:
            raise DataError(f"{path} has no images in it.")
        files += inside
    return files


def _of_stdin(classifier: "Classifier", top: int) -> "Answer":
    from alexnet_keras.evaluation.classifier import Answer

    try:
        square = classifier.square(sys.stdin.buffer.read())
    except AlexNetError as error:
        return Answer(Path(STDIN), error=error)
    return Answer(Path(STDIN), square, classifier.guesses(classifier.predictor(square[None])[0], top))


def _print(answer: "Answer", as_json: bool) -> None:
    if as_json:
        guesses = [
            {"class": guess.name, "title": guess.title, "probability": guess.probability} for guess in answer.guesses
        ]
        said = {"error": str(answer.error)} if answer.error else {"predictions": guesses}
        console.result(json.dumps({"file": str(answer.path), **said}))
    elif not answer.error:
        console.result(str(answer.path))
        for guess in answer.guesses:
            name = guess.title if guess.name in guess.title else f"{guess.title} ({guess.name})"
            console.result(f"  {guess.probability:7.2%}  {name}")


def _draw(answers: "list[Answer]", path: Path) -> None:
    from alexnet_keras.visualization.predictions import PredictedImage, draw_predictions

    draw_predictions(
        [PredictedImage(a.square, a.path.name, a.guesses) for a in answers if a.square is not None and a.path], path
    )
    console.note(f"Wrote {path}")
