"""Features on disk: what a layer gives, in bounded shards, computed once, and never read when damaged."""

import dataclasses
import json
import shutil
import tracemalloc

import numpy as np
import pytest
from damage import cut, flip
from tiers import rest_slow

from alexnet_keras import AlexNet
from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.errors import AlexNetError, DataError, UsageError
from alexnet_keras.evaluation.features import FeatureExtractor
from alexnet_keras.runs import Run
from alexnet_keras.search import store
from alexnet_keras.search.store import RunFeatures, begin_features, open_features, writing_lock
from alexnet_keras.storage.files import sha256_of


def assert_same(found, expected):
    """To the rounding of sums in another order: of large numbers they leave small ones."""
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@pytest.fixture
def small_shards(monkeypatch):
    """A shard takes two batches of five images, of a layer of 24 numbers."""
    monkeypatch.setattr(store, "BATCH_SIZE", 5)
    monkeypatch.setattr(store, "SHARD_BYTES", 10 * 24 * 4)


@pytest.fixture(scope="module")
def taken(run):
    return RunFeatures(run)


def test_a_model_that_its_training_replaces_meanwhile_is_loaded_again(run, tiny, tmp_path, monkeypatch):
    training = Run(shutil.copytree(run.path, tmp_path / "training"))
    load, better = Run.load_model, AlexNet(tiny, classes=3, seed=7)

    def load_and_replace(self, which="best"):
        model = load(self, which)
        if load_and_replace.first:
            load_and_replace.first = False
            better.save(training.model_path)
        return model

    load_and_replace.first = True
    monkeypatch.setattr(Run, "load_model", load_and_replace)
    taken = RunFeatures(training)
    assert taken.model_sha256 == sha256_of(training.model_path) != sha256_of(run.model_path)
    images = np.zeros((1, 256, 256, 3), np.uint8)
    np.testing.assert_array_equal(taken.extract(images), FeatureExtractor(better)(images))


class Refusing:
    """A layer that is not computed."""

    def __init__(self, extract):
        self.layer, self.size = extract.layer, extract.size

    def __call__(self, images):
        pytest.fail("nothing has to be computed")


def files_of(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name != "lock"}


@pytest.mark.parametrize("layer", rest_slow((None, "conv5", "predictions")))
def test_the_shards_are_what_the_layer_gives(run, prepared, tmp_path, small_shards, layer):
    taken, path = RunFeatures(run, layer), tmp_path / "out"
    written = taken.store(prepared, "train", path)
    index = json.loads((path / "index.json").read_text())
    # With numpy and the index alone, as somebody without this package would.
    names = [f"{number:05}" for number in range(len(index["shards"]))]
    features, labels, filenames = (
        np.concatenate([np.load(path / f"{name}.{column}.npy") for name in names])
        for column in ("features", "labels", "filenames")
    )
    batches = [(taken.extract(x), y.numpy(), z.numpy()) for x, y, z in evaluation_batches(prepared, "train", 36)]
    assert features.dtype == np.float32 and features.shape == (36, index["size"]) == (36, taken.extract.size)
    assert_same(features, batches[0][0])
    np.testing.assert_array_equal(labels, batches[0][1])
    assert filenames.tolist() == [name.decode() for name in batches[0][2]]
    assert index["run"] == "untrained" and index["layer"] == (layer or "drop7") and index["split"] == "train"
    assert index["model_sha256"] == sha256_of(run.model_path) and index["fingerprint"] == prepared.fingerprint
    assert index["rows"] == 36 and index["classes"] == ["blue", "green", "red"]
    for name, shard in zip(names, index["shards"], strict=True):
        assert shard["features"]["sha256"] == sha256_of(path / f"{name}.features.npy")
    if layer is None:
        assert [shard["rows"] for shard in index["shards"]] == [10, 10, 10, 6]
        assert all((path / f"{name}.features.npy").stat().st_size <= 10 * 24 * 4 + 128 for name in names)
    assert written == open_features(path)


def test_an_interrupted_command_resumes_and_ends_with_the_same_bytes(run, prepared, tmp_path, small_shards):
    taken = RunFeatures(run)
    taken.store(prepared, "train", tmp_path / "whole")
    network, seen = taken.extract, []

    class Counting:
        layer, size = network.layer, network.size

        def __call__(self, images):
            seen.append(len(images))
            if sum(seen) > 23:
                raise KeyboardInterrupt
            return network(images)

    taken.extract = Counting()
    with pytest.raises(KeyboardInterrupt):
        taken.store(prepared, "train", tmp_path / "cut")
    with pytest.raises(DataError, match="not finished"):
        open_features(tmp_path / "cut")
    seen[:] = [-1000]
    taken.store(prepared, "train", tmp_path / "cut")
    assert sum(seen) + 1000 == 16, "the two shards that were there are not computed again"
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


def test_nothing_is_computed_where_only_the_seal_is_missing(run, prepared, tmp_path, small_shards, monkeypatch):
    taken, path = RunFeatures(run), tmp_path / "out"
    taken.store(prepared, "train", path)
    before = files_of(path)
    (path / "index.json").rename(path / "unfinished.json")
    monkeypatch.setattr(taken, "extract", Refusing(taken.extract))
    taken.store(prepared, "train", path)
    assert files_of(path) == before


def test_what_another_process_finished_before_the_lock_was_taken_is_kept(store_of):
    finished = store_of(np.ones((30, 4), np.float32), rows=20)
    before = files_of(finished.path)
    assert begin_features(dataclasses.replace(finished, shards=())) == finished
    assert files_of(finished.path) == before


@pytest.mark.slow
def test_what_is_left_of_another_model_is_not_resumed(taken, prepared, small_shards):
    path = taken.store(prepared, "val").path
    before = files_of(path)
    index = json.loads((path / "index.json").read_text())
    (path / "index.json").unlink()
    changed = {**index, "model_sha256": "00" * 32, "shards": index["shards"][:1], "rows": index["shards"][0]["rows"]}
    (path / "unfinished.json").write_text(json.dumps(changed))
    np.save(path / "00000.features.npy", np.load(path / "00000.features.npy") + 1)
    taken.store(prepared, "val")
    assert files_of(path) == before


def test_finished_features_are_used_again_for_the_same_model_layer_data_and_split(
    run, taken, prepared, tmp_path, monkeypatch
):
    path = tmp_path / "out"
    taken.store(prepared, "val", path)
    before = files_of(path)
    monkeypatch.setattr(taken, "extract", Refusing(taken.extract))
    assert taken.store(prepared, "val", path).rows == 12
    for other, split in ((taken, "train"), (RunFeatures(run, "fc6"), "val")):
        with pytest.raises(DataError, match=r"out is of layer drop7 .*--out"):
            other.store(prepared, split, path)
    assert files_of(path) == before


def test_features_of_others_that_are_not_finished_are_left_alone_where_they_are_named(taken, prepared, tmp_path):
    path = tmp_path / "out"
    taken.store(prepared, "val", path)
    (path / "index.json").rename(path / "unfinished.json")
    before = files_of(path)
    with pytest.raises(DataError, match=r"colors val, not of .*colors train.*--out"):
        taken.store(prepared, "train", path)
    assert files_of(path) == before


def test_files_with_similar_names_are_not_taken_for_features(taken, prepared, tmp_path):
    for name in ("my.features.npy", "package-index.json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes(b"of somebody")
        with pytest.raises(UsageError, match="other things"):
            taken.store(prepared, "val", tmp_path / name)
        assert (tmp_path / name / name).read_bytes() == b"of somebody"
    left = tmp_path / "left"
    left.mkdir()
    (left / ".partial-box-7-00000.features.npy").write_bytes(b"of a killed process")
    assert taken.store(prepared, "val", left).rows == 12


def test_features_of_some_positions_are_those_of_all(taken, prepared, tmp_path):
    everything = np.concatenate([shard.features for shard in taken.store(prepared, "train", tmp_path / "out").read()])
    features, labels = taken.of_positions(prepared, "train", np.array([2, 11, 30]))
    assert_same(features, everything[[2, 11, 30]])
    assert labels.shape == (3,)


def test_a_sample_takes_no_more_memory_than_it_may(store_of):
    random = np.random.default_rng(0)
    features = random.normal(size=(32 * 512, 128)).astype(np.float32)  # 8 MiB
    written = store_of(features, rows=512)
    tracemalloc.start()
    picked = written.sample(2**20, seed=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert picked.shape == (2048, 128) and peak < 3 * 2**20
    rows = {row.tobytes() for row in features}
    assert all(row.tobytes() in rows for row in picked) and len({row.tobytes() for row in picked}) == 2048
    np.testing.assert_array_equal(picked, written.sample(2**20, seed=1))
    assert not np.array_equal(picked, written.sample(2**20, seed=2))
    np.testing.assert_array_equal(written.sample(2**30, seed=1), features)


def edited(change):
    def edit(path):
        index = json.loads(path.read_text())
        change(index)
        path.write_text(json.dumps(index))

    return edit


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("00001.features.npy", cut, "00001.features.npy is damaged: it has"),
        ("00001.features.npy", flip, "checksum"),
        ("00001.features.npy", lambda path: path.unlink(), "is missing"),
        ("00000.labels.npy", cut, "00000.labels.npy is damaged"),
        ("00000.filenames.npy", flip, "checksum"),
        ("index.json", cut, "index.json is damaged"),
        ("index.json", lambda path: path.write_bytes(b"\x93NUMPY\xff"), "index.json is damaged"),
        ("index.json", lambda path: path.write_text("[]"), "not 'alexnet-keras features"),
        ("index.json", edited(lambda index: index.update(format="features, version 9")), "version 1"),
        ("index.json", edited(lambda index: index.pop("layer")), "lacks an entry"),
        ("index.json", edited(lambda index: index["shards"][0].pop("labels")), "lacks an entry"),
        ("index.json", edited(lambda index: index["shards"].pop()), "do not add up"),
        ("index.json", edited(lambda index: index.update(size="many")), "lacks an entry"),
    ],
)
def test_damage_is_one_sentence(store_of, name, damage, said):
    path = store_of(np.ones((30, 4), np.float32), rows=20).path
    damage(path / name)
    with pytest.raises(DataError, match=said) as error:
        list(open_features(path).read())
    assert str(path) in str(error.value) and "alexnet features" in str(error.value)


def test_a_shard_that_is_not_what_its_index_says(store_of):
    path = store_of(np.ones((30, 4), np.float32), rows=20).path
    np.save(path / "00000.features.npy", np.ones((20, 2), np.float64))  # as many bytes, other numbers
    with pytest.raises(DataError, match="float64"):
        open_features(path).sample(2**20, seed=0)


def test_what_does_not_exist_or_must_not_be_overwritten(taken, run, prepared, tmp_path):
    with pytest.raises(UsageError, match="no features"):
        open_features(tmp_path)
    with pytest.raises(UsageError, match=r"no layer 'fc9'; the layers are .*fc7"):
        RunFeatures(run, "fc9")
    with pytest.raises(UsageError, match="no split 'holdout'"):
        taken.store(prepared, "holdout", tmp_path / "out")
    (tmp_path / "diary.txt").write_text("dear diary")
    with pytest.raises(UsageError, match="other things"):
        taken.store(prepared, "val", tmp_path)
    assert (tmp_path / "diary.txt").read_text() == "dear diary"
    with writing_lock(tmp_path / "busy"), pytest.raises(AlexNetError, match="Another process"):
        taken.store(prepared, "val", tmp_path / "busy")


def test_a_diverged_model_is_refused(run, prepared, tmp_path):
    taken = RunFeatures(run)
    network = taken.extract._extract
    taken.extract._extract = lambda images: network(images) * np.nan
    with pytest.raises(DataError, match="not finite"):
        taken.store(prepared, "val", tmp_path / "out")
