"""Error figures against hand counts and a reference formula."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tiers import rest_slow

from alexnet_keras import AlexNet
from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.errors import AlexNetError, DataError, NotFiniteError, UsageError
from alexnet_keras.evaluation import predictor as predictor_module
from alexnet_keras.evaluation.errors import Evaluation, Tally, check_finite, error_rate, top_k_misses
from alexnet_keras.evaluation.predictor import Predictor


def test_top_k_misses_against_a_sort():
    random = np.random.default_rng(0)
    probabilities, labels = random.random((500, 20)), random.integers(0, 20, 500)
    for k in (1, 5):
        top = np.argsort(-probabilities, axis=1)[:, :k]
        assert top_k_misses(probabilities, labels, k) == sum(
            label not in row for label, row in zip(labels, top, strict=True)
        )


def test_a_network_that_says_the_same_of_every_class_is_not_called_right():
    assert top_k_misses(np.full((4, 10), 0.1), np.array([0, 3, 5, 9]), 5) == 4


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("k", [1, 5])
def test_what_is_not_finite_is_never_a_hit_and_spoils_the_loss(spoilt, k):
    """NaN >= NaN is false: counting the classes that are at least as likely finds none."""
    probabilities = np.tile(np.float32([0.8, 0.1, 0.1]), (4, 1))
    probabilities[1], probabilities[2, 0], probabilities[3, 2] = spoilt, spoilt, spoilt
    assert top_k_misses(probabilities, np.zeros(4, int), k) == 3
    assert np.isnan(Tally.of(probabilities, np.zeros(4, int)).loss)
    with pytest.raises(NotFiniteError, match="They are not finite for 3 of 4 images"):
        check_finite(probabilities, "They")
    assert check_finite(probabilities[:1], "They") is not None


def test_of_no_images_there_is_nothing_to_count():
    """Half of the images of a piece of one image, as an ensemble's search takes them, may be none."""
    nothing = np.zeros((0, 3), np.float32)
    assert top_k_misses(nothing, np.zeros(0, int), 1) == 0
    assert Tally.of(nothing, np.zeros(0, int)) == Tally()
    assert check_finite(nothing, "They") is nothing


@pytest.mark.parametrize(  # Wilson score intervals as published tables and R's prop.test(correct = FALSE) give them
    ("misses", "images", "low", "high"),
    [(10, 100, 0.05523, 0.17437), (0, 50, 0.0, 0.07135), (50, 50, 0.92865, 1.0), (407, 1000, 0.37697, 0.43775)],
)
def test_intervals(misses, images, low, high):
    rate = error_rate(misses, images)
    assert rate.error == misses / images
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=2e-5)


@pytest.fixture(scope="module")
def model(tiny):
    return AlexNet(tiny, classes=3, seed=0)


def test_ten_crop_probabilities_are_the_mean_of_ten_forward_passes(model, prepared):
    images, *_ = next(iter(evaluation_batches(prepared, "val", 5)))
    images = images.numpy()
    separate = []
    for y, x in [(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)]:
        crop = images[:, y : y + 224, x : x + 224]
        separate += [model(crop, training=False), model(crop[:, :, ::-1], training=False)]
    np.testing.assert_allclose(Predictor(model, "ten-crop")(images), np.mean(separate, axis=0), rtol=1e-5)


@pytest.mark.parametrize("views", rest_slow(("centre", "ten-crop")))
def test_an_evaluation_counts_every_image_once(model, prepared, views):
    progress = []
    predictor = Predictor(model, views)
    result = predictor.evaluate(prepared, "val", progress.append)
    batches = list(evaluation_batches(prepared, "val", 5))
    labels = np.concatenate([labels.numpy() for _, labels, _ in batches])
    probabilities = np.concatenate([predictor(images) for images, *_ in batches])
    assert result.images == sum(progress) == len(labels) == 12
    assert result.top1.error == np.mean(probabilities.argmax(1) != labels)
    assert result.loss == pytest.approx(-np.log(probabilities[np.arange(12), labels]).mean(), rel=1e-5)


def test_images_that_do_not_fit_into_memory_at_once_are_computed_in_parts(model, prepared, monkeypatch):
    whole, small, sizes = Predictor(model), Predictor(model), []
    computed = small._averaged

    def little(images):
        sizes.append(len(images))
        if len(images) > most:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return computed(images)

    monkeypatch.setattr(small, "_averaged", little)
    images, *_ = next(iter(evaluation_batches(prepared, "val", 12)))
    most = 5
    np.testing.assert_allclose(small(images), whole(images), rtol=1e-5)
    assert sizes == [12, 12, 12, 12, 8, 4, 4, 4]
    assert small.evaluate(prepared, "val").top1 == whole.evaluate(prepared, "val").top1
    most = 0
    with pytest.raises(AlexNetError, match="Not one image fits into memory"):
        small(images)


def test_wrong_splits_and_classes_are_told(model, tiny, prepared):
    with pytest.raises(UsageError, match="no split"):
        Predictor(model).evaluate(prepared, "test")
    with pytest.raises(DataError, match="7 classes"):
        Predictor(AlexNet(tiny, classes=7)).evaluate(prepared, "val")


def test_tallies_start_at_nothing_and_add_up():
    assert Tally() == Tally(0, 0.0, 0, 0)
    assert Tally(3, 1.5, 2, 1) + Tally(4, 0.25, 3, 2) == Tally(7, 1.75, 5, 3)


def test_a_tally_by_hand():
    probabilities = np.array([[0.25, 0.05, 0.1, 0.1, 0.1, 0.15, 0.25], [0.5, 0, 0.1, 0.1, 0.1, 0.1, 0.1]])
    tally = Tally.of(probabilities, np.array([5, 0]))
    assert (tally.images, tally.misses1, tally.misses5) == (2, 1, 0)
    assert tally.loss == pytest.approx(-np.log(0.15) - np.log(0.5))
    tally = Tally.of(probabilities, np.array([1, 1]))
    assert (tally.images, tally.misses1, tally.misses5) == (2, 2, 2)


def test_a_right_class_of_probability_0_costs_the_logarithm_of_a_trillion():
    tally = Tally.of(np.array([[1.0, 0.0]]), np.array([1]))
    assert tally.loss == pytest.approx(12 * np.log(10))


def test_an_evaluation_has_the_mean_loss_and_both_errors():
    found = Evaluation.of(Tally(8, 4.0, 2, 1), "val", "ten-crop", 10)
    assert (found.split, found.views, found.images, found.classes, found.loss) == ("val", "ten-crop", 8, 10, 0.5)
    assert (found.top1, found.top5) == (error_rate(2, 8), error_rate(1, 8))
    assert found.top5.error == 0.125 and found.to_dict()["top5"]["error"] == 0.125


@pytest.mark.parametrize(("misses", "images"), [(10, 100), (0, 50), (50, 50), (407, 1000), (1, 3), (19_999, 50_000)])
def test_intervals_are_wilsons_formula(misses, images):
    """E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927."""
    share, spread = misses / images, 1.959963984540054**2 / images
    middle, half = share + spread / 2, (share * (1 - share) * spread + spread**2 / 4) ** 0.5
    rate = error_rate(misses, images)
    ends = (max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread)))
    assert (rate.low, rate.high) == pytest.approx(ends, abs=1e-12)


def test_no_interval_reaches_beyond_0_and_1():
    for images in range(1, 3000, 7):
        assert error_rate(0, images).low >= 0 and error_rate(images, images).high <= 1


@pytest.mark.slow
def test_replicas_share_the_batches_of_an_evaluation_and_find_the_same_errors(tiny, prepared, monkeypatch):
    """12 images in batches of 5: two batches at once, and the smaller last one alone."""
    monkeypatch.setattr(predictor_module, "CROPS_AT_A_TIME", 5)
    strategy = tf.distribute.MirroredStrategy(["/CPU:0", "/CPU:1"], tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        copied = AlexNet(tiny, classes=3, seed=0)
    shared, calls = Predictor(copied, strategy=strategy), []
    compute = shared._on_replicas

    def noted(images):
        outputs = compute(images)
        operations = compute.get_concrete_function(images).graph.get_operations()
        devices = {op.device[-5:] for op in operations if "conv" in op.type.lower()}
        calls.append((devices, [len(each) for each in strategy.experimental_local_results(outputs)]))
        return outputs

    shared._on_replicas = noted
    progress = []
    found = shared.evaluate(prepared, "val", progress.append)
    alone = Predictor(AlexNet(tiny, classes=3, seed=0)).evaluate(prepared, "val")
    assert calls == [({"CPU:0", "CPU:1"}, [5, 5])] and progress == [5, 5, 2]
    assert found.images == 12 and found.loss == pytest.approx(alone.loss, rel=1e-6)  # sums of other batches
    assert replace(found, loss=0.0) == replace(alone, loss=0.0)
