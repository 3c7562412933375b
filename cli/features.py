"""`alexnet features`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import OutPath, chosen_run, data_of_run, json_option, run_argument, run_data_option
from alexnet_keras.errors import DataError

if TYPE_CHECKING:
    from alexnet_keras.data.dataset import PreparedDataset
    from alexnet_keras.search.extraction import RunFeatures
    from alexnet_keras.search.store import FeatureStore

split_option = click.option("--split", default="train", metavar="NAME", help="Split whose images are taken.")
layer_option = click.option(
    "--layer", metavar="NAME", help="Layer whose output is taken. [default: the last hidden layer, 4096 numbers]"
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
    """What a layer makes of every image of a split, as .npy files.

    Without RUN, the latest run. An image's row is the layer's output on its centre crop, both towers joined. What is
    there already is not computed again, and an interrupted command goes on where it stopped.

    \b
    Examples:
      alexnet features
      alexnet features my-run --layer pool5 --split val --out pool5
    """
    run = chosen_run(run)
    run.path_of_model()
    console.start_tensorflow()
    from alexnet_keras.search.extraction import RunFeatures

    dataset = data_of_run(run, data)
    dataset.examples(split)
    store = written_features(RunFeatures(run, layer), dataset, split, out)
    if as_json:
        index = {"path": str(store.path), **vars(store.origin), "size": store.size, "rows": store.rows}
        console.emit_json({**index, "shards": len(store.shards), "bytes": store.bytes})
        return
    console.result(
        f"{store.rows} images, {store.size} numbers each from {store.origin.layer}, {store.bytes / 1e6:,.1f} MB in "
        f"{len(store.shards)} {'shard' if len(store.shards) == 1 else 'shards'}: {store.path}"
    )


def written_features(
    taken: "RunFeatures", dataset: "PreparedDataset", split: str, out: Path | None = None
) -> "FeatureStore":
    """The features of a split in `out` or in the run, computed unless they are there; what was done is said.

    Args:
        taken: the `RunFeatures` to compute with.

    Raises:
        DataError: the features in `out` are of something else, or those that are there are damaged.
    """
    from alexnet_keras.search.store import INDEX, open_features

    path = out or taken.path(dataset, split)
    if store := taken.finished(path, dataset, split):
        console.note(f"Using the features that are there: {path}")
        return store
    if (path / INDEX).exists():
        old, new = open_features(path).origin, taken.origin(dataset, split)
        if out:
            raise DataError(f"{path} has features of {old}, not of {new}: choose another directory with --out.")
        console.note(f"The features in {path} are of {old}; they are computed anew for {new}.")
    with console.progress("features", dataset.examples(split)) as advance:
        return taken.write(path, dataset, split, on_progress=advance)
