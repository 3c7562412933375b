"""Pictures: what is in them, before how they look."""

import numpy as np
import pytest
from PIL import Image

from alexnet_keras import AlexNet
from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.model import features_of
from alexnet_keras.visualization.kernels import draw_kernels, first_kernels, kernel_grid
from alexnet_keras.visualization.neighbors import draw_neighbors, find_neighbors


@pytest.fixture(scope="module")
def model(tiny):
    return AlexNet(tiny, classes=3, seed=0)


def test_kernels_are_shown_in_order_on_grey_each_at_its_own_scale():
    kernels = np.zeros((2, 2, 3, 5), np.float32)
    kernels[0, 0, 0, 1] = 4.0  # red up
    kernels[1, 1, 2, 4] = -0.5  # blue down
    grid = kernel_grid(kernels, columns=3)
    assert grid.shape == (5, 8, 3)  # two rows of three, a pixel apart
    np.testing.assert_array_equal(grid[0, 0], [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(grid[0, 3], [1.0, 0.5, 0.5])
    np.testing.assert_array_equal(grid[4, 4], [0.5, 0.5, 0.0])
    np.testing.assert_array_equal(grid[2], np.ones((8, 3)))  # the gap


def test_the_towers_kernels_are_the_first_convolutions(model):
    towers = first_kernels(model)
    assert [kernels.shape for kernels in towers] == [(11, 11, 3, 6)] * 2
    np.testing.assert_array_equal(towers[1], model.get_layer("conv1").kernels[1].numpy())


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_kernel_picture_is_written(model, tmp_path, suffix):
    path = tmp_path / f"kernels{suffix}"
    draw_kernels(model, path)
    assert path.stat().st_size > 1000
    if suffix == ".png":
        assert Image.open(path).width > 1000


def test_a_picture_format_that_does_not_exist_is_refused(model, tmp_path):
    with pytest.raises(UsageError, match=r"\.png"):
        draw_kernels(model, tmp_path / "kernels.txt")


def test_neighbors_are_the_nearest_by_brute_force(model, prepared, tmp_path):
    found = find_neighbors(model, prepared, queries=3, count=4, seed=1)

    extract = features_of(model)
    features, names = [], []
    for images, _, filenames in evaluation_batches(prepared, "train", 7):
        features.append(extract(images[:, 16:240, 16:240]).numpy())
        names += [name.decode() for name in filenames.numpy()]
    features = np.concatenate(features)
    for query, nearest, distances in zip(found.queries.features, found.nearest, found.distances, strict=True):
        all_distances = np.sqrt(((features - query) ** 2).sum(1))
        np.testing.assert_allclose(distances, np.sort(all_distances)[:4], rtol=1e-4, atol=1e-4)
        by_name = dict(zip(names, all_distances, strict=True))
        np.testing.assert_allclose([by_name[name] for name in nearest.filenames], distances, rtol=1e-4, atol=1e-4)
    assert len(set(found.queries.labels)) == 3, "queries are of different classes while there are enough"
    draw_neighbors(found, tmp_path / "neighbors.png")
    assert Image.open(tmp_path / "neighbors.png").width > 1000


def test_asking_for_more_pictures_than_there_are_is_told(model, prepared):
    with pytest.raises(DataError, match="too few"):
        find_neighbors(model, prepared, queries=13)
