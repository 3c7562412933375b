"""`alexnet prepare`: images in, a prepared dataset out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from alexnet_keras.cli import console
from alexnet_keras.cli.options import FiniteRange, OutPath, chosen_data, given_options, json_option, section
from alexnet_keras.errors import UsageError
from alexnet_keras.storage.places import argument, command

if TYPE_CHECKING:
    from alexnet_keras.data.dataset import PreparedDataset
    from alexnet_keras.data.preparation import Preparation

CLASSES_SHOWN, REJECTS_SHOWN, PROBLEMS_SHOWN = 12, 5, 20  # at most
PARTS = ("shard_range", "finish", "beam_runner", "beam_option")  # options that divide the work
POSITIVE = click.IntRange(1)


def _max_bad(value: str) -> int | float:
    """A count of images ("20") or a part of all of them ("2%", a float 0..1)."""
    try:
        return float(value[:-1]) / 100 if value.endswith("%") else int(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is neither a count such as 20 nor a percentage such as 2%.") from error


def _shard_range(value: str) -> tuple[int, int]:
    """Shards by number, "0:256" for the first 256."""
    first, _, stop = value.partition(":")
    if not (first.isdecimal() and stop.isdecimal() and int(first) < int(stop)):
        raise click.BadParameter(f"{value!r} is no range of shards such as 0:256.")
    return int(first), int(stop)


def _split_folders(value: str) -> dict[str, str]:
    """The folder of each split, "train=Training,val=Testing", or "none"."""
    pairs = [] if value == "none" else [part.partition("=") for part in value.split(",")]
    folders = {split.strip(): folder.strip() for split, _, folder in pairs}
    if len(folders) < len(pairs) or not folders.keys() <= {"train", "val", "test"} or not all(folders.values()):
        raise click.BadParameter(f"{value!r} is neither none nor split folders such as train=Training,val=Testing.")
    return folders


images_option = section("Which images")
result_option = section("The result")
parts_option = section("Many machines")


@click.command(cls=cloup.Command)
@click.argument("source", required=False)
@images_option(
    "--seed", type=click.IntRange(0), default=0, help="Decides the order, what is held out or taken, and the demo set."
)
@images_option(
    "--holdout",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    help="Part of each class to validate on, where the source has no validation split.",
)
@images_option(
    "--classes",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of the classes to take, one per line, perhaps with its name in words.  [default: all]",
)
@images_option(
    "--splits",
    type=_split_folders,
    metavar="none|SPLIT=DIR,...",
    help="Which folders are splits, as train=DIR,val=DIR,test=DIR, or none.  [default: known by their names]",
)
@images_option(
    "--labels", multiple=True, metavar="[SPLIT=]FILE", help="Table of file and label, for images without class folders."
)
@images_option(
    "--limit-per-class", type=POSITIVE, help="Images of each class in each split at most, by seed.  [default: all]"
)
@images_option(
    "--class-order",
    type=click.Choice(["wnid", "ilsvrc"]),
    help="Order of ILSVRC's classes: by WordNet id, as in Caffe and Keras, or by ILSVRC id.  [default: wnid]",
)
@images_option("--partial", is_flag=True, help="Accept fewer images than ILSVRC's devkit or a --labels table counts.")
@images_option("--tfds-dir", type=click.Path(path_type=Path), help="Where TFDS keeps its sets.  [default: TFDS's own]")
@images_option("--exif", is_flag=True, help="Turn images as their EXIF orientation says; in 2012 it was ignored.")
@images_option("--max-pixels", type=POSITIVE, default=100_000_000, help="An image with more counts as unusable.")
@images_option(
    "--max-bad",
    type=_max_bad,
    metavar="COUNT|PERCENT",
    help="Unusable images allowed: a count, or a percentage.  [default: 10, or 1% where that is more]",
)
@result_option("--out", type=OutPath(), help="Directory to make.  [default: data/ and the source's name]")
@result_option("--name", help="Name of the dataset.  [default: the directory's]")
@result_option(
    "--encoding",
    type=click.Choice(["jpeg", "png", "raw"]),
    default="jpeg",
    help="Storage of the images: JPEG in about 39 kB, or without loss as PNG in 110 kB or as bytes in 197 kB.",
)
@result_option(
    "--quality",
    type=click.IntRange(1, 100),
    help="Of JPEG. 95 changes a channel by 1.6 of 255 on average, 90 by 2.3 and 97 by 1.1.  [default: 95]",
)
@result_option(
    "--shard-examples",
    type=click.IntRange(1, 1_000_000),
    default=1024,
    help="Images in a shard at most, which is the work that is repeated after an interruption.",
)
@result_option("--overwrite", is_flag=True, help="Prepare anew what is in the directory, with these options or others.")
@result_option("--verify", is_flag=True, help="Prepare nothing: read the prepared dataset SOURCE again, all of it.")
@parts_option("--shard-range", type=_shard_range, metavar="FIRST:STOP", help="Make these shards only.  [default: all]")
@parts_option("--finish", is_flag=True, help="Make no shards: merge the statistics of all and write the metadata.")
@parts_option("--beam-runner", metavar="NAME", help="Make the shards on Apache Beam.  [default: in this process]")
@parts_option("--beam-option", multiple=True, metavar="K=V", help="Option of the Beam runner, any number.")
@json_option
def prepare(source: str | None, verify: bool, as_json: bool, **choices: Any) -> None:
    """Prepare the images of SOURCE for training.

    SOURCE is one of

    \b
        demo          drawn by code, the default
        DIR           class folders, with or without split folders above them,
                      or of images with a table of their --labels
        ilsvrc:DIR    ILSVRC-2012 or 2010: the official archives, read in place,
                      or what they unpack to, or Kaggle's layout
        synsets:DIR   a tar for each synset, as ImageNet Fall 2009 and 2011 come
        parquet:DIR   Hugging Face's parquet files, images and labels inside
        tfds:NAME     an image-classification set of TensorFlow Datasets

    Every image's shorter side becomes 256 pixels, and its centred 256x256 patch is kept. Images are shuffled over
    the whole split, so that training can read them in order. The result opens with `tfds.builder_from_directory`. An
    interrupted preparation resumes when the same command is run again, and ends with the same bytes. Images that
    cannot be read are left out and listed by `alexnet info data`.

    For an array of jobs, give each the same command with its own --shard-range, and when all are done the same command
    with --finish.

    Examples:

    \b
        alexnet prepare photos --out data/photos --holdout 0.1
        alexnet prepare brain --splits train=Training,val=Testing
        alexnet prepare dog-breed/train --labels dog-breed/labels.csv
        alexnet prepare ilsvrc:/data/ImageNet --out /data/imagenet256
        alexnet prepare synsets:/data/fall09 --out /data/fall09-256 --holdout 0.5
        alexnet prepare --verify data/photos
    """
    if verify:
        _verify(source, as_json)
        return
    part, finish, runner, options = (choices.pop(name) for name in PARTS)
    given = {"--shard-range": part, "--finish": finish, "--beam-runner": runner}
    alone = [name for name, value in given.items() if value]
    if len(alone) > 1:
        raise UsageError(f"{' and '.join(alone)} exclude each other.")
    if options and not runner:
        raise UsageError("--beam-option needs --beam-runner.")
    if finish and choices["overwrite"]:
        raise UsageError("--finish and --overwrite exclude each other.")
    preparation = _planned("demo" if source is None else source, choices)
    if part:
        first, stop = preparation.make_part(*part)
        where = str(preparation.directory)
        if as_json:
            console.emit_json({"path": where, "shards": [first, stop]})
        else:
            console.result(f"The shards {first}:{stop} of {where} are there. When all are: the same command, --finish.")
        return
    prepared = preparation.finish() if finish else preparation.complete(runner, options)
    if as_json:
        console.emit_json(prepared.summary())
    else:
        _summarize(prepared)


def _planned(source: str, choices: dict[str, Any]) -> "Preparation":
    """The preparation, its images listed before TensorFlow is imported, so that mistakes are reported at once."""
    from alexnet_keras.data.preparation import Preparation

    preparation = Preparation(source, **choices, reporter=console.REPORTER)
    if source.startswith("tfds:"):
        console.start_tensorflow(keras=False)
        if not sys.stderr.isatty():
            import tensorflow_datasets as tfds

            tfds.disable_progress_bar()
    if "holdout" not in preparation.images.options and any(option.name == "holdout" for option in given_options()):
        console.note(f"{source} has a validation split, so nothing is held out.")
    console.start_tensorflow(keras=False)
    return preparation


def _verify(name: str | None, as_json: bool) -> None:
    """Read a prepared dataset again and report its problems."""
    if given := given_options(without=("source", "verify", "as_json")):
        raise UsageError(f"--verify takes a prepared dataset and no {given[0].opts[-1]}.")
    console.start_tensorflow(keras=False)
    from alexnet_keras.data.verify import verify
    from alexnet_keras.errors import DataError

    data = chosen_data(name)
    result = verify(data, console.REPORTER)
    if as_json:
        console.emit_json({"path": str(data.path), **vars(result)})
    elif result.problems:
        for problem in result.problems[:PROBLEMS_SHOWN]:
            console.result(problem)
        if (more := len(result.problems) - PROBLEMS_SHOWN) > 0:
            console.result(f"and {more:,} more")
    else:
        console.result(
            f"{data.path} is whole: {result.shards:,} shards have the manifest's checksums and "
            f"{result.examples:,} images decode."
        )
    if result.problems:
        number = f"{len(result.problems):,} problem{'s' if len(result.problems) > 1 else ''}"
        raise DataError(f"{data.path} is damaged ({number}). Prepare it again with --overwrite.")


def _summarize(prepared: "PreparedDataset") -> None:
    counts = ", ".join(f"{prepared.examples(split):,} {split}" for split in prepared.splits)
    names = list(prepared.titles[:CLASSES_SHOWN])
    more = len(prepared.classes) - len(names)
    console.result(f"Prepared {prepared.path} from {prepared.source}: {counts}.")
    console.result(f"{len(prepared.classes):,} classes: {', '.join(names)}{f' and {more:,} more' if more else ''}.")
    if rejected := prepared.rejected:
        images = f"{len(rejected):,} image{'s' if len(rejected) > 1 else ''}"
        console.result(f"{images} could not be used, listed by {command('info', 'data', argument(prepared.path))}:")
        for image in rejected[:REJECTS_SHOWN]:
            console.result(f"  {image['filename']} ({image['split']}): {image['reason']}")
    console.result(f"Next: {command('train', '--data', prepared.path)}", fit=False)
