"""`alexnet prepare`: images in, a prepared dataset out."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import OutPath, SectionedCommand, SectionOption, json_option
from alexnet_keras.storage.places import argument, check_name, command, data_root, good_name

if TYPE_CHECKING:
    from alexnet_keras.data.dataset import PreparedDataset
    from alexnet_keras.data.preparation import Preparation
    from alexnet_keras.data.sources.open import SourceRequest
    from alexnet_keras.data.sources.source import Source

REJECTS_SHOWN = 5
CLASSES_SHOWN = 12
PROBLEMS_SHOWN = 20


class MaxBad(click.ParamType):
    """A count of images ("20") or a part of all of them ("2%", a float 0..1 in Python)."""

    name = "count|percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float:
        try:
            number = float(value[:-1]) / 100 if value.endswith("%") else int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a count such as 20 nor a percentage such as 2%.", param, ctx)
        if number < 0 or (isinstance(number, float) and number > 1):
            self.fail(f"{value!r} is out of range.", param, ctx)
        return number


class ShardRange(click.ParamType):
    """Shards by number, "0:256" for the first 256."""

    name = "first:stop"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        first, colon, stop = value.partition(":")
        if not (colon and first.isdecimal() and stop.isdecimal() and int(first) < int(stop)):
            self.fail(f"{value!r} is no range of shards such as 0:256.", param, ctx)
        return int(first), int(stop)


class SplitFolders(click.ParamType):
    """ "none", or "train=Training,val=Testing"."""

    name = "none|SPLIT=DIR,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        if isinstance(value, dict) or value == "none":
            return value if isinstance(value, dict) else {}
        pairs = [part.partition("=") for part in value.split(",")]
        found = {split.strip(): folder.strip() for split, _, folder in pairs}
        if len(found) < len(pairs) or not found.keys() <= {"train", "val", "test"} or not all(found.values()):
            self.fail(f"{value!r} is neither none nor split folders such as train=Training,val=Testing.", param, ctx)
        return found


def _option(section: str, *names: str, **settings: Any) -> Callable:
    return click.option(*names, cls=SectionOption, section=section, **settings)


images_option = functools.partial(_option, "Which images")
result_option = functools.partial(_option, "The result")
parts_option = functools.partial(_option, "Many machines")


@click.command(
    cls=SectionedCommand,
    epilog="""\b
Examples:
  alexnet prepare photos --out data/photos --holdout 0.1
  alexnet prepare brain --splits train=Training,val=Testing
  alexnet prepare dog-breed/train --labels dog-breed/labels.csv
  alexnet prepare ilsvrc:/data/ImageNet --out /data/imagenet256
  alexnet prepare synsets:/data/fall09 --out /data/fall09-256 --holdout 0.5
  alexnet prepare --verify data/photos""",
)
@click.argument("source", required=False)
@result_option("--out", type=OutPath(), help="Directory to make.  [default: data/ and the source's name]")
@result_option("--name", help="Name of the dataset.  [default: the directory's]")
@images_option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    help="Decides the order of the images, which are held out or taken, and what the demo set looks like.",
)
@images_option(
    "--holdout",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    help="Part of each class to validate on, where the source has no validation split.",
)
@images_option(
    "--classes",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of the classes to take, one a line, perhaps with its name in words.  [default: all]",
)
@images_option(
    "--splits",
    type=SplitFolders(),
    help="Which folders are splits, as train=DIR,val=DIR,test=DIR, or none.  [default: told by their names]",
)
@images_option(
    "--labels",
    multiple=True,
    metavar="[SPLIT=]FILE",
    help="Table of file and label, and perhaps split, for images that lie in no class folders.",
)
@images_option(
    "--limit-per-class",
    type=click.IntRange(1),
    help="Images of each class in each split at most, chosen by the seed.  [default: all]",
)
@images_option(
    "--class-order",
    type=click.Choice(["wnid", "ilsvrc"]),
    help="Order of ILSVRC's classes: by WordNet id, as Caffe, Keras and torchvision have them, or by ILSVRC id.  "
    "[default: wnid]",
)
@images_option(
    "--partial", is_flag=True, help="Accept fewer classes or images than the ILSVRC devkit or --labels counts."
)
@images_option("--tfds-dir", type=click.Path(path_type=Path), help="Where TFDS keeps its sets.  [default: TFDS's own]")
@images_option("--exif", is_flag=True, help="Turn images as their EXIF orientation says; in 2012 it was ignored.")
@images_option(
    "--max-pixels",
    type=click.IntRange(1),
    default=100_000_000,
    help="An image with more is not decoded, and counts as unusable.",
)
@images_option(
    "--max-bad",
    type=MaxBad(),
    help="Unusable images allowed: a count, or a percentage.  [default: 10, or 1% where that is more]",
)
@result_option(
    "--encoding",
    type=click.Choice(["jpeg", "png", "raw"]),
    default="jpeg",
    help="How the 256x256 images are stored: JPEG in about 39 kB, or without loss as PNG in about 110 kB or as bytes "
    "in 197 kB.",
)
@result_option(
    "--quality",
    type=click.IntRange(1, 100),
    help="Of JPEG, in full colour resolution. 95 changes a channel by 1.6 of 255 on average, 90 by 2.3 and 97 by "
    "1.1.  [default: 95]",
)
@result_option(
    "--shard-examples",
    type=click.IntRange(1, 1_000_000),
    default=1024,
    help="Images in a shard at most; what is not done again after an interruption.",
)
@result_option("--overwrite", is_flag=True, help="Replace a preparation with other options in the same directory.")
@result_option("--verify", is_flag=True, help="Prepare nothing: read the prepared dataset SOURCE again, all of it.")
@parts_option("--shard-range", type=ShardRange(), help="Make these shards only.  [default: all]")
@parts_option("--finish", is_flag=True, help="Make no shards: merge the statistics of all and write the metadata.")
@parts_option("--beam-runner", metavar="NAME", help="Make the shards on Apache Beam.  [default: in this process]")
@parts_option("--beam-option", multiple=True, metavar="K=V", help="Option of the Beam runner, any number.")
@json_option
@click.pass_context
def prepare(ctx: click.Context, source: str | None, verify: bool, as_json: bool, **choices: Any) -> None:
    """Prepare the images of SOURCE for training.

    \b
    SOURCE is one of
      demo          drawn by code, the default
      DIR           class folders, with or without split folders above them,
                    or of images with a table of their --labels
      ilsvrc:DIR    ILSVRC-2012 or 2010: the official tars and devkit, read in place,
                    or what they unpack to, or Kaggle's layout
      synsets:DIR   a tar for each synset, as ImageNet Fall 2009 and 2011 come
      parquet:DIR   Hugging Face's parquet files, images and labels inside
      tfds:NAME     an image-classification set of TensorFlow Datasets

    Every image's shorter side becomes 256 pixels, and its centred 256x256 patch is kept. Images are shuffled over
    the whole split, so that training can read them in order. The result opens with `tfds.builder_from_directory`. An
    interrupted preparation goes on when the same command is run again, and ends with the same bytes. Images that
    cannot be read are left out and listed by `alexnet info data`.

    For an array of jobs, give each the same command with its own --shard-range, and when all are done the same command
    with --finish.
    """
    from alexnet_keras.data.sources.open import default_name

    if verify:
        _verify(ctx, source, as_json)
        return
    _check_choices(ctx, source or "demo", choices)
    if choices["name"] is not None:
        check_name(choices["name"], "--name")
    out = choices["out"] or data_root() / (choices["name"] or good_name(default_name(source or "demo")))
    request = _request(source or "demo", out, choices)
    prepared = _run(ctx, request, _open(request), out, choices)
    if prepared is None:
        first, stop = choices["shard_range"]
        if as_json:
            console.emit_json({"path": str(out), "shards": [first, stop]})
        else:
            console.result(f"The shards {first}:{stop} of {out} are there. When all are: the same command, --finish.")
    elif as_json:
        console.emit_json(_as_json(prepared))
    else:
        _summarize(prepared)


def _check_choices(ctx: click.Context, source: str, choices: dict[str, Any]) -> None:
    """Options that would do nothing, or exclude each other, are refused."""
    alone = [f"--{name.replace('_', '-')}" for name in ("shard_range", "finish", "beam_runner") if choices[name]]
    if len(alone) > 1:
        raise click.UsageError(f"{' and '.join(alone)} exclude each other.")
    if choices["beam_option"] and not choices["beam_runner"]:
        raise click.UsageError("--beam-option needs --beam-runner.")
    if choices["quality"] and choices["encoding"] != "jpeg":
        raise click.UsageError(f"--quality is for JPEG; {choices['encoding']} loses nothing.")
    if choices["tfds_dir"] and not source.startswith("tfds:"):
        raise click.UsageError(f"--tfds-dir is for tfds: sources, and {source} is none.")
    if choices["finish"] and choices["overwrite"]:
        raise click.UsageError("--finish and --overwrite exclude each other.")


def _request(source: str, out: Path, choices: dict[str, Any]) -> "SourceRequest":
    """What is asked of the source, with a directory for what it wants to remember."""
    from alexnet_keras.data.resume import check_ours
    from alexnet_keras.data.shards import WORK
    from alexnet_keras.data.sources.open import SourceRequest

    check_ours(out)
    wanted = ("seed", "holdout", "classes", "limit_per_class", "class_order", "partial", "splits", "labels", "tfds_dir",
              "overwrite")  # fmt: skip
    return SourceRequest(
        source,
        **{name: choices[name] for name in wanted},
        demo_folder=out.with_name(f"{out.resolve().name}-pictures"),
        cache=out / WORK,
    )


def _open(request: "SourceRequest") -> "Source":
    """List the images, which of a large set takes a while."""
    from alexnet_keras.data.sources.open import kind_of, open_source

    if kind_of(request.given) == "tfds":
        console.start_tensorflow(keras=False)
        if not sys.stderr.isatty():
            import tensorflow_datasets as tfds

            tfds.disable_progress_bar()
    source = open_source(request, reporter=console.REPORTER)
    for text in source.notes:
        console.note(text)
    return source


def _run(
    ctx: click.Context, request: "SourceRequest", source: "Source", out: Path, choices: dict[str, Any]
) -> "PreparedDataset | None":
    """Prepare; None where only a part was asked for."""
    console.start_tensorflow(keras=False)
    from alexnet_keras.data.preparation import finish_parts, prepare_all, prepare_part

    make = _maker(out, choices)
    preparation = make(source)
    counts = ", ".join(f"{len(split):,} {key}" for key, split in source.splits.items())
    console.note(
        f"Preparing {source.given} into {out}: {counts}, {len(source.classes):,} classes, seed {request.seed}, "
        f"{len(preparation.shards):,} shards."
    )
    if "holdout" not in source.options and _is_given(ctx, "holdout"):
        console.note(f"{source.given} has a validation split, so nothing is held out.")
    if choices["finish"]:
        return finish_parts(preparation, on_note=console.note)
    if choices["beam_runner"]:
        return _with_beam(request, make, preparation, choices)
    overwrite = choices["overwrite"]
    if choices["shard_range"]:
        first, stop = choices["shard_range"]
        mine = sum(len(shard.images) for shard in preparation.shards[first:stop])
        with console.progress("preparing", mine) as advance:
            prepare_part(preparation, first, stop, overwrite=overwrite, on_progress=advance, on_note=console.note)
        return None
    with console.progress("preparing", preparation.images) as advance:
        return prepare_all(preparation, overwrite=overwrite, on_progress=advance, on_note=console.note)


def _with_beam(
    request: "SourceRequest",
    make: "Callable[[Source], Preparation]",
    preparation: "Preparation",
    choices: dict[str, Any],
) -> "PreparedDataset":
    try:
        from alexnet_keras.data.beam import prepare_with_beam
    except ImportError as error:
        raise click.UsageError("Apache Beam is not installed: pip install 'alexnet-keras[beam]'.") from error

    with console.progress("preparing", preparation.images) as advance:
        return prepare_with_beam(
            preparation,
            functools.partial(_make_again, make, request.absolute()),
            choices["beam_runner"],
            choices["beam_option"],
            overwrite=choices["overwrite"],
            on_progress=advance,
            on_note=console.note,
        )


def _make_again(make: "Callable[[Source], Preparation]", request: "SourceRequest") -> "Preparation":
    """The preparation in another process."""
    from alexnet_keras.data.sources.open import open_source

    return make(open_source(request))


def _maker(out: Path, choices: dict[str, Any]) -> "Callable[[Source], Preparation]":
    """From a source to its preparation with these choices; picklable."""
    from alexnet_keras.data.image_formats import Decoding
    from alexnet_keras.data.images import JPEG_QUALITY, Encoding
    from alexnet_keras.data.preparation import Preparation

    return functools.partial(
        Preparation,
        out=out.absolute() if choices["beam_runner"] else out,
        name=choices["name"] or "",
        seed=choices["seed"],
        encoding=Encoding(choices["encoding"], choices["quality"] or JPEG_QUALITY),
        decoding=Decoding(choices["max_pixels"], choices["exif"]),
        shard_examples=choices["shard_examples"],
        max_bad=choices["max_bad"],
    )


def _is_given(ctx: click.Context, option: str) -> bool:
    return ctx.get_parameter_source(option) is not click.core.ParameterSource.DEFAULT


def _verify(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """Read a prepared dataset again and say what is wrong with it."""
    given = [name for name in ctx.params if name not in ("source", "verify", "as_json") and _is_given(ctx, name)]
    if given:
        raise click.UsageError(f"--verify takes a prepared dataset and no --{given[0].replace('_', '-')}.")
    console.start_tensorflow(keras=False)
    from alexnet_keras.cli.options import chosen_data
    from alexnet_keras.data.verify import verify
    from alexnet_keras.errors import DataError

    data = chosen_data(name)
    with console.progress("verifying", sum(data.examples(split) for split in data.splits)) as advance:
        found = verify(data, advance)
    if as_json:
        console.emit_json({"path": str(data.path), **vars(found)})
    elif found.problems:
        for problem in found.problems[:PROBLEMS_SHOWN]:
            console.result(problem)
        if (more := len(found.problems) - PROBLEMS_SHOWN) > 0:
            console.result(f"and {more:,} more")
    else:
        console.result(
            f"{data.path} is whole: {found.shards:,} shards have the manifest's checksums and "
            f"{found.examples:,} images decode."
        )
    if found.problems:
        number = f"{len(found.problems):,} problem{'s' if len(found.problems) > 1 else ''}"
        raise DataError(f"{data.path} is damaged ({number}). Prepare it again with --overwrite.")


def _as_json(prepared: "PreparedDataset") -> dict:
    return {
        "path": str(prepared.path),
        "name": prepared.name,
        "source": prepared.source,
        "fingerprint": prepared.fingerprint,
        "classes": list(prepared.classes),
        "words": list(prepared.words),
        "splits": {
            split: {"examples": prepared.examples(split), "class_counts": prepared.class_counts(split)}
            for split in prepared.splits
        },
        "rejected": prepared.rejected,
    }


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
    console.result(f"Next: {command('train', '--data', prepared.path)}")
