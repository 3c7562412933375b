"""Statistics against NumPy on the same pixels, and their file."""

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


def test_the_brightest_pictures_do_not_overflow():
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


@pytest.mark.parametrize("damage", ["cut", "other", "pickle", "missing", "shape"])
def test_a_damaged_file_is_a_data_error(statistics, tmp_path, damage):
    path = tmp_path / "statistics.npz"
    statistics.save(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "other":
        path.write_bytes(b"something else")
    elif damage == "pickle":
        np.savez(path, mean_image=np.array([{}], object), rgb_mean=0, covariance=0)
    elif damage == "shape":
        np.savez(path, mean_image=np.zeros((2, 2)), rgb_mean=np.zeros(3), covariance=np.zeros((3, 3)))
    else:
        path.unlink()
    with pytest.raises(DataError):
        Statistics.load(path)
