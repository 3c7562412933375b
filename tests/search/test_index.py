"""The index: exact search is brute force, codes are compared by bits, and nothing damaged or foreign is searched."""

import contextlib
import dataclasses
import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from damage import cut, flip

from alexnet_keras.errors import AlexNetError, DataError, UsageError
from alexnet_keras.runs import Run
from alexnet_keras.search import codes
from alexnet_keras.search import index as search_index
from alexnet_keras.search import recall as recall_module
from alexnet_keras.search.codes import CodeOptions
from alexnet_keras.search.index import (
    SearchIndex,
    build,
    check_same_model,
    finished_index,
    index_of,
    latest_index,
    open_index,
    queries_of,
)
from alexnet_keras.search.recall import measure, recall
from alexnet_keras.search.store import RunFeatures, writing_lock
from alexnet_keras.storage.documents import seal_of

OPTIONS = CodeOptions(bits=32, epochs=2, seed=0)


@pytest.fixture
def index(built, tmp_path):
    """An index of 250 images to look at or to damage."""
    return open_index(shutil.copytree(built.path, tmp_path / "index"))


@pytest.mark.parametrize("queries", [1, 40])  # FAISS computes few queries and many in different ways
@pytest.mark.parametrize("count", [1, 10, 400])
def test_exact_search_is_brute_force_over_all_shards(index, curved, queries, count):
    indexed, asked = curved(250, seed=1), curved(queries, seed=2)
    assert index.facts["shards"] == [100, 100, 50]
    found = open_index(index.path).exact(asked, count)
    distances = np.linalg.norm(asked[:, None].astype(np.float64) - indexed[None], axis=-1)
    expected = np.argsort(distances, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_allclose(found.distances, np.take_along_axis(distances, expected, 1), rtol=1e-6)
    assert found.rows.shape == (queries, min(count, 250))


def test_search_by_code_counts_the_bits_that_differ(index, curved):
    indexed, asked = curved(250, seed=1), curved(30, seed=2)
    bits, asked_bits = (np.unpackbits(index.encoder(vectors), axis=1) for vectors in (indexed, asked))
    differing = (asked_bits[:, None] != bits[None]).sum(-1)
    found = index.by_code(asked, 12)
    np.testing.assert_array_equal(found.distances, np.take_along_axis(differing, found.rows, 1))
    np.testing.assert_array_equal(found.distances, np.sort(differing, axis=1)[:, :12])


def test_reranking_everything_is_exact_search_and_reranking_a_few_is_exact_among_them(index, curved):
    indexed, asked = curved(250, seed=1), curved(30, seed=2)
    exact, whole = index.exact(asked, 20), index.reranked(asked, 20, shortlist=250)
    np.testing.assert_array_equal(whole.rows, exact.rows)
    np.testing.assert_allclose(whole.distances, exact.distances, rtol=1e-3)
    few, candidates = index.reranked(asked, 5, shortlist=15), index.by_code(asked, 15).rows
    for query, rows, among in zip(asked, few.rows, candidates, strict=True):
        distances = np.linalg.norm(indexed[among] - query, axis=1)
        np.testing.assert_array_equal(rows, among[np.argsort(distances, kind="stable")[:5]])


def test_a_distance_does_not_depend_on_how_many_are_asked_for_at_once(index, curved, monkeypatch):
    faiss = pytest.importorskip("faiss")
    monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", 1)  # as if they were many
    asked = curved(250, seed=1)[:40]
    found = index.exact(asked, 3)
    np.testing.assert_array_equal(found.rows[:, 0], np.arange(40))
    np.testing.assert_array_equal(found.distances[:, 0], 0)
    for number, query in enumerate(asked):
        np.testing.assert_array_equal(found.distances[number], index.exact(query[None], 3).distances[0])


def test_an_indexed_image_is_nearest_to_itself_and_has_its_name(index, curved):
    found = index.exact(curved(250, seed=1)[[7, 130, 249]], 1)
    assert list(index.filenames.take(found.rows[:, 0])) == ["7.jpg", "130.jpg", "249.jpg"]
    assert index.labels[found.rows[:, 0]].tolist() == [1, 1, 0]


def test_one_long_name_makes_no_other_longer(curved, store_of, tmp_path):
    long = "ü" * 5000 + ".jpg"
    small = build(tmp_path / "index", store_of(curved(90, seed=1), rows=40, names={5: long}), OPTIONS, None)
    names = open_index(small.path).filenames
    assert list(names)[:7] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg", long, "6.jpg"] and len(names) == 90
    assert (small.path / "filenames.npz").stat().st_size < 12_000


def test_an_index_of_an_earlier_version_is_read(index):
    names = [f"{row}.jpg" for row in range(250)]
    assert list(index.filenames) == names
    old = index.path / "filenames.npy"
    np.save(old, np.array(names))
    (index.path / "filenames.npz").unlink()
    facts = json.loads((index.path / "search.json").read_text())
    del facts["files"]["filenames.npz"]
    facts["files"]["filenames.npy"] = seal_of(old)
    (index.path / "search.json").write_text(json.dumps(facts))
    assert list(open_index(index.path).filenames) == names


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("name", ["exact-00000.faiss", "codes.faiss"])
def test_a_full_disk_is_an_error_of_the_system(curved, store_of, tmp_path, monkeypatch, name):
    written = search_index.write_by_rename
    full = contextlib.nullcontext(Path("/dev/full"))
    monkeypatch.setattr(search_index, "write_by_rename", lambda path: full if path.name == name else written(path))
    with pytest.raises(OSError, match="No space left"):
        build(tmp_path / "index", store_of(curved(30, seed=1)), OPTIONS, None)


def test_recall_is_the_share_of_true_neighbours_that_were_found():
    truth = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    found = np.array([[2, 1, 9, 3], [5, 0, 10, 11]])
    assert recall(found, truth, 1) == 0.5
    assert recall(found, truth, 2) == pytest.approx((2 + 1) / 4)
    assert recall(found, truth, 4) == pytest.approx((3 + 1) / 8)


def test_what_is_measured_is_what_the_index_does(index, curved):
    asked, labels = curved(50, seed=2), np.arange(50) % 3
    exact, by_code, reranked = measure(index, asked, labels)
    truth, found = index.exact(asked, 100), index.by_code(asked, 100)
    assert exact["recall"] == {"1": 1, "10": 1, "100": 1}
    assert by_code["recall"]["10"] == pytest.approx(recall(found.rows, truth.rows, 10))
    assert by_code["recall"]["10"] < reranked["recall"]["10"] > 0.9  # 200 of 250 are looked at again
    assert by_code["same_class"]["1"] == pytest.approx(np.mean(found.rows[:, 0] % 3 == labels))
    assert (exact["bytes_per_picture"], by_code["bytes_per_picture"]) == (96 * 4, 32 / 8)
    assert all(method["ms_per_query"] > 0 for method in (exact, by_code, reranked))


def test_a_slow_index_is_timed_with_one_query(index, curved, monkeypatch):
    searched, done = [], []
    exact = SearchIndex.exact

    def counted(self, features, count):
        searched.append(len(features))
        return exact(self, features, count)

    monkeypatch.setattr(SearchIndex, "exact", counted)
    monkeypatch.setattr(recall_module, "TIMED_S", 0)
    measure(index, curved(20, seed=2), np.zeros(20, int), done.append)
    assert searched == [20, 1] and done == [1] * recall_module.METHODS


def test_depths_end_with_the_set(curved, store_of, tmp_path):
    small = build(tmp_path / "index", store_of(curved(30, seed=1)), OPTIONS, ("val", curved(4, seed=2), np.zeros(4)))
    assert [list(method["recall"]) for method in small.facts["methods"]] == [["1", "10"]] * 3
    assert small.facts["queries"] == {"split": "val", "count": 4}
    assert open_index(small.path).facts == json.loads(json.dumps(small.facts))


def test_queries_come_from_a_split_that_is_not_indexed(prepared, monkeypatch):
    monkeypatch.setattr(search_index, "QUERIES", 5)
    split, positions = queries_of(prepared, "train", seed=1)
    assert split == "val" and len(set(positions)) == 5 and positions.max() < 12
    assert queries_of(prepared, "val", seed=1)[0] == "train"
    only = dataclasses.replace(prepared, splits={"train": prepared.splits["train"]})
    assert queries_of(only, "train", seed=1) is None


@pytest.mark.slow
def test_building_holds_a_sample_and_a_shard_not_everything(store_of, tmp_path, monkeypatch):
    features = np.random.default_rng(0).normal(size=(24 * 1024, 256)).astype(np.float32)  # 24 MiB
    store = store_of(features, rows=1024)
    del features
    monkeypatch.setattr(codes, "SAMPLE_BYTES", 2**20)
    monkeypatch.setattr(search_index, "SAMPLE_BYTES", 2**20)
    tracemalloc.start()
    index = build(tmp_path / "index", store, CodeOptions(8, 1), None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * 2**20, "half of it"
    assert index.facts["sampled"] == 1024 and len(index.facts["shards"]) == 24


def test_an_index_is_used_again_only_if_it_is_whole_and_of_the_same_features_and_options(index, store_of, curved):
    origin = index.origin
    assert finished_index(index.path, origin, OPTIONS).facts == index.facts
    assert finished_index(index.path, origin, CodeOptions(32, 3, 0)) is None
    assert finished_index(index.path, type(origin)(**{**vars(origin), "model_sha256": "ff" * 32}), OPTIONS) is None
    cut(index.path / "codes.faiss")
    assert finished_index(index.path, origin, OPTIONS) is None
    again = build(index.path, store_of(curved(80, seed=4), name="other"), OPTIONS, None)
    assert open_index(again.path).rows == 80
    assert not (again.path / "exact-00001.faiss").exists(), "nothing of the larger index is left"


def test_an_index_is_there_until_the_codes_of_the_next_one_are_learnt(index, store_of, curved, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(search_index, "train_encoder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(index.path, store_of(curved(80, seed=4), name="other"), OPTIONS, None)
    assert finished_index(index.path, index.origin, OPTIONS).rows == 250


def test_what_others_have_where_it_is_named_is_left_alone_and_no_feature_computed(
    run, prepared, index, tmp_path, monkeypatch
):
    features, before = RunFeatures(run), (index.path / "search.json").read_bytes()
    monkeypatch.setattr(features, "store", lambda *arguments, **options: pytest.fail("nothing has to be computed"))
    (tmp_path / "arrays").mkdir()
    (tmp_path / "arrays/labels.npy").write_text("of somebody")
    with pytest.raises(UsageError, match="other things"):
        index_of(features, prepared, "train", OPTIONS, tmp_path / "arrays")
    with pytest.raises(DataError, match=r"index is of layer fc7 of the run a-run .*--out"):
        index_of(features, prepared, "train", OPTIONS, index.path)
    (index.path / "search.json").write_text('{"words": []}')
    with pytest.raises(DataError, match=r"not 'alexnet-keras search index.*--out"):
        index_of(features, prepared, "train", OPTIONS, index.path)
    (index.path / "search.json").write_bytes(before)
    assert open_index(index.path).exact(np.zeros((1, 96), np.float32), 3).rows.shape == (1, 3)


@pytest.mark.slow
def test_an_index_that_was_not_finished_is_none(curved, store_of, tmp_path, monkeypatch):
    store = store_of(curved(60, seed=1))
    build(tmp_path / "index", store, OPTIONS, None)
    monkeypatch.setattr(search_index, "seal_of", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(tmp_path / "index", store, OPTIONS, None)
    with pytest.raises(UsageError, match="alexnet search build"):
        open_index(tmp_path / "index")


def overwrite(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("exact-00001.faiss", cut, "exact-00001.faiss is damaged: it has"),
        ("exact-00001.faiss", overwrite, "cannot be read"),
        ("exact-00001.faiss", lambda path: path.unlink(), "is missing"),
        ("codes.faiss", cut, "codes.faiss is damaged"),
        ("codes.faiss", flip, "checksum"),
        ("encoder.keras", flip, "checksum"),
        ("labels.npy", overwrite, "checksum"),
        ("filenames.npz", cut, "filenames.npz is damaged"),
        ("search.json", cut, "search.json is damaged"),
        ("search.json", lambda path: path.write_text("{}"), "not 'alexnet-keras search index"),
    ],
)
def test_damage_is_one_sentence(index, curved, name, damage, said):
    damage(index.path / name)
    with pytest.raises(DataError, match=said) as error:
        opened = open_index(index.path)
        opened.exact(curved(1, seed=2), 3)
        opened.by_code(curved(1, seed=2), 3)
        assert opened.labels is not None and opened.filenames is not None
    assert str(index.path) in str(error.value) and "alexnet search build" in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda facts: facts.pop("model_sha256"), "lacks an entry"),
        (lambda facts: facts["files"].pop("codes.faiss"), "lacks an entry"),
        (lambda facts: facts.update(options={"bits": 32, "magic": 1}), "lacks an entry"),
        (lambda facts: facts.update(rows="many"), "lacks an entry|do not add up"),
        (lambda facts: facts.update(rows=251), "do not add up"),
        (lambda facts: facts.update(classes=[]), "do not add up"),
    ],
)
def test_facts_that_do_not_fit(index, change, said):
    facts = json.loads((index.path / "search.json").read_text())
    change(facts)
    (index.path / "search.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match=said):
        open_index(index.path)


def test_a_faiss_file_of_other_vectors_is_not_searched(index, curved):
    facts = json.loads((index.path / "search.json").read_text())
    facts["shards"] = [50, 100, 100]
    facts["files"]["exact-00000.faiss"], facts["files"]["exact-00002.faiss"] = (
        facts["files"]["exact-00002.faiss"],
        facts["files"]["exact-00000.faiss"],
    )
    (index.path / "search.json").write_text(json.dumps(facts))
    (index.path / "exact-00000.faiss").rename(index.path / "swap.faiss")
    (index.path / "exact-00002.faiss").rename(index.path / "exact-00000.faiss")
    (index.path / "swap.faiss").rename(index.path / "exact-00002.faiss")
    open_index(index.path).exact(curved(1, seed=2), 3)  # consistent, if renamed
    (index.path / "exact-00000.faiss").write_bytes((index.path / "exact-00001.faiss").read_bytes())
    with pytest.raises(DataError, match=r"exact-00000\.faiss is damaged"):
        open_index(index.path).exact(curved(1, seed=2), 3)


def test_an_index_of_another_model_is_refused(index, run):
    with pytest.raises(DataError, match=r"built from another model \(run a-run, abababababab\) than .*model.keras"):
        check_same_model(index, run)


def test_where_there_is_none_or_something_else(curved, store_of, tmp_path, run):
    with pytest.raises(UsageError, match="has no index"):
        latest_index(Run(tmp_path))
    store = store_of(curved(20, seed=1))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "diary.txt").write_text("dear diary")
    with pytest.raises(UsageError, match="other things"):
        build(tmp_path / "home", store, OPTIONS, None)
    assert (tmp_path / "home" / "diary.txt").exists()
    for names in (("train_labels.npy",), ("my.faiss", "search.json"), ("labels.npy", "filenames.npy")):
        arrays = tmp_path / names[0]
        arrays.mkdir()
        for name in names:
            (arrays / name).write_text("of somebody")
        with pytest.raises(UsageError, match="other things"):
            build(arrays, store, OPTIONS, None)
        assert all((arrays / name).read_text() == "of somebody" for name in names)
    with writing_lock(tmp_path / "busy"), pytest.raises(AlexNetError, match="Another process"):
        build(tmp_path / "busy", store, OPTIONS, None)


def test_an_index_that_is_held_stays_the_same_while_another_takes_its_place(index, curved, store_of, tmp_path):
    queries = curved(3, seed=2)
    index.hold(codes=True)
    before = index.exact(queries, 5), index.by_code(queries, 5)
    other = build(tmp_path / "other", store_of(curved(250, seed=9)), OPTIONS, None)
    late = open_index(index.path)
    for file in sorted(other.path.iterdir(), key=lambda file: file.name == "search.json"):
        file.replace(index.path / file.name)
    for found, expected in zip((index.exact(queries, 5), index.by_code(queries, 5)), before, strict=True):
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.distances, expected.distances)
    with pytest.raises(AlexNetError, match=r"has been built again meanwhile: run the command again|is damaged"):
        late.hold()
    (index.path / "search.json").unlink()
    with pytest.raises(AlexNetError, match="has been built again meanwhile: run the command again"):
        index.hold()
