"""Codes: near images get near codes, better than bits drawn by chance, and the same codes for the same seed."""

import numpy as np
import pytest

from alexnet_keras.errors import DataError
from alexnet_keras.search.codes import CodeOptions, Encoder, train_encoder
from alexnet_keras.search.recall import recall

pytestmark = pytest.mark.slow  # trains autoencoders


def nearest(vectors, queries, count):
    """Brute force."""
    distances = ((queries[:, None].astype(np.float64) - vectors[None]) ** 2).sum(-1)
    return np.argsort(distances, axis=1, kind="stable")[:, :count]


def nearest_by_bits(codes, queries, count):
    return nearest(np.unpackbits(codes, axis=1), np.unpackbits(queries, axis=1), count)


def test_codes_find_more_neighbours_than_chance_and_than_random_projections(curved):
    indexed, queries = curved(1500, seed=1), curved(60, seed=2)
    truth = nearest(indexed, queries, 10)
    losses = []
    encoder, loss = train_encoder(indexed, CodeOptions(bits=32, epochs=15, seed=0), losses.append)
    learnt = recall(nearest_by_bits(encoder(indexed), encoder(queries), 10), truth, 10)
    directions, centre = np.random.default_rng(3).normal(size=(96, 32)), indexed.mean(axis=0)
    signs = [np.packbits((vectors - centre) @ directions > 0, axis=1) for vectors in (indexed, queries)]
    projected = recall(nearest_by_bits(*signs, 10), truth, 10)
    assert learnt > 1.3 * projected
    assert learnt > 20 * 10 / 1500
    assert len(losses) == 15 and losses[-1] == loss < 0.7 * losses[0] < 1


def test_the_same_seed_gives_the_same_codes_and_another_others(curved):
    features = curved(200, seed=1)
    codes = [train_encoder(features, CodeOptions(16, 2, seed))[0](features) for seed in (4, 4, 5)]
    np.testing.assert_array_equal(codes[0], codes[1])
    assert (codes[0] != codes[2]).any()


@pytest.mark.parametrize("rows", [2, 127, 128, 129, 1030])
def test_any_number_of_rows_is_learnt_from_and_encoded(curved, rows):
    features = curved(rows, seed=1)
    encoder, loss = train_encoder(features, CodeOptions(bits=24, epochs=1))
    codes = encoder(features)
    assert codes.shape == (rows, 3) and codes.dtype == np.uint8 and np.isfinite(loss)
    bits = np.unpackbits(codes, axis=1)
    np.testing.assert_array_equal(bits, np.asarray(encoder.model(features)) > 0)
    assert encoder(features[:0]).shape == (0, 3)


def test_features_that_are_all_the_same_cannot_be_told_apart():
    with pytest.raises(DataError, match="all images are the same"):
        train_encoder(np.full((10, 4), 2, np.float32), CodeOptions(8, 1))


def test_an_encoder_comes_back_as_it_was_saved_and_not_if_damaged(curved, tmp_path):
    features = curved(100, seed=1)
    encoder, _ = train_encoder(features, CodeOptions(16, 1))
    encoder.model.save(tmp_path / "encoder.keras")
    loaded = Encoder.load(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(loaded(features), encoder(features))
    (tmp_path / "encoder.keras").write_bytes((tmp_path / "encoder.keras").read_bytes()[:4000])
    with pytest.raises(DataError, match="damaged"):
        Encoder.load(tmp_path / "encoder.keras")
