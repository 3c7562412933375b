"""Every layer's forward pass against plain loops in NumPy, and its gradient against differences."""

import numpy as np
import pytest
import tensorflow as tf
from tiers import rest_slow

from alexnet_keras.layers import (
    ColorNoise,
    EachTower,
    LocalResponseNormalization,
    MeanSubtraction,
    PlainDropout,
    SpatialResponseNormalization,
    TowerConv2D,
    TowerDense,
)
from alexnet_keras.layers.towers import in_blocks

random = np.random.default_rng(7)


def local_response(a, n, alpha_of_sum, beta, k):
    """Paper, section 3.3, written out."""
    b = np.empty_like(a)
    maps = a.shape[-1]
    for i in range(maps):
        window = slice(max(0, i - n // 2), min(maps - 1, i + n // 2) + 1)
        b[..., i] = a[..., i] / (k + alpha_of_sum * (a[..., window] ** 2).sum(-1)) ** beta
    return b


def spatial_response(a, size, scale, beta, k):
    b = np.empty_like(a)
    reach = size // 2
    for y in range(a.shape[1]):
        for x in range(a.shape[2]):
            window = a[:, max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            b[:, y, x] = a[:, y, x] / (k + scale / size**2 * (window**2).sum((1, 2))) ** beta
    return b


def convolution(x, kernel, bias, stride, before, after):
    x = np.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    side, _, _, filters = kernel.shape
    rows = (x.shape[1] - side) // stride + 1
    y = np.empty((x.shape[0], rows, rows, filters))
    for i in range(rows):
        for j in range(rows):
            window = x[:, i * stride : i * stride + side, j * stride : j * stride + side]
            y[:, i, j] = np.tensordot(window, kernel, 3) + bias
    return y


def check_gradient(function, x, seed=0, tolerance=2e-3):
    """Autodiff along random directions against central differences in float32."""
    weights = np.random.default_rng(seed).normal(size=function(tf.constant(x)).shape).astype(np.float32)
    variable = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        loss = tf.reduce_sum(function(variable) * weights)
    gradient = tape.gradient(loss, variable).numpy()
    for direction_seed in range(3):
        direction = np.random.default_rng(direction_seed).normal(size=x.shape).astype(np.float32)
        step = 1e-2 * np.abs(x).mean() / np.abs(direction).mean()
        ahead = np.sum(np.float64(function(tf.constant(x + step * direction))) * weights)
        behind = np.sum(np.float64(function(tf.constant(x - step * direction))) * weights)
        measured = (ahead - behind) / (2 * step)
        expected = np.sum(np.float64(gradient) * direction)
        scale = np.linalg.norm(gradient) * np.linalg.norm(direction)
        assert abs(measured - expected) < tolerance * scale, (measured, expected)


@pytest.mark.parametrize(("convention", "divisor"), [("sum", 1), ("mean", 5)])
@pytest.mark.parametrize("beta", rest_slow((0.6, 0.75)))
def test_local_response_normalization_is_the_formula_of_section_3_3(convention, divisor, beta):
    x = random.normal(0, 60, (2, 4, 5, 9)).astype(np.float32)
    layer = LocalResponseNormalization(5, 1e-2, beta, 2.0, convention)
    expected = local_response(x.astype(np.float64), 5, 1e-2 / divisor, beta, 2.0)
    np.testing.assert_allclose(layer(x), expected, rtol=2e-5)


def test_the_two_alpha_conventions_differ_by_a_factor_of_n():
    x = random.normal(0, 200, (1, 2, 2, 8)).astype(np.float32)
    as_sum = LocalResponseNormalization(5, 2e-5, alpha_convention="sum")(x)
    as_mean = LocalResponseNormalization(5, 1e-4, alpha_convention="mean")(x)
    np.testing.assert_allclose(as_sum, as_mean, rtol=1e-6)
    assert not np.allclose(as_sum, LocalResponseNormalization(5, 1e-4, alpha_convention="sum")(x), rtol=1e-2)


def test_local_response_normalization_agrees_with_tensorflows_own():
    x = random.normal(0, 100, (2, 3, 3, 12)).astype(np.float32)
    ours = LocalResponseNormalization(5, 1e-4, 0.75, 2.0, "sum")(x)
    np.testing.assert_allclose(ours, tf.nn.local_response_normalization(x, 2, 2.0, 1e-4, 0.75), rtol=1e-5)


def test_windows_of_a_tower_never_reach_into_the_other():
    a, b = (random.normal(0, 300, (1, 2, 2, 6)).astype(np.float32) for _ in range(2))
    towers = EachTower(LocalResponseNormalization())([a, b])
    np.testing.assert_allclose(towers[0], local_response(a.astype(np.float64), 5, 2e-5, 0.75, 2.0), rtol=2e-5)
    across = local_response(np.concatenate([a, b], -1).astype(np.float64), 5, 2e-5, 0.75, 2.0)
    assert not np.allclose(towers[0], across[..., :6], rtol=1e-4), "a window crossed the boundary of the towers"


@pytest.mark.parametrize("beta", [0.75, 0.6])
def test_spatial_normalization_divides_by_a_maps_own_neighbourhood(beta):
    x = random.normal(0, 60, (2, 7, 6, 3)).astype(np.float32)
    layer = SpatialResponseNormalization(5, 0.05, beta, 1.0)
    np.testing.assert_allclose(layer(x), spatial_response(x.astype(np.float64), 5, 0.05, beta, 1.0), rtol=2e-5)


@pytest.mark.parametrize(
    "layer",
    [
        LocalResponseNormalization(5, 1e-2, 0.75, 2.0),
        LocalResponseNormalization(3, 1e-2, 0.6, 1.0, "sum"),
        SpatialResponseNormalization(5, 0.5),
    ],
)
def test_normalizations_have_the_right_gradient(layer):
    check_gradient(layer, random.normal(0, 20, (2, 5, 6, 7)).astype(np.float32))


@pytest.mark.parametrize(
    "shape",
    rest_slow(((1, 1, 1, 3), (5, 6, 7, 16), (1, 1, 2, 1), (1, 2, 2, 8), (3, 1, 1, 2), (4, 3, 2, 5)), first=2),
)
def test_normalizations_of_any_shape_leave_nothing_out(shape):
    x = random.normal(0, 60, shape)
    found = LocalResponseNormalization(5, 1e-2)(x.astype(np.float32))
    np.testing.assert_allclose(found, local_response(x, 5, 1e-2 / 5, 0.75, 2.0), rtol=2e-5)
    found = SpatialResponseNormalization(3, 0.5)(x.astype(np.float32))
    np.testing.assert_allclose(found, spatial_response(x, 3, 0.5, 0.75, 1.0), rtol=2e-5)


@pytest.mark.parametrize("layer", [LocalResponseNormalization, SpatialResponseNormalization])
def test_what_is_not_finite_stays_in_its_window(layer):
    x = random.normal(0, 60, (4, 6, 5, 12)).astype(np.float32)
    x[1, 3, 2, 11] = np.nan  # at the end of a pixel: in memory the next number is another pixel's
    spoilt = ~np.isfinite(layer()(x).numpy())
    assert spoilt.sum() == (3 if layer is LocalResponseNormalization else 25)


@pytest.mark.parametrize("maps", rest_slow((12, 7)))
@pytest.mark.parametrize("layer", [LocalResponseNormalization, SpatialResponseNormalization])
def test_normalizations_in_bfloat16_round_what_float32_computes(layer, maps):
    x = tf.cast(random.normal(0, 60, (4, 6, 5, maps)), tf.bfloat16)
    upstream = tf.cast(random.normal(0, 1, x.shape), tf.bfloat16)

    def both(dtype):
        inputs = tf.cast(x, dtype)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = layer(dtype=dtype)(inputs)
        gradient = tape.gradient(output, inputs, tf.cast(upstream, dtype))
        assert output.dtype == gradient.dtype == dtype
        return [tf.cast(tf.cast(each, tf.bfloat16), tf.float32).numpy() for each in (output, gradient)]

    (output, gradient), (exact_output, exact_gradient) = both("bfloat16"), both("float32")
    np.testing.assert_array_equal(output, exact_output)
    # the part of it that the window sums is rounded once more, to 2^-9 of itself
    apart = np.abs(gradient - exact_gradient)
    assert apart.max() <= 2**-7 * np.abs(exact_gradient).max()
    assert np.sqrt(np.mean(apart**2)) < 1.5e-3 * np.sqrt(np.mean(exact_gradient**2))


def built(layer, *inputs):
    """The layer, called once so that it has weights, with biases that are not all alike."""
    layer(list(inputs) if len(inputs) > 1 else inputs[0])
    for bias in layer.biases:
        bias.assign(random.normal(size=bias.shape))
    return layer


@pytest.mark.parametrize(("stride", "padding", "side"), [(1, (1, 1), 3), (2, (0, 1), 3), (4, (0, 3), 5)])
def test_a_tower_convolution_that_reads_its_own_tower(stride, padding, side):
    a, b = (random.normal(size=(2, 10, 10, 3)).astype(np.float32) for _ in range(2))
    layer = built(TowerConv2D(4, side, stride, padding, reads="own"), a, b)
    for tower, x in enumerate((a, b)):
        kernel, bias = layer.kernels[tower].numpy(), layer.biases[tower].numpy()
        expected = convolution(x.astype(np.float64), kernel, bias, stride, *padding)
        np.testing.assert_allclose(layer([a, b])[tower], expected, rtol=1e-4, atol=1e-5)
        assert layer.compute_output_shape([a.shape, b.shape])[tower] == expected.shape


@pytest.mark.parametrize(("side", "kernel", "stride"), [(227, 11, 4), (12, 3, 2), (13, 4, 2), (15, 2, 4), (9, 5, 3)])
def test_strided_convolutions_are_the_same_in_blocks(side, kernel, stride):
    x = random.normal(size=(2, side, side, 3)).astype(np.float32)
    kernels = random.normal(size=(kernel, kernel, 3, 5)).astype(np.float32)
    images, filled = in_blocks(x, kernels, stride)
    found = tf.nn.conv2d(images, filled, 1, "VALID")
    np.testing.assert_allclose(found, tf.nn.conv2d(x, kernels, stride, "VALID"), rtol=1e-4, atol=1e-3)


def test_strided_convolutions_of_images_that_are_not_square_are_the_same_in_blocks():
    x = random.normal(size=(3, 12, 23, 3)).astype(np.float32)  # an odd batch: 24 rows of two images are 6 blocks, too
    kernels = random.normal(size=(5, 5, 3, 4)).astype(np.float32)
    found = tf.nn.conv2d(*in_blocks(x, kernels, 4), 1, "VALID")
    np.testing.assert_allclose(found, tf.nn.conv2d(x, kernels, 4, "VALID"), rtol=1e-4, atol=1e-3)


def test_a_tower_convolution_that_reads_all_towers_joins_them_in_order():
    a, b = (random.normal(size=(2, 6, 6, 3)).astype(np.float32) for _ in range(2))
    layer = built(TowerConv2D(4, 3, 1, (1, 1), reads="all"), a, b)
    both = np.concatenate([a, b], -1).astype(np.float64)
    for tower in range(2):
        kernel, bias = layer.kernels[tower].numpy(), layer.biases[tower].numpy()
        assert kernel.shape == (3, 3, 6, 4)
        np.testing.assert_allclose(layer([a, b])[tower], convolution(both, kernel, bias, 1, 1, 1), rtol=1e-4, atol=1e-5)


def test_an_image_is_read_by_both_towers():
    image = random.normal(size=(2, 11, 11, 3)).astype(np.float32)
    layer = built(TowerConv2D(4, 5, 2), image)
    for tower, output in enumerate(layer(image)):
        kernel, bias = layer.kernels[tower].numpy(), layer.biases[tower].numpy()
        # An output near 0 is the difference of terms of order 1: its error is theirs, not in proportion to itself.
        expected = convolution(image.astype(np.float64), kernel, bias, 2, 0, 0)
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reads", ["own", "all"])
def test_a_tower_dense_layer(reads):
    a, b = (random.normal(size=(3, 5)).astype(np.float32) for _ in range(2))
    layer = built(TowerDense(4, reads=reads), a, b)
    for tower, own in enumerate((a, b)):
        x = own if reads == "own" else np.concatenate([a, b], -1)
        expected = x @ layer.kernels[tower].numpy() + layer.biases[tower].numpy()
        np.testing.assert_allclose(layer([a, b])[tower], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reads", ["own", "all"])
def test_tower_layers_have_the_right_gradients(reads):
    a, b = (random.normal(size=(2, 7, 7, 3)).astype(np.float32) for _ in range(2))
    layer = built(TowerConv2D(4, 3, 2, (0, 1), reads=reads), a, b)
    check_gradient(lambda x: tf.concat(layer([x, tf.constant(b)]), -1), a)
    check_gradient(lambda x: tf.concat(layer([tf.constant(a), x]), -1), b)
    kernel, bias = tf.constant(layer.kernels[0].numpy()), tf.constant(layer.biases[0].numpy())
    check_gradient(
        lambda k: layer._convolve(tf.constant(np.concatenate([a, b], -1)[..., : k.shape[2]]), k, bias), kernel.numpy()
    )


def test_towers_start_with_different_weights_and_the_same_at_the_same_seed():
    import keras

    def kernels():
        layer = TowerDense(4, kernel_initializer=keras.initializers.RandomNormal(0, 1, seed=3))
        layer([np.ones((1, 5), np.float32)] * 2)
        return [kernel.numpy() for kernel in layer.kernels]

    first, again = kernels(), kernels()
    assert not np.allclose(first[0], first[1])
    np.testing.assert_array_equal(first, again)


def test_mean_subtraction_keeps_the_scale_and_takes_uint8():
    mean = random.uniform(0, 255, (4, 4, 3)).astype(np.float32)
    image = random.integers(0, 256, (2, 4, 4, 3), np.uint8)
    np.testing.assert_allclose(MeanSubtraction((4, 4, 3), mean)(image), image.astype(np.float32) - mean, rtol=1e-6)


def test_a_scaled_difference_is_the_difference_times_the_scale():
    mean = random.uniform(0, 255, (1, 1, 3)).astype(np.float32)
    image = random.integers(0, 256, (2, 4, 4, 3), np.uint8)
    scaled = MeanSubtraction((1, 1, 3), mean, scale=1 / 74)(image)
    np.testing.assert_allclose(scaled, (image.astype(np.float64) - mean) / 74, rtol=1e-5, atol=1e-6)


def test_color_noise_is_one_color_an_image_made_of_the_components():
    stds, vectors = (2.0, 5.0, 30.0), np.linalg.qr(random.normal(size=(3, 3)))[0]
    x = np.zeros((2000, 2, 2, 3), np.float32)
    noise = ColorNoise(stds, vectors, stddev=0.1, rescale=False, seed=1)(x, training=True).numpy()
    assert np.ptp(noise, axis=(1, 2)).max() == 0, "every pixel of an image gets the same colour"
    alphas = noise[:, 0, 0] @ vectors / np.array(stds)
    np.testing.assert_allclose(alphas.std(0), 0.1, rtol=0.08)
    np.testing.assert_allclose(np.corrcoef(alphas.T), np.eye(3), atol=0.08)


def test_color_noise_rescales_image_and_noise_as_the_source_does_and_rests_outside_training():
    x = random.normal(0, 50, (4, 2, 2, 3)).astype(np.float32)
    options = {"magnitudes": (1.0, 2.0, 3.0), "vectors": np.eye(3), "stddev": 0.1, "seed": 5}
    plain = ColorNoise(**options, rescale=False)(x, training=True)
    np.testing.assert_allclose(ColorNoise(**options, rescale=True)(x, training=True), plain / 1.1, rtol=1e-5)
    np.testing.assert_array_equal(ColorNoise(**options)(x, training=False), x)
    off = ColorNoise(**options)
    off.active = False
    np.testing.assert_array_equal(off(x, training=True), x)


def test_plain_dropout_masks_in_training_and_halves_otherwise():
    x = random.uniform(1, 2, (200, 50)).astype(np.float32)
    layer = PlainDropout(0.5, seed=0)
    trained = layer(x, training=True).numpy()
    kept = trained != 0
    np.testing.assert_array_equal(trained[kept], x[kept])  # not doubled
    assert abs(kept.mean() - 0.5) < 0.02
    np.testing.assert_allclose(layer(x, training=False), 0.5 * x)
    assert not np.array_equal(kept, layer(x, training=True).numpy() != 0), "every call draws a new mask"


def test_towers_drop_different_neurons():
    x = np.ones((1, 1000), np.float32)
    a, b = EachTower(PlainDropout(0.5, seed=0))([x, x], training=True)
    assert 0.4 < np.mean(a.numpy() == b.numpy()) < 0.6
