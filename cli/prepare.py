"""`alexnet prepare`: pictures in, a prepared dataset out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alexnet_keras.cli import console

if TYPE_CHECKING:
    from alexnet_keras.data.prepared import PreparedDataset
    from alexnet_keras.data.sources.source import Source

DATA_ROOT = Path("data")
REJECTS_SHOWN = 5
CLASSES_SHOWN = 12


class MaxBad(click.ParamType):
    """A count of pictures ("20") or a part of all of them ("2%", a float 0..1 in Python)."""

    name = "count|percent"

    def convert(self, value, param, ctx) -> int | float:
        try:
            number = float(value[:-1]) / 100 if value.endswith("%") else int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a count such as 20 nor a percentage such as 2%.", param, ctx)
        if number < 0 or (isinstance(number, float) and number > 1):
            self.fail(f"{value!r} is out of range.", param, ctx)
        return number


@click.command(epilog="Example: `alexnet prepare photos --out data/photos --holdout 0.1`")
@click.argument("source", default="demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Directory to make.  [default: data/ and the name]",
)
@click.option("--name", help="Name of the dataset.  [default: the directory's]")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Decides the order of the pictures, which are held out, and what the demo set looks like.",
)
@click.option(
    "--holdout",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Part of each class to validate on, where the source has no validation split.",
)
@click.option(
    "--max-bad",
    type=MaxBad(),
    help="Unusable pictures allowed: a count, or a percentage.  [default: 10, or 1% where that is more]",
)
@click.option("--overwrite", is_flag=True, help="Replace a preparation with other options in the same directory.")
@click.option("--tfds-dir", type=click.Path(path_type=Path), help="Where TFDS keeps its sets.  [default: TFDS's own]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def prepare(
    source: str,
    out: Path | None,
    name: str | None,
    seed: int,
    holdout: float,
    max_bad: int | float | None,
    overwrite: bool,
    tfds_dir: Path | None,
    as_json: bool,
) -> None:
    """Prepare the pictures of SOURCE for training.

    SOURCE is `demo` (drawn by code, the default), a folder of class folders with or without train and val
    folders around them, or `tfds:NAME`, any image-classification set of TensorFlow Datasets.

    Every picture's shorter side becomes 256 pixels, and its centred 256x256 patch is kept. The result opens
    with `tfds.builder_from_directory`. An interrupted preparation goes on when the same command is run again;
    pictures that cannot be read are left out and listed in the result's manifest.json.
    """
    pictures = _open_source(source, out, name, seed, holdout, overwrite, tfds_dir)
    out = out or DATA_ROOT / (name or pictures.name)
    for text in pictures.notes:
        console.note(text)
    counts = ", ".join(f"{len(split):,} {key}" for key, split in pictures.splits.items())
    console.note(f"Preparing {pictures.given} into {out}: {counts}, {len(pictures.classes)} classes, seed {seed}.")

    console.start_tensorflow()
    from alexnet_keras.data.prepare import prepare as run

    total = sum(len(split) for split in pictures.splits.values())
    with console.progress("preparing", total) as advance:
        prepared = run(
            pictures,
            out,
            seed=seed,
            name=name,
            max_bad=max_bad,
            overwrite=overwrite,
            on_progress=advance,
            on_note=console.note,
        )
    if as_json:
        console.emit_json(_as_json(prepared))
    else:
        _summarize(prepared)


def _open_source(
    source: str,
    out: Path | None,
    name: str | None,
    seed: int,
    holdout: float,
    overwrite: bool,
    tfds_dir: Path | None,
) -> "Source":
    if source == "demo":
        from alexnet_keras.data.sources.demo import demo_pictures, demo_source

        out = out or DATA_ROOT / (name or "demo")
        with console.progress("drawing", demo_pictures()) as advance:
            folder = out.with_name(f"{out.resolve().name}-pictures")
            return demo_source(folder, seed=seed, overwrite=overwrite, on_progress=advance)
    if source.startswith("tfds:"):
        from alexnet_keras.data.sources.tfds import tfds_source

        console.start_tensorflow()
        if not sys.stderr.isatty():
            import tensorflow_datasets as tfds

            tfds.disable_progress_bar()
        return tfds_source(source.removeprefix("tfds:"), data_dir=tfds_dir, holdout=holdout, seed=seed)
    from alexnet_keras.data.sources.folder import folder_source

    return folder_source(Path(source.removeprefix("folder:")), holdout=holdout, seed=seed)


def _as_json(prepared: "PreparedDataset") -> dict:
    return {
        "path": str(prepared.path),
        "name": prepared.name,
        "source": prepared.source,
        "fingerprint": prepared.fingerprint,
        "classes": list(prepared.classes),
        "splits": {
            split: {"examples": prepared.examples(split), "class_counts": prepared.class_counts(split)}
            for split in prepared.splits
        },
        "rejected": prepared.rejected,
    }


def _summarize(prepared: "PreparedDataset") -> None:
    counts = ", ".join(f"{prepared.examples(split):,} {split}" for split in prepared.splits)
    names = list(prepared.classes[:CLASSES_SHOWN])
    more = len(prepared.classes) - len(names)
    console.result(f"Prepared {prepared.path} from {prepared.source}: {counts}.")
    console.result(f"{len(prepared.classes)} classes: {', '.join(names)}{f' and {more} more' if more else ''}.")
    if rejected := prepared.rejected:
        pictures = f"{len(rejected)} picture{'s' if len(rejected) > 1 else ''}"
        console.result(f"{pictures} could not be used, listed in {prepared.path / 'manifest.json'}:")
        for picture in rejected[:REJECTS_SHOWN]:
            console.result(f"  {picture['filename']} ({picture['split']}): {picture['reason']}")
    console.result(f"Next: alexnet train --data {prepared.path}")
