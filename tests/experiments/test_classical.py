"""The classical systems: each part against a plainer way to compute it, and all of it against interruptions."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from recorded import Recorded, Work
from sklearn.linear_model import orthogonal_mp
from sklearn.mixture import GaussianMixture
from sklearn.svm import LinearSVC

from alexnet_keras.errors import AlexNetError, DataError, UsageError
from alexnet_keras.evaluation.errors import top_k_misses
from alexnet_keras.experiments.classical.classifier import EncodedSplit, decision_values, train_svm, tune_svm
from alexnet_keras.experiments.classical.codings import (
    DenseSift,
    FisherEncoder,
    learn_dictionary,
    learn_mixture,
    pyramid_maxima,
    sparse_codes,
)
from alexnet_keras.experiments.classical.settings import FisherVectors, Grid, Sample, SparseCoding, Svm
from alexnet_keras.experiments.classical.systems import SYSTEMS, fit_and_predict
from alexnet_keras.reporter import SILENT
from alexnet_keras.storage.locks import locked

pytestmark = pytest.mark.slow  # trains what table 1 compares with


GRID = Grid(sides=(96, 64), patch=16, step=8)
SVM = Svm(alphas=(1e-2, 1e-4), epochs=4, positive_weight=1.0, tuning_images=1000)
SMALL = {
    "sparse-coding": SparseCoding(GRID, Sample(20, 20), 24, 0.15, 3, (1, 2), SVM),
    "fisher-vectors": FisherVectors(GRID, Sample(20, 20), 8, 4, 2, SVM),
}


def stripes(angle, seed):
    """An image uint8 `(256, 256, 3)` of waves that run in a direction, radians, with noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:256, :256]
    waves = np.sin((np.cos(angle) * x + np.sin(angle) * y) / 3 + random.uniform(0, 6))
    grey = 128 + 60 * waves + random.normal(0, 15, waves.shape)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def clusters(count, seed, size=6):
    """Points float32 `(count, size)` about four centres."""
    centers = np.random.default_rng(0).normal(size=(4, size))
    random = np.random.default_rng(seed)
    return (centers[random.integers(0, 4, count)] + random.normal(0, 0.4, (count, size))).astype(np.float32)


@pytest.fixture
def encoded(tmp_path):
    """Writes features and labels as an encoded split in files of `rows`."""

    def write(features, labels, rows):
        paths, starts = [], list(range(0, len(features), rows))
        for start in starts:
            paths.append(tmp_path / f"{start:05}-{rows}.npy")
            np.save(paths[-1], features[start : start + rows].astype(np.float16))
        return EncodedSplit(tuple(paths), np.array([*starts, len(features)]), labels)

    return write


@pytest.fixture(scope="session")
def waves(tmp_path_factory):
    """A prepared dataset of two classes, upright and slanting waves: 24 images to train on in 3 shards, 8 in val."""
    from PIL import Image

    from alexnet_keras.data.preparation import prepare
    from alexnet_keras.data.sources.folder import folder_source

    root = tmp_path_factory.mktemp("waves")
    for split, count in (("train", 12), ("val", 4)):
        for number, name in enumerate(("slanting", "upright")):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                image = stripes(0.8 * number, seed=1000 * number + index + 100 * (split == "val"))
                Image.fromarray(image).save(root / split / name / f"{index}.png")
    return prepare(folder_source(root), tmp_path_factory.mktemp("data") / "waves", seed=0, shard_examples=8)


def no_advance(n=1, text=""):
    pass


def test_descriptors_have_length_one_and_know_the_direction_of_edges():
    sift = DenseSift(GRID)
    across, along = sift(stripes(0, 1)), sift(stripes(np.pi / 2, 2))
    assert across.shape == (len(sift.places), 128) == (11**2 + 7**2, 128) and across.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(across, axis=1), 1, atol=1e-3)
    directions = [found.reshape(-1, 16, 8).mean(axis=(0, 1)).argmax() % 4 for found in (across, along)]
    assert directions == [0, 2]  # of 8: to the right or left, and up or down


def test_places_are_centred_and_follow_the_image():
    sift = DenseSift(GRID)
    np.testing.assert_allclose(sift.places.mean(axis=0), 0.5, atol=1e-6)
    np.testing.assert_allclose(sift.places[:2] * 96, [[8, 8], [8, 16]], atol=1e-4)
    image = np.full((256, 256, 3), 128, np.uint8)
    image[:100] = stripes(0.5, 3)[:100]  # texture at the top only
    lengths = np.linalg.norm(sift(image), axis=1)
    assert (lengths[sift.places[:, 0] < 0.3] > 0.9).all() and (lengths[sift.places[:, 0] > 0.6] < 0.1).all()


def test_patches_with_hardly_any_contrast_count_little():
    faint = (128 + (stripes(0, 1).astype(float) - 128) / 60).round().astype(np.uint8)
    assert np.linalg.norm(DenseSift(GRID)(faint), axis=1).max() < 0.5


def test_codes_are_those_of_scikit_learns_matching_pursuit():
    random = np.random.default_rng(0)
    atoms = random.normal(size=(60, 128)).astype(np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    descriptors = random.normal(size=(40, 128)).astype(np.float32)
    expected = orthogonal_mp(atoms.T.astype(np.float64), descriptors.T, n_nonzero_coefs=5).T
    codes = sparse_codes(descriptors, atoms, 5)
    assert ((codes != 0).sum(axis=1) == 5).all()
    np.testing.assert_allclose(codes, expected, atol=1e-4)


def test_a_descriptor_that_an_atom_is_equal_to_gets_that_atom_alone():
    atoms = np.eye(128, dtype=np.float32)[:20]
    codes = sparse_codes(np.concatenate([-2 * atoms[3:4], np.zeros((1, 128), np.float32)]), atoms, 3)
    np.testing.assert_allclose(codes[0], np.where(np.arange(20) == 3, -2, 0), atol=1e-4)
    np.testing.assert_allclose(codes[1], 0, atol=1e-6)


def test_a_learnt_dictionary_gives_descriptors_again_better_than_descriptors_picked_as_atoms():
    sift = DenseSift(GRID)
    descriptors = np.concatenate([sift(stripes(angle, seed)) for seed, angle in enumerate(np.linspace(0, 3, 12))])
    settings, seen = SMALL["sparse-coding"], []
    atoms = learn_dictionary(descriptors, settings, 0, seen.append)["atoms"]
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, atol=1e-5)
    assert sum(seen) == len(descriptors)

    def loss(words):
        return ((sparse_codes(descriptors, words, 3) @ words - descriptors) ** 2).mean()

    picked = descriptors[np.random.default_rng(1).permutation(len(descriptors))[:24]]
    assert loss(atoms) < 0.95 * loss(picked / np.linalg.norm(picked, axis=1, keepdims=True))
    assert loss(atoms) < 0.5 * descriptors.var()


def test_maxima_over_a_pyramid_as_by_hand():
    codes = np.array([[1, 0], [0, 5], [2, 3], [4, 0]], np.float32)
    places = np.array([[0.1, 0.1], [0.1, 0.9], [0.9, 0.2], [0.4, 0.4]])  # (y, x)
    pooled = pyramid_maxima(codes, places, (1, 2))
    np.testing.assert_array_equal(pooled.reshape(5, 2), [[4, 5], [4, 0], [0, 5], [2, 3], [0, 0]])


def test_fisher_vectors_follow_their_formula():
    """Sánchez et al., "Image Classification with the Fisher Vector: Theory and Practice", IJCV 2013, (16) to (18)."""
    settings = replace(SMALL["fisher-vectors"], stripes=2)
    sift = DenseSift(GRID)
    descriptors = np.concatenate([sift(stripes(angle, seed)) for seed, angle in enumerate((0, 1, 2))])
    image = stripes(1, 5)
    learnt = learn_mixture(descriptors, settings, 0, no_advance)
    encode = FisherEncoder(settings, learnt)
    weights, means, variances = (learnt[name].astype(np.float64) for name in ("weights", "means", "variances"))

    def vector(points):
        gains = np.zeros((4, 1 + 2 * 8))
        for point in points:
            distances = ((point - means) ** 2 / variances).sum(axis=1)
            densities = weights * np.exp((distances.min() - distances) / 2) / np.sqrt(variances.prod(axis=1))
            for k, share in enumerate(densities / densities.sum()):
                distance = (point - means[k]) / np.sqrt(variances[k])
                gains[k, 0] += (share - weights[k]) / np.sqrt(weights[k])
                gains[k, 1:9] += share * distance / np.sqrt(weights[k])
                gains[k, 9:] -= share * (distance**2 - 1) / np.sqrt(2 * weights[k])  # scikit-image's sign
        gains = np.concatenate([gains[:, 0], gains[:, 1:9].ravel(), gains[:, 9:].ravel()])
        rooted = np.sign(gains) * np.sqrt(np.abs(gains))
        return rooted / np.linalg.norm(rooted)

    projected = (sift(image) - learnt["mean"]).astype(np.float64) @ learnt["axes"]
    upper = sift.places[:, 0] < 0.5
    expected = np.concatenate([vector(projected[part]) for part in (upper | True, upper, ~upper)]) / np.sqrt(3)
    found = encode(image)
    assert found.shape == (encode.size,) == (3 * 4 * 17,) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)  # the root of a rounding error


def test_the_mixture_is_learnt_from_the_projected_descriptors():
    descriptors = clusters(600, 1, size=128)
    learnt = learn_mixture(descriptors, SMALL["fisher-vectors"], 0, no_advance)
    assert learnt["axes"].shape == (128, 8) and learnt["weights"].sum() == pytest.approx(1, abs=1e-5)
    projected = (clusters(200, 2, size=128) - learnt["mean"]) @ learnt["axes"]
    one = GaussianMixture(1, covariance_type="diag").fit((descriptors - learnt["mean"]) @ learnt["axes"])
    four = GaussianMixture(4, covariance_type="diag")
    four.weights_, four.means_, four.covariances_ = (learnt[name] for name in ("weights", "means", "variances"))
    four.precisions_cholesky_ = 1 / np.sqrt(learnt["variances"])
    assert four.score(projected) > one.score(projected) + 1


def test_the_classifier_does_not_depend_on_how_its_features_are_cut_up(encoded):
    features, labels = clusters(90, 3), np.arange(90) % 3
    trained = [
        train_svm(encoded(features, labels, rows), np.arange(90), 3, SVM, 1e-3, 7, no_advance, block_bytes=block)
        for rows, block in ((90, 10**6), (7, 24 * 5), (40, 24 * 31))
    ]
    for other in trained[1:]:
        np.testing.assert_allclose(other["weights"], trained[0]["weights"], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(other["biases"], trained[0]["biases"], rtol=1e-3, atol=1e-4)
    other_seed = train_svm(encoded(features, labels, 90), np.arange(90), 3, SVM, 1e-3, 8, no_advance)
    assert np.abs(other_seed["weights"] - trained[0]["weights"]).max() > 1e-3


def test_the_classifier_comes_near_the_least_loss_there_is(encoded):
    features, labels, alpha = clusters(300, 4), clusters(300, 4)[:, 0] > 0.3, 1e-2
    features = features.astype(np.float16).astype(np.float32)

    def loss(weights, bias):
        margins = (features @ weights + bias) * np.where(labels, 1, -1)
        return np.maximum(0, 1 - margins).mean() + alpha / 2 * (weights @ weights + bias**2)

    best = LinearSVC(C=1 / (alpha * 300), loss="hinge", max_iter=10**6).fit(features, labels)
    least = loss(best.coef_[0], best.intercept_[0])
    split = encoded(features, labels.astype(int), 100)
    trained = train_svm(split, np.arange(300), 2, replace(SVM, epochs=60), alpha, 0, no_advance, block_bytes=24 * 77)
    assert least <= loss(trained["weights"][1], trained["biases"][1]) < 1.03 * least < 0.9 * loss(0 * features[0], 0)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_classifier_learns_what_can_be_told_apart(encoded, classes):
    random = np.random.default_rng(1)
    labels = random.integers(0, classes, 200)
    features = np.eye(8)[labels] + random.normal(0, 0.15, (200, 8))
    split = encoded(features, labels, 64)
    trained = train_svm(split, np.arange(150), classes, SVM, 1e-3, 0, no_advance)
    rows = np.arange(199, 149, -1)
    scores = decision_values(split, rows, trained, block_bytes=32 * 7)
    assert scores.shape == (50, classes) and scores.dtype == np.float32
    assert top_k_misses(scores, labels[rows], 1) <= 1


def test_alphas_are_compared_on_images_that_were_not_trained_on(encoded):
    """Labels drawn by lot: whatever is learnt of them, held-out images are guessed."""
    features = np.random.default_rng(0).normal(size=(200, 300))
    labels = np.random.default_rng(1).integers(0, 4, 200)
    tuned = tune_svm(encoded(features, labels, 50), 4, replace(SVM, epochs=10), 0, SILENT)
    assert tuned["alphas"].tolist() == [1e-2, 1e-4] and tuned["held_out"] == 20
    assert (tuned["misses"] >= 9).all()


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_tells_directions_apart_and_does_no_stage_twice(system, waves, tmp_path):
    def fit(settings=SMALL[system], seed=0):
        reporter = Recorded()
        scores = fit_and_predict(system, waves, "val", tmp_path / system, settings, seed, reporter=reporter)
        assert all(stage.done == stage.total for stage in reporter.work)
        return scores, [stage.what for stage in reporter.work]

    first, stages = fit()
    learnt = SYSTEMS[system].vocabulary
    order = ["descriptors", learnt, "features of train", "tuning", "classifier", "features of val"]
    assert stages == order
    assert first.scores.shape == (8, 2) and first.scores.dtype == np.float32 and first.labels.tolist().count(0) == 4
    assert top_k_misses(first.scores, first.labels, 1) == 0
    assert first.alpha in SVM.alphas

    again, stages = fit()
    assert not stages
    np.testing.assert_array_equal(again.scores, first.scores)

    assert fit(replace(SMALL[system], svm=replace(SVM, epochs=3)))[1] == ["tuning", "classifier"]

    fit()
    damaged = tmp_path / system / "val-00000.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    repaired, stages = fit()
    assert stages == ["features of val"]
    np.testing.assert_array_equal(repaired.scores, first.scores)

    assert fit(seed=1)[1] == order


def test_an_interrupted_call_resumes_after_the_last_whole_shard(waves, tmp_path):
    class Stopping(Recorded):
        def on_advance(self, work):
            if work.what == "features of train" and work.done > 8:
                raise KeyboardInterrupt

    def fit(name, reporter=SILENT):
        return fit_and_predict(
            "fisher-vectors", waves, "val", tmp_path / name, SMALL["fisher-vectors"], reporter=reporter
        )

    whole = fit("whole")
    with pytest.raises(KeyboardInterrupt):
        fit("cut", Stopping())
    first = tmp_path / "cut" / "train-00000.npy"
    written = first.stat().st_mtime_ns
    assert not (tmp_path / "cut" / "train-00001.npy").exists()
    reporter = Recorded()
    resumed = fit("cut", reporter)
    assert first.stat().st_mtime_ns == written and reporter.work[0] == Work("features of train", 24, before=8, done=24)
    np.testing.assert_allclose(resumed.scores, whole.scores, atol=1e-3)


def test_features_of_another_vocabulary_are_not_mixed(waves, tmp_path):
    settings = SMALL["sparse-coding"]
    fit_and_predict("sparse-coding", waves, "val", tmp_path, settings)
    document = json.loads((tmp_path / "train-00000.json").read_text())
    document["made_from"]["vocabulary"] = "0" * 64
    (tmp_path / "train-00000.json").write_text(json.dumps(document))
    (tmp_path / "tuning.npz").unlink()
    reporter = Recorded()
    fit_and_predict("sparse-coding", waves, "val", tmp_path, settings, reporter=reporter)
    features = [stage for stage in reporter.work if stage.what == "features of train"]
    assert features == [Work("features of train", 24, before=16, done=24)]


def test_what_cannot_be_done_is_reported_in_a_sentence(waves, tmp_path):
    sparse, fisher = SMALL["sparse-coding"], SMALL["fisher-vectors"]
    with pytest.raises(UsageError, match="no split 'test'"):
        fit_and_predict("sparse-coding", waves, "test", tmp_path, sparse)
    with pytest.raises(DataError, match="too few for 8 principal components and 500 Gaussians"):
        fit_and_predict("fisher-vectors", waves, "val", tmp_path, replace(fisher, gaussians=500))
    with pytest.raises(DataError, match="too few for a dictionary of 500 atoms"):
        fit_and_predict("sparse-coding", waves, "val", tmp_path / "other", replace(sparse, atoms=500))
    with (
        locked(tmp_path / "lock", "never"),
        pytest.raises(AlexNetError, match="is at work in"),
    ):
        fit_and_predict("sparse-coding", waves, "val", tmp_path, sparse)


@pytest.mark.parametrize(
    ("module", "name"), [("cv2", "OpenCV"), ("skimage", "scikit-image"), ("sklearn", "scikit-learn")]
)
def test_a_missing_extra_is_reported_in_a_sentence(waves, tmp_path, monkeypatch, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"needs {name}: pip install 'alexnet-keras\[baselines\]'"):
        fit_and_predict("sparse-coding", waves, "val", tmp_path / "new", SMALL["sparse-coding"])
    assert not (tmp_path / "new").exists()
