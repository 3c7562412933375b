"""A run with a model that knows nothing, and features and an index that need none."""

from pathlib import Path

import numpy as np
import pytest
from untrained import untrained_run

from alexnet_keras.search.store import FeatureStore, Origin, begin_features

CLASSES = ("cat", "dog", "fish")


@pytest.fixture(scope="session")
def run(tiny, prepared, tmp_path_factory):
    return untrained_run(tmp_path_factory.mktemp("runs") / "untrained", tiny, prepared)


@pytest.fixture(scope="session")
def curved():
    """Features near a curved surface of 8 dimensions, and noise, in 96: float32 `(n, 96)`."""

    def draw(count: int, seed: int) -> np.ndarray:
        shape, random = np.random.default_rng(0), np.random.default_rng(seed)
        first, second = shape.normal(size=(8, 48)) * 0.3, shape.normal(size=(48, 96))
        clean = np.tanh(random.normal(size=(count, 8)) @ first) @ second
        return np.maximum(clean + random.normal(0, 2, clean.shape), 0).astype(np.float32)

    return draw


@pytest.fixture
def store_of(tmp_path):
    """Writes features to a store, in shards of `rows`; labels count up, files are named for their row or by `names`."""
    return lambda features, rows=100, name="features", names=None: write_store(tmp_path / name, features, rows, names)


@pytest.fixture(scope="session")
def built(curved, tmp_path_factory):
    """An index of 250 images in three shards."""
    from alexnet_keras.search.codes import CodeOptions
    from alexnet_keras.search.index import build

    root = tmp_path_factory.mktemp("search")
    return build(root / "index", write_store(root / "features", curved(250, seed=1), 100), CodeOptions(32, 2, 0), None)


def write_store(path: Path, features: np.ndarray, rows: int, names: dict[int, str] | None = None) -> FeatureStore:
    origin = Origin("a-run", "ab" * 32, "fc7", "data/animals", "cd" * 32, "train")
    store = begin_features(FeatureStore(path, origin, features.shape[1], CLASSES, CLASSES))
    for start in range(0, len(features), rows):
        part = np.arange(start, min(start + rows, len(features)))
        files = np.array([(names or {}).get(row, f"{row}.jpg") for row in part.tolist()])
        store = store.write(features[part], part % len(CLASSES), files)
    return store.seal()
