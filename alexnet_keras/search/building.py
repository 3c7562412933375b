"""From features on disk to an index to search in: vectors and codes in FAISS, and how well the codes do."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.files import write_by_rename
from alexnet_keras.search.codes import SAMPLE_BYTES, CodeOptions, Encoder, train_encoder
from alexnet_keras.search.faiss_extra import faiss_library
from alexnet_keras.search.index import (
    CODES,
    ENCODER,
    FACTS,
    FILENAMES,
    FORMAT,
    LABELS,
    SearchIndex,
    exact_name,
    open_index,
)
from alexnet_keras.search.recall import measure
from alexnet_keras.search.sealed import LOCK, seal_of, write_facts, writing_lock
from alexnet_keras.search.store import FeatureStore, Origin, sample

QUERIES = 1000  # pictures to measure recall with, from a split that is not indexed


def build(
    path: Path,
    store: FeatureStore,
    options: CodeOptions,
    held_out: tuple[str, np.ndarray, np.ndarray] | None,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> SearchIndex:
    """Learns codes on features, indexes both, and measures the codes against exact search.

    Held in memory are a sample of at most `codes.SAMPLE_BYTES` to learn on, one shard, and all codes.

    Args:
        held_out: the name of a split that is not indexed, features float32 `(queries, size)` of pictures of it and
            their labels int64 `(queries,)`; None measures nothing.
        on_epoch: called with the loss of each epoch of the autoencoder.

    Raises:
        UsageError: FAISS is missing, or the directory has other things in it.
        DataError: a feature file is damaged, or all features are the same.
        AlexNetError: another process is writing there.
    """
    faiss_library()
    with writing_lock(path):
        _clear(path)
        rows = sample(store, SAMPLE_BYTES, options.seed)
        encoder, loss = train_encoder(rows, options, on_epoch)
        index = _write(path, store, encoder)
        facts = {**index.facts, "options": asdict(options), "sampled": len(rows), "loss": loss}
        if held_out:
            split, features, labels = held_out
            measured = measure(SearchIndex(path, facts, store.origin), features, labels)
            facts |= {"queries": {"split": split, "count": len(labels)}, "methods": measured}
        write_facts(path / FACTS, facts)
        return SearchIndex(path, facts, store.origin)


def finished_index(path: Path, origin: Origin, options: CodeOptions) -> SearchIndex | None:
    """The index in a directory if it is whole, of these features, and built with these options."""
    try:
        index = open_index(path)
    except (DataError, UsageError):
        return None
    return index if index.origin.same_features(origin) and index.options == options else None


def queries_of(data: PreparedDataset, indexed: str, seed: int) -> tuple[str, np.ndarray] | None:
    """A split that is not indexed and positions in it of pictures to search for; None where there is no other split."""
    for split in ("val", "test", "train"):
        if split != indexed and split in data.splits and (examples := data.examples(split)):
            return split, np.sort(np.random.default_rng(seed).permutation(examples)[:QUERIES])
    return None


def _write(path: Path, store: FeatureStore, encoder: Encoder) -> SearchIndex:
    """Writes every file but the one that seals them; a shard at a time."""
    faiss = faiss_library()
    codes = faiss.IndexBinaryFlat(encoder.bits)
    labels, filenames, shards = [], [], []
    for number, shard in enumerate(store.read()):
        exact = faiss.IndexFlatL2(store.size)
        exact.add(np.asarray(shard.features))
        with write_by_rename(path / exact_name(number)) as file:
            faiss.write_index(exact, str(file))
        codes.add(encoder(shard.features))
        labels.append(shard.labels)
        filenames.append(shard.filenames)
        shards.append(len(shard.labels))
    with write_by_rename(path / CODES) as file:
        faiss.write_index_binary(codes, str(file))
    with write_by_rename(path / ENCODER) as file:
        encoder.model.save(file)
    for name, parts in ((LABELS, labels), (FILENAMES, filenames)):
        with write_by_rename(path / name) as file:
            np.save(file, np.concatenate(parts), allow_pickle=False)
    names = [*map(exact_name, range(len(shards))), CODES, ENCODER, LABELS, FILENAMES]
    facts: dict[str, Any] = {
        "format": FORMAT,
        **asdict(store.origin),
        "size": store.size,
        "rows": store.rows,
        "classes": list(store.classes),
        "titles": list(store.titles),
        "shards": shards,
        "files": {name: seal_of(path / name) for name in names},
    }
    return SearchIndex(path, facts, store.origin)


def _clear(path: Path) -> None:
    """Takes away an older index, search.json first, so that what is left is never taken for a whole one.

    Raises:
        UsageError: there are other things in the directory.
    """
    found = {file.name for file in path.iterdir()} - {LOCK}
    if any(not name.endswith((".faiss", FACTS, ENCODER, LABELS, FILENAMES)) for name in found):
        raise UsageError(f"{path} has other things in it than an index: choose another directory with --out.")
    for name in sorted(found, key=lambda name: name != FACTS):
        (path / name).unlink()
