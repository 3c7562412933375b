"""The streaming search for neighbours against brute force."""

import numpy as np

from alexnet_keras import AlexNet
from alexnet_keras.evaluation.features import FeatureBatch, FeatureExtractor, feature_batches, find_nearest


def batches(features, size):
    for start in range(0, len(features), size):
        part = features[start : start + size]
        numbers = np.arange(start, start + len(part))
        images = np.broadcast_to((numbers % 251).astype(np.uint8)[:, None, None, None], (len(part), 256, 256, 3))
        yield FeatureBatch(part, numbers % 7, numbers.astype(str), images)


def test_any_batch_size_finds_what_brute_force_finds():
    random = np.random.default_rng(0)
    features, queries = random.normal(size=(300, 40)).astype(np.float32), random.normal(size=(5, 40))
    distances = np.linalg.norm(features[None].astype(np.float64) - queries[:, None], axis=2)
    order = np.argsort(distances, axis=1)[:, :6]
    for size in (1, 64, 300):
        seen = []
        found = find_nearest(queries, batches(features, size), 6, seen.append)
        assert sum(seen) == 300
        for row, nearest in enumerate(found):
            assert nearest.filenames.tolist() == order[row].astype(str).tolist()
            assert nearest.labels.tolist() == (order[row] % 7).tolist()
            assert nearest.images[:, 0, 0, 0].tolist() == (order[row] % 251).tolist()
            np.testing.assert_allclose(nearest.distances, distances[row, order[row]], rtol=1e-9)


def test_of_equal_images_the_first_comes_first_and_distance_0_is_0():
    features = np.tile(np.array([[1e4, 3.3, -2.7]], np.float32), (9, 1))
    (found,) = find_nearest(features[:1], batches(features, 2), 3)
    assert found.filenames.tolist() == ["0", "1", "2"]
    assert found.distances.tolist() == [0.0, 0.0, 0.0]


def test_neighbors_in_a_dataset_are_those_of_its_features(tiny, prepared):
    extract = FeatureExtractor(AlexNet(tiny, classes=3, seed=0))
    everything = np.concatenate([batch.features for batch in feature_batches(extract, prepared, "train")])
    (query,) = feature_batches(extract, prepared, "val")
    found = find_nearest(query.features[:3], feature_batches(extract, prepared, "train", 7), 4)
    for nearest, features in zip(found, query.features, strict=False):
        expected = np.sort(np.linalg.norm(everything.astype(np.float64) - features, axis=1))[:4]
        np.testing.assert_allclose(nearest.distances, expected, rtol=1e-5)  # of batches of another size
