"""`alexnet features`."""

from pathlib import Path

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import OutPath, chosen_run, data_of_run, json_option, run_argument, run_data_option

split_option = click.option("--split", default="train", metavar="NAME", help="Split whose images are taken.")
layer_option = click.option(
    "--layer",
    metavar="NAME",
    help="Layer whose output is taken. [default: the last hidden layer; 4096 numbers in source]",
)


@click.command()
@run_argument
@run_data_option
@split_option
@layer_option
@click.option(
    "--out",
    type=OutPath(file_okay=False),
    metavar="DIR",
    help="Directory to write. [default: in the run's features/]",
)
@json_option
def features(run: str | None, data: str | None, split: str, layer: str | None, out: Path | None, as_json: bool) -> None:
    """Write a layer's output for every image of a split.

    The files are .npy. Without RUN, the latest run. An image's row is the layer's output on its centre crop, both
    towers joined. Features that exist are not computed again, and an interrupted command resumes where it stopped.

    Examples:

    \b
        alexnet features
        alexnet features my-run --layer pool5 --split val --out pool5
    """
    run = chosen_run(run)
    run.path_of_model()
    console.start_tensorflow()
    from alexnet_keras.search.store import RunFeatures

    dataset = data_of_run(run, data)
    dataset.examples(split)
    store = RunFeatures(run, layer).store(dataset, split, out, reporter=console.REPORTER)
    if as_json:
        index = {"path": str(store.path), **vars(store.origin), "size": store.size, "rows": store.rows}
        console.emit_json({**index, "shards": len(store.shards), "bytes": store.bytes})
        return
    console.result(
        f"{store.rows} images, {store.size} numbers each from {store.origin.layer}, {store.bytes / 1e6:,.1f} MB in "
        f"{len(store.shards)} {'shard' if len(store.shards) == 1 else 'shards'}: {store.path}"
    )
