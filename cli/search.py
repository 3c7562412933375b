"""`alexnet search`: images like an image."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.features import layer_option, split_option
from alexnet_keras.cli.options import (
    OutPath,
    chosen_run,
    data_of_run,
    json_option,
    run_argument,
    run_data_option,
    run_names,
)
from alexnet_keras.errors import UsageError

if TYPE_CHECKING:
    from alexnet_keras.runs import Run
    from alexnet_keras.search.index import SearchIndex


@click.group()
def search() -> None:
    """Find images that are alike in a layer's output.

    Exactly, or by short binary codes (the paper's section 6.1). Needs FAISS: pip install 'alexnet-keras[search]'.

    \b
    Example: alexnet search build && alexnet search query photo.jpg
    """


@search.command()
@run_argument
@run_data_option
@split_option
@layer_option
@click.option("--bits", type=click.IntRange(8, 4096), default=128, help="Bits of a code, a multiple of 8.")
@click.option("--epochs", type=click.IntRange(1), default=20, help="Epochs of the autoencoder that learns the codes.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, help="Seed of the autoencoder and of the choice of queries."
)
@click.option(
    "--out",
    type=OutPath(file_okay=False),
    metavar="DIR",
    help="Directory to write. [default: in the run's search/]",
)
@json_option
def build(
    run: str | None,
    data: str | None,
    split: str,
    layer: str | None,
    bits: int,
    epochs: int,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Index a split's images, and learn their codes with a small autoencoder.

    Without RUN, the latest run. Missing features are computed first, as by `alexnet features`. Then up to 1000 images
    of another split are searched for: recall@k is the share of the k nearest by exact search among the first k by code.

    Examples:

    \b
        alexnet search build
        alexnet search build my-run --bits 256 --epochs 40
    """
    if bits % 8:
        raise UsageError(f"--bits {bits}: a code fills whole bytes, so it has a multiple of 8 bits.")
    run = _start(run)
    from alexnet_keras.search.codes import CodeOptions
    from alexnet_keras.search.index import index_of
    from alexnet_keras.search.store import RunFeatures

    features, options = RunFeatures(run, layer), CodeOptions(bits, epochs, seed)
    index = index_of(features, data_of_run(run, data), split, options, out, reporter=console.REPORTER)
    _show_index(index, as_json)


@search.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--run", metavar="RUN", shell_complete=run_names, help="Run whose index to search in. [default: the latest]"
)
@click.option(
    "--index",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Index to search in. [default: the run's latest]",
)
@click.option("--count", type=click.IntRange(1, 1000), default=10, help="Images to find for each.")
@click.option("--codes", is_flag=True, help="Search by binary code; the distance is the number of bits that differ.")
@click.option(
    "--rerank", type=click.IntRange(1, 100_000), metavar="N", help="With --codes: re-rank the first N exactly."
)
@json_option
def query(
    images: tuple[str, ...],
    run: str | None,
    directory: Path | None,
    count: int,
    codes: bool,
    rerank: int | None,
    as_json: bool,
) -> None:
    """Find the indexed images nearest to image files: rank, distance, class and file name.

    A file is prepared as the run's training images were, and its centre crop is compared.

    Examples:

    \b
        alexnet search query photo.jpg
        alexnet search query cat.jpg dog.jpg --count 20 --codes --rerank 200
    """
    if rerank is not None and not codes:
        raise UsageError("--rerank goes with --codes: exact search compares every image exactly already.")
    if rerank is not None and rerank < count:
        raise UsageError(f"--rerank {rerank} is less than the --count {count} of images to find.")
    run = _start(run)
    import numpy as np

    from alexnet_keras.evaluation.features import BATCH_SIZE
    from alexnet_keras.evaluation.image_inputs import preparation_of, read_image
    from alexnet_keras.search.index import check_same_model, latest_index, open_index
    from alexnet_keras.search.store import RunFeatures

    path = directory or latest_index(run)
    if directory is None:
        console.note(f"Using the latest index: {path}")
    index = open_index(path)
    index.hold(codes)
    check_same_model(index, run)
    preparation = preparation_of(run)
    computed = RunFeatures(run, index.origin.layer)
    check_same_model(index, run, computed.model_sha256)  # also now: it may be training
    parts = []
    for start in range(0, len(images), BATCH_SIZE):  # so that few images are in memory at a time
        squares = np.stack([read_image(Path(file), preparation) for file in images[start : start + BATCH_SIZE]])
        parts.append(computed.extract(squares))
    features = np.concatenate(parts)
    by_bits = codes and rerank is None
    if rerank is not None:
        nearest = index.reranked(features, count, rerank)
    else:
        nearest = (index.by_code if codes else index.exact)(features, count)
    found: list[dict[str, Any]] = []
    for file, rows, distances in zip(images, nearest.rows, nearest.distances, strict=True):
        neighbors = [
            {
                "rank": rank,
                "distance": int(distance) if by_bits else float(distance),
                "class": index.facts["classes"][index.labels[row]],
                "title": index.titles[index.labels[row]],
                "filename": str(index.filenames[row]),
            }
            for rank, (row, distance) in enumerate(zip(rows, distances, strict=True), 1)
        ]
        found.append({"picture": file, "neighbors": neighbors})
    if as_json:
        console.emit_json({"index": str(index.path), "distance": "bits" if by_bits else "Euclidean", "found": found})
        return
    for each in found:
        console.table(
            f"Nearest to {each['picture']}",
            ["rank", "bits that differ" if by_bits else "distance", "class", "file"],
            [
                [one["rank"], one["distance"] if by_bits else f"{one['distance']:.3f}", one["title"], one["filename"]]
                for one in each["neighbors"]
            ],
        )


def _start(name: str | None) -> "Run":
    """Import FAISS, which has to come before TensorFlow, and TensorFlow; return the run, which has to have a model."""
    from alexnet_keras.search import faiss_library

    faiss_library()
    run = chosen_run(name)
    run.path_of_model()
    console.start_tensorflow()
    return run


def _show_index(index: "SearchIndex", as_json: bool) -> None:
    facts = index.facts
    if as_json:
        shown = {key: value for key, value in facts.items() if key not in ("files", "classes", "titles", "shards")}
        console.emit_json({"index": str(index.path), **shown, **vars(index.origin)})
        return
    console.result(
        f"{facts['rows']} images, {facts['size']} numbers each from {index.origin.layer}, codes of "
        f"{index.options.bits} bits that lose {facts['loss']:.1%} of the variance: {index.path}"
    )
    if "methods" not in facts:
        console.note(f"{index.origin.data} has no other split to search with, so recall was not measured.")
        return
    depths, queries = list(facts["methods"][0]["recall"]), facts["queries"]
    rows = [
        [
            method["method"],
            method["bytes_per_picture"],
            f"{method['ms_per_query']:.2f}",
            *(f"{method[share][k]:.1%}" for share in ("recall", "same_class") for k in depths),
        ]
        for method in facts["methods"]
    ]
    columns = ["search", "bytes per image", "ms per query"]
    columns += [f"{share}@{k}" for share in ("recall", "class") for k in depths]
    title = f"{queries['count']} queries of the split {queries['split']}, against exact search"
    console.table(title, columns, rows)
