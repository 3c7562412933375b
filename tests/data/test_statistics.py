"""Statistics against NumPy on the same pixels, and their file."""

from pathlib import Path

import numpy as np
import pytest

from alexnet_keras.data.statistics import PixelSums, Statistics
from alexnet_keras.errors import DataError


@pytest.fixture(scope="module")
def pixels():
    rng = np.random.default_rng(5)
    base = rng.integers(0, 256, (7, 256, 256, 1))
    return np.clip(base + rng.normal(0, 20, (7, 256, 256, 3)) + (10, 0, -20), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def statistics(pixels):
    sums = PixelSums()
    sums.add(pixels[:4])
    sums.add(pixels[4:])
    return sums.statistics()


def test_the_sums_give_what_numpy_gives_in_float64(pixels, statistics):
    flat = pixels.reshape(-1, 3).astype(np.float64)
    np.testing.assert_array_equal(statistics.mean_image, pixels.astype(np.float64).mean(axis=0).astype(np.float32))
    np.testing.assert_allclose(statistics.rgb_mean, flat.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.covariance, np.cov(flat, rowvar=False, bias=True), rtol=1e-10)


def test_eigenvectors_stand_in_columns_and_rebuild_the_covariance(statistics):
    vectors, values = statistics.eigenvectors, statistics.eigenvalues
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, statistics.covariance, rtol=1e-9)
    np.testing.assert_allclose(statistics.standard_deviations**2, values, rtol=1e-12)


def test_the_brightest_images_do_not_overflow():
    sums = PixelSums()
    sums.add(np.full((257, 256, 256, 3), 255, np.uint8))
    statistics = sums.statistics()
    assert (statistics.mean_image == 255).all()
    np.testing.assert_allclose(statistics.covariance, 0, atol=1e-9)


def test_merging_parts_equals_one_pass(pixels, statistics):
    total = PixelSums()
    for part in (pixels[5:], pixels[:5]):
        sums = PixelSums()
        sums.add(part)
        total.merge(sums)
    np.testing.assert_array_equal(total.statistics().covariance, statistics.covariance)
    np.testing.assert_array_equal(total.statistics().mean_image, statistics.mean_image)


def test_the_file_gives_back_the_same_numbers(statistics, tmp_path):
    statistics.save(tmp_path / "statistics.npz")
    found = Statistics.load(tmp_path / "statistics.npz")
    np.testing.assert_array_equal(found.mean_image, statistics.mean_image)
    np.testing.assert_array_equal(found.covariance, statistics.covariance)


@pytest.mark.parametrize("damage", ["cut", "other", "missing"])
def test_a_damaged_file_is_a_data_error(statistics, tmp_path, damage):
    path = tmp_path / "statistics.npz"
    statistics.save(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "other":
        path.write_bytes(b"something else")
    else:
        path.unlink()
    with pytest.raises(DataError):
        Statistics.load(path)


def of_covariance(covariance):
    return Statistics(np.zeros((256, 256, 3), np.float32), np.zeros(3), np.asarray(covariance, np.float64))


def test_eigenvalues_ascend_and_those_that_rounding_made_negative_are_0():
    statistics = of_covariance(np.diag([4.0, 0.25, -1e-9]))
    np.testing.assert_array_equal(statistics.eigenvalues, [0, 0.25, 4])
    np.testing.assert_array_equal(statistics.standard_deviations, [0, 0.5, 2])
    np.testing.assert_array_equal(np.abs(statistics.eigenvectors), np.eye(3)[:, ::-1])


def test_an_image_of_one_colour_by_hand():
    sums = PixelSums()
    sums.add(np.broadcast_to(np.array([3, 5, 7], np.uint8), (2, 256, 256, 3)))
    assert sums.images == 2
    np.testing.assert_array_equal(sums.image, np.broadcast_to([6, 10, 14], (256, 256, 3)))
    np.testing.assert_array_equal(sums.products, 2 * 65536 * np.outer([3, 5, 7], [3, 5, 7]))
    assert PixelSums().images == 0 and not PixelSums().image.any() and not PixelSums().products.any()


class Opened:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path):
    mean_image = np.empty((256, 256, 3), object)
    mean_image[0, 0, 0] = Opened(tmp_path / "opened")
    np.savez(tmp_path / "statistics.npz", mean_image=mean_image, rgb_mean=np.zeros(3), covariance=np.eye(3))
    with pytest.raises(DataError):
        Statistics.load(tmp_path / "statistics.npz")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"mean_image": (2, 2)}, {"rgb_mean": 2}, {"rgb_mean": (3, 1)}, {"covariance": (3, 2)}, {"covariance": (2, 3)}],
)
def test_each_shape_is_looked_at(tmp_path, wrong):
    shapes = {"mean_image": (256, 256, 3), "rgb_mean": 3, "covariance": (3, 3)} | wrong
    np.savez(tmp_path / "statistics.npz", **{name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    with pytest.raises(DataError, match="wrong shapes"):
        Statistics.load(tmp_path / "statistics.npz")
