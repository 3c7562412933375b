"""What the layers take: their defaults, the values that are refused, and the ways they choose to compute."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_keras import backend
from alexnet_keras.backend import for_examples
from alexnet_keras.errors import UsageError
from alexnet_keras.layers import (
    AcrossTowers,
    ColorNoise,
    EachTower,
    LocallyConnected2D,
    LocalResponseNormalization,
    MeanSubtraction,
    PlainDropout,
    SpatialResponseNormalization,
    TowerConv2D,
    TowerDense,
    towers,
)
from alexnet_keras.layers.towers import is_one_shape, tower_letter

random = np.random.default_rng(17)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (LocalResponseNormalization(), {"n": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0, "alpha_convention": "mean"}),
        (SpatialResponseNormalization(), {"size": 5, "scale": 0.001, "beta": 0.75, "k": 1.0}),
        (PlainDropout(), {"rate": 0.5, "seed": None}),
        (MeanSubtraction((1, 1, 3)), {"shape": (1, 1, 3), "scale": 1.0}),
        (ColorNoise((1, 2, 3), np.eye(3)), {"stddev": 0.1, "rescale": True, "seed": None, "active": True}),
        (TowerConv2D(4, 3), {"strides": 1, "padding": (0, 0), "towers": 2, "reads": "own"}),
        (TowerDense(4), {"units": 4, "towers": 2, "reads": "own"}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_defaults_are_those_of_the_sources(layer, expected):
    assert {name: getattr(layer, name) for name in expected} == expected


def test_defaults_of_what_is_computed_and_initialised():
    image = np.full((1, 2, 2, 3), 9, np.uint8)
    np.testing.assert_array_equal(MeanSubtraction((1, 1, 3))(image), np.full((1, 2, 2, 3), 9.0))
    layer = TowerDense(4)
    layer([np.ones((1, 5), np.float32)] * 2)
    assert isinstance(layer.kernel_initializer, keras.initializers.GlorotUniform)
    assert not any(bias.numpy().any() for bias in layer.biases)


@pytest.mark.parametrize(
    ("make", "allowed", "refused"),
    [
        (LocalResponseNormalization, [1, 3, np.int64(5)], [-1, 0, 2, 4, 5.0, "5"]),
        (SpatialResponseNormalization, [1, 3], [-1, 0, 2, 4, 3.0]),
        (PlainDropout, [0, 0.99], [-0.01, 1]),
        (lambda scale: MeanSubtraction((1, 1, 3), scale=scale), [0.001, 2], [-1.0, 0.0]),
        (lambda size: LocallyConnected2D(2, size), [1, 3], [-1, 0, 2, 4]),
        (lambda filters: LocallyConnected2D(filters, 3), [1], [0, 1.5]),
        (lambda filters: TowerConv2D(filters, 3), [1], [0, 2.0]),
        (lambda size: TowerConv2D(2, size), [1, 4], [0, (3, 3)]),
        (lambda strides: TowerConv2D(2, 3, strides), [1, 2], [0, -1]),
        (lambda padding: TowerConv2D(2, 3, padding=padding), [(0, 3), [1, 1]], [1, "same", (1, 1, 1), (-1, 0)]),
        (lambda units: TowerDense(units), [1], [0, 1.0]),
        (lambda towers: TowerDense(2, towers=towers), [1, 3], [0]),
        (lambda stddev: ColorNoise((1, 2, 3), np.eye(3), stddev), [0, 0.1], [-1.0, np.nan]),
        (lambda reads: TowerDense(2, reads=reads), ["own", "all"], ["both"]),
        (lambda count: ColorNoise(range(count), np.eye(3)), [3], [2, 4]),
        (lambda count: ColorNoise((1, 2, 3), np.eye(count)), [3], [2, 4]),
    ],
)
def test_values_at_the_limits(make, allowed, refused):
    for value in allowed:
        make(value)
    for value in refused:
        with pytest.raises(ValueError, match="Received"):
            make(value)


def test_a_tower_for_every_input_or_a_sentence():
    with pytest.raises(ValueError, match=r"needs one input per tower. Received: 3 inputs, towers=2"):
        TowerDense(2, name="fc7").input_channels([(1, 4)] * 3)
    assert TowerDense(2).input_channels([(1, 4)] * 2) == 4
    assert TowerDense(2, reads="all").input_channels([(1, 4), (1, 5), (1, 6)]) == 15
    assert TowerDense(2).input_channels((None, 7)) == 7
    with pytest.raises(ValueError, match=r"have the same number of channels. Received: \[5, 6\] channels"):
        TowerDense(2).input_channels([(1, 6), (1, 5)])
    for wrapper in (EachTower, AcrossTowers):
        for x in (np.ones((2, 3), np.float32), keras.Input((3,))):
            with pytest.raises(ValueError, match=r"takes a list with one tensor per tower\. Received: one of"):
                wrapper(keras.layers.ReLU())(x)


def test_one_shape_is_distinguished_from_a_list_of_them():
    assert is_one_shape((None, 4)) and is_one_shape([2, 3]) and is_one_shape((2, None))
    assert not is_one_shape([(None, 4), (None, 4)]) and not is_one_shape([[1, 2]])


def test_towers_are_named_and_seeded_in_order():
    assert [tower_letter(tower) for tower in range(3)] == ["a", "b", "c"]
    drop = EachTower(PlainDropout(0.5, seed=6, name="drop"))
    drop.build([(None, 4)] * 3)
    assert [(copy.name, copy.seed) for copy in drop.copies] == [("drop_a", 6), ("drop_b", 7), ("drop_c", 8)]
    unseeded = EachTower(PlainDropout(0.5, name="drop"))
    unseeded.build([(None, 4)] * 2)
    assert [copy.seed for copy in unseeded.copies] == [None, None]


def test_the_weights_of_tower_i_come_from_the_seed_plus_i():
    normal = keras.initializers.RandomNormal
    layer = TowerDense(4, towers=3, kernel_initializer=normal(0, 1, seed=6), bias_initializer=normal(0, 1, seed=9))
    layer.build([(None, 5)] * 3)
    assert [weight.name for weight in layer.weights] == [
        "kernel_a", "bias_a", "kernel_b", "bias_b", "kernel_c", "bias_c",
    ]  # fmt: skip
    for tower in range(3):
        np.testing.assert_array_equal(layer.kernels[tower], normal(0, 1, seed=6 + tower)((5, 4)))
        np.testing.assert_array_equal(layer.biases[tower], normal(0, 1, seed=9 + tower)((4,)))


@pytest.mark.parametrize("seed", [6, keras.random.SeedGenerator(6)], ids=["an integer", "a seed generator"])
@pytest.mark.parametrize("make", [lambda **o: TowerDense(4, **o), lambda **o: EachTower(keras.layers.Dense(4, **o))])
def test_no_two_towers_start_alike_and_all_repeatably(make, seed):
    def kernels():
        layer = make(kernel_initializer=keras.initializers.RandomNormal(0, 1, seed=seed))
        layer.build([(None, 5)] * 2)
        return [weight.numpy() for weight in layer.weights if "kernel" in weight.name]

    (one, other), again = kernels(), kernels()
    assert not np.allclose(one, other)
    np.testing.assert_array_equal(again, [one, other])


def test_each_replica_has_its_own_examples_numbers():
    def numbers(rows):
        return tf.reshape(tf.range(6 * rows), (rows, 2, 3))

    whole = numbers(8).numpy()
    strategy = tf.distribute.MirroredStrategy(["/CPU:0", "/CPU:1"])
    parts = strategy.experimental_local_results(strategy.run(lambda: for_examples(numbers, 4)))
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(for_examples(numbers, 4), whole[:4])


def test_replicas_draw_examples_of_unknown_sizes():
    strategy = tf.distribute.MirroredStrategy(["/CPU:0", "/CPU:1"])
    layer = PlainDropout(seed=3)

    @tf.function(input_signature=[tf.TensorSpec((None, None, 4))], autograph=False)
    def masks(x):
        return strategy.experimental_local_results(strategy.run(lambda: layer(x, training=True)))

    one, other = (mask.numpy() != 0 for mask in masks(tf.ones((2, 50, 4))))
    assert one.shape == other.shape == (2, 50, 4) and (one != other).any() and 0.4 < one.mean() < 0.6


def test_a_locally_connected_layer_has_kernels_of_its_own_at_every_place():
    x = random.normal(size=(2, 4, 5, 3)).astype(np.float32)
    for size in (1, 3, 5):
        layer = LocallyConnected2D(7, size)
        layer(x)
        layer.bias.assign(random.normal(size=layer.bias.shape))
        kernel, bias, reach = layer.kernel.numpy(), layer.bias.numpy(), size // 2
        assert kernel.shape == (20, size * size * 3, 7) and bias.shape == (4, 5, 7)
        padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0))).astype(np.float64)
        found = layer(x).numpy()
        for row in range(4):
            for column in range(5):
                seen = padded[:, row : row + size, column : column + size].reshape(2, -1)
                expected = seen @ kernel[row * 5 + column] + bias[row, column]
                np.testing.assert_allclose(found[:, row, column], expected, rtol=1e-4, atol=1e-5)
        assert layer.compute_output_shape((None, 4, 5, 3)) == (None, 4, 5, 7)
    with pytest.raises(ValueError, match=r"height and width must be known. Received: input_shape=\(None, None, 5, 3\)"):
        LocallyConnected2D(7, 3).build((None, None, 5, 3))


def operations_of(function, *shapes, dtype=tf.float32):
    """The types of the operations that a function of tensors is made of."""
    graph = (
        tf.function(function, autograph=False).get_concrete_function(*(tf.TensorSpec(s, dtype) for s in shapes)).graph
    )
    return [operation.type for operation in graph.get_operations()]


@pytest.mark.parametrize(
    ("size", "stride", "padding", "pads"),
    [
        (3, 1, (1, 1), False),
        (5, 1, (2, 2), False),
        (3, 1, (0, 0), False),
        (3, 1, (0, 1), True),
        (3, 1, (1, 0), True),
        (3, 1, (2, 2), True),
        (3, 2, (1, 1), True),
        (4, 1, (1, 1), True),
    ],
)
def test_a_convolution_that_keeps_the_size_copies_nothing_into_a_larger_tensor(size, stride, padding, pads):
    layer = TowerConv2D(4, size, stride, padding, towers=1)
    layer.build([(None, 9, 9, 3)])
    made = operations_of(lambda x: layer([x]), (2, 9, 9, 3))
    assert ("Pad" in made or "PadV2" in made) == pads


@pytest.mark.parametrize(
    ("maps", "stride", "dtype", "height", "in_blocks"),
    [
        (3, 4, "bfloat16", 19, True),
        (15, 2, "bfloat16", 19, True),
        (16, 2, "bfloat16", 19, False),
        (3, 1, "bfloat16", 19, False),
        (3, 4, "float32", 19, False),
        (3, 4, "bfloat16", None, False),
    ],
)
def test_strided_convolutions_of_few_maps_are_in_blocks_in_bfloat16(
    monkeypatch, maps, stride, dtype, height, in_blocks
):
    made = []

    def watched(images, kernel, size, after):
        made.append(size)
        return original(images, kernel, size, after)

    original = towers.in_blocks
    monkeypatch.setattr(towers, "in_blocks", watched)
    layer = TowerConv2D(4, 3, stride, towers=1, dtype=dtype)
    layer.build([(None, height, 19, maps)])
    operations_of(lambda x: layer.call([x]), (2, height, 19, maps), dtype=getattr(tf, dtype))
    assert made == ([stride] if in_blocks else [])


@pytest.mark.parametrize(("beta", "powers"), [(0.75, 0), (0.6, 1)])
def test_a_power_of_three_quarters_is_two_roots(beta, powers):
    layer = LocalResponseNormalization(3, 0.01, beta)
    with backend.plain():
        assert operations_of(layer, (2, 3, 3, 8)).count("Pow") == powers


def test_output_shapes_are_known_where_the_input_is():
    layer = TowerConv2D(4, 5, 2, (1, 2))
    assert layer.compute_output_shape((None, 20, None, 3)) == [(None, 10, None, 4)] * 2
    assert layer.compute_output_shape([(7, 11, 12, 3)] * 2) == [(7, 5, 6, 4)] * 2
    assert TowerDense(6, towers=3).compute_output_shape([(7, 5)] * 3) == [(7, 6)] * 3
    assert TowerDense(6, towers=1).compute_output_shape((None, 5)) == [(None, 6)]
    assert TowerDense(6, towers=1).compute_output_shape((None, 4, 3, 5)) == [(None, 4, 3, 6)]
    for x in (np.ones((1, 5, 5, 3), np.float32), keras.Input((5, 5, 3))):
        with pytest.raises(ValueError, match=r"kernels of 11 pixels do not fit into the maps\. Received: "):
            TowerConv2D(8, 11, 4)(x)


def test_a_window_that_is_no_whole_number_leaves_others_as_they_were():
    x = np.ones((1, 3, 3, 12), np.float32)
    with pytest.raises(ValueError, match=r"n must be a whole number. Received: n=11\.0"):
        LocalResponseNormalization(11.0)(x)
    assert LocalResponseNormalization(11)(x).shape == x.shape


def test_on_another_backend_pieces_are_neither_compiled_nor_placed(monkeypatch):
    def double(x):
        return 2 * x

    assert not backend.is_plain() and backend.compiled(double) is not double
    with backend.plain():
        assert backend.is_plain()
    monkeypatch.setattr(backend, "on_tensorflow", lambda: False)
    assert backend.is_plain() and backend.compiled(double) is double
    monkeypatch.setattr(backend, "on_tensorflow", lambda: False)
    with pytest.raises(UsageError, match="needs Keras's TensorFlow backend"), backend.tower_devices("/CPU:0"):
        pass


def test_devices_hold_inside_their_scope_alone():
    assert backend.current_devices() is None
    with backend.tower_devices("/CPU:0", "/CPU:1"):
        assert backend.current_devices() == ("/CPU:0", "/CPU:1")
        assert TowerDense(2).on_devices
        with backend.tower_devices():
            assert backend.current_devices() is None
    assert backend.current_devices() is None and not TowerDense(2).on_devices


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "make",
    [
        LocalResponseNormalization,
        lambda **o: SpatialResponseNormalization(3, 0.5, **o),
        lambda **o: PlainDropout(seed=3, **o),
    ],
    ids=["across maps", "spatial", "dropout"],
)
def test_layers_of_unknown_sizes_compute_what_they_compute_of_known_ones(make, dtype):
    x, upstream = (tf.cast(random.normal(0, 9, (3, 5, 6, 4)), dtype) for _ in range(2))

    def both(shape):
        layer = make(dtype=dtype)

        @tf.function(input_signature=[tf.TensorSpec(shape, dtype)] * 2, autograph=False)
        def compute(x, upstream):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True) if isinstance(layer, PlainDropout) else layer(x)
            return y, tape.gradient(y, x, upstream)

        return [tf.cast(each, tf.float32).numpy() for each in compute(x, upstream)]

    tolerance = 1e-5 if dtype == "float32" else 2e-2
    for known, unknown in zip(both(x.shape), both((None, None, None, 4)), strict=True):
        np.testing.assert_allclose(unknown, known, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_a_difference_is_scaled_by_any_scale(scale):
    images = np.arange(24, dtype=np.float32).reshape(1, 2, 4, 3)
    found = MeanSubtraction((2, 4, 3), [1.0, 2.0, 4.0], scale)(images)
    np.testing.assert_array_equal(found, (images - np.float32([1.0, 2.0, 4.0])) * scale)


@pytest.mark.parametrize("layer", [ColorNoise((9, 9, 9), np.eye(3)), PlainDropout(0.5)])
def test_whoever_does_not_say_that_it_is_training_gets_nothing_random(layer):
    images = np.full((2, 3, 3, 3), 8.0, np.float32)
    kept = 0.5 if isinstance(layer, PlainDropout) else 1.0
    np.testing.assert_array_equal(layer.call(keras.ops.convert_to_tensor(images)), kept * images)


@pytest.mark.parametrize("wrapper", [EachTower, AcrossTowers])
def test_a_wrapper_without_a_dtype_has_its_layers(wrapper):
    inner = LocalResponseNormalization(3, dtype="bfloat16")
    assert wrapper(inner).compute_dtype == "bfloat16"
    assert wrapper(inner, dtype="float32").compute_dtype == "float32"


@pytest.mark.parametrize("reads", ["own", "all"])
def test_towers_on_devices_compute_what_they_compute_on_one(reads):
    inputs = [np.random.default_rng(seed).normal(size=(2, 5, 5, 4)).astype(np.float32) for seed in (0, 1)]
    layers = []
    for devices in ((), ("/CPU:0", "/CPU:1")):
        with backend.tower_devices(*devices):
            layers.append(TowerConv2D(3, 3, reads=reads, kernel_initializer=keras.initializers.RandomNormal(seed=1)))
    for one, other in zip(*(layer(inputs) for layer in layers), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [kernel.value.device[-5:] for kernel in layers[1].kernels] == ["CPU:0", "CPU:1"]
