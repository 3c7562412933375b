"""Row 2.14: a plain mask in training, every output times the share kept at test time, at 0.5 and at other rates."""

import numpy as np
import pytest
from narrow import narrow

from alexnet_keras import AlexNet
from alexnet_keras.layers import EachTower, PlainDropout

RATES = [(0.5, 0.5), (0.25, 0.75), (0.4, 0.6), (0.1, 0.9), (0.0, 1.0)]  # the share left out, the share kept


def assert_masked(x, trained, kept_share):
    """`trained` is x with zeros in some places, and as many kept as the share says, to four standard deviations."""
    kept = trained != 0
    np.testing.assert_array_equal(trained[kept], x[kept], err_msg="what is kept is not scaled")
    deviation = np.sqrt(kept_share * (1 - kept_share) / x.size)
    assert abs(kept.mean() - kept_share) <= 4 * deviation


@pytest.mark.parametrize(("rate", "kept"), RATES)
def test_what_is_kept_stays_as_it_is_and_at_test_time_all_is_times_the_share_kept(rate, kept):
    x = np.random.default_rng(0).uniform(1, 2, (100, 400)).astype(np.float32)
    layer = PlainDropout(rate, seed=7)
    assert_masked(x, layer(x, training=True).numpy(), kept)
    np.testing.assert_allclose(layer(x, training=False), kept * x.astype(np.float64), rtol=1e-6)
    np.testing.assert_array_equal(layer(x), layer(x, training=False))


@pytest.mark.parametrize(("rate", "kept"), RATES[1:4])
def test_neurons_images_towers_and_calls_have_masks_of_their_own(rate, kept):
    ones = np.ones((200, 300), np.float32)
    drop = EachTower(PlainDropout(rate, seed=3))
    masks = [mask.numpy() for _ in range(2) for mask in drop([ones, ones], training=True)]
    masks += [masks[0][1:], masks[0][:, 1:]]  # the next image's, the next neuron's
    for other in masks[1:]:
        rows, columns = other.shape
        same = np.mean(masks[0][:rows, :columns] == other)
        assert same == pytest.approx(kept**2 + rate**2, abs=0.015), "as two that know nothing of each other"


@pytest.mark.parametrize("recipe", ["source", "paper", "caffe", "caffenet"])
def test_the_recipes_leave_out_half_of_fc6_and_fc7(recipe):
    assert shares_kept(narrow(recipe)) == [0.5, 0.5]


def test_a_recipe_reaches_the_rate_of_each_layer():
    assert shares_kept(narrow("source", "network.fc6.dropout=0.25", "network.fc7.dropout=0.4")) == [0.75, 0.6]


def shares_kept(recipe):
    """What the built network's drop6 and drop7 multiply with at test time; in training they keep as many."""
    model, ones, shares = AlexNet(recipe, classes=2, seed=0), np.ones((5000, 4), np.float32), []
    for name in ("drop6", "drop7"):
        drop = model.get_layer(name)
        (share,) = {round(float(value), 6) for tower in drop([ones, ones]) for value in np.unique(tower)}
        for tower in drop([ones, ones], training=True):
            assert_masked(ones, tower.numpy(), share)
        shares.append(share)
    return shares
