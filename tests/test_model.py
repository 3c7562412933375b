"""The network: shapes, parameters, what reads what, saving, placement."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_keras import AlexNet, load_recipe
from alexnet_keras.layers.placement import tower_devices
from alexnet_keras.model import features_of, logits_of
from alexnet_keras.model_summary import PAPER_NEURONS, summarize
from alexnet_keras.recipe_files import with_overrides


@pytest.fixture(scope="module")
def source():
    return AlexNet("source", seed=1)


def sides(model, *names):
    return [model.get_layer(name).output[0].shape[1] for name in names]


@pytest.mark.parametrize("recipe", ["source", "paper"])
def test_the_full_network_has_60_965_224_parameters_and_55_27_13_6(recipe):
    model = AlexNet(recipe)
    assert model.count_params() == 60_965_224
    assert sides(model, "conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5") == [
        55, 27, 27, 13, 13, 13, 13, 6,
    ]  # fmt: skip


def test_unsplit_it_would_have_62_378_344_parameters():
    changes = [f"network.{name}.reads=all" for name in ("conv2", "conv4", "conv5")]
    assert AlexNet(with_overrides(load_recipe("source"), changes)).count_params() == 62_378_344


def test_neurons_and_multiply_adds_are_the_papers(source):
    rows = summarize(source)
    neurons = {name: sum(row.neurons for row in rows if row.layer == name) for name in PAPER_NEURONS}
    assert neurons == {**PAPER_NEURONS, "conv1": 55 * 55 * 96}
    assert sum(row.parameters for row in rows) == 60_965_224
    assert 0.71e9 < sum(row.multiply_adds for row in rows) < 0.73e9
    reads = {row.layer: row.reads for row in rows}
    assert reads == {"conv1": "image", "conv2": "own", "conv3": "both", "conv4": "own", "conv5": "own",
                     "fc6": "both", "fc7": "both", "fc8": "both"}  # fmt: skip


def test_the_recipes_order_their_layers_as_their_sources_do(source):
    def order(model):
        names = [layer.name for layer in model.layers]
        return names[names.index("conv1") : names.index("conv3")]

    assert order(source) == ["conv1", "norm1", "pool1", "relu1", "conv2", "relu2", "norm2", "spatial2", "pool2"]
    assert order(AlexNet("paper")) == ["conv1", "relu1", "norm1", "pool1", "conv2", "relu2", "norm2", "pool2"]


def test_initial_weights_are_the_recipes(source):
    for name, std, bias in [
        ("conv1", 0.01, 0),
        ("conv3", 0.03, 0),
        ("conv4", 0.03, 1),
        ("fc6", 0.01, 1),
        ("fc8", 0.01, 0),
    ]:
        layer = source.get_layer(name)
        for kernel, biases in zip(layer.kernels, layer.biases, strict=True):
            assert np.std(kernel.numpy()) == pytest.approx(std, rel=0.03)
            assert np.all(biases.numpy() == bias)


def test_the_first_towers_do_not_read_each_other(tiny):
    """A change of tower b's conv1 reaches tower a's conv3, and no earlier layer of tower a."""
    model = AlexNet(tiny, classes=3, seed=0)
    taps = keras.Model(model.input, [model.get_layer(name).output[0] for name in ("pool2", "conv3")])
    image = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    before = taps(image)
    kernel = model.get_layer("conv1").kernels[1]
    kernel.assign(-kernel)
    after = taps(image)
    np.testing.assert_array_equal(before[0], after[0])
    assert not np.allclose(before[1], after[1])


def test_a_saved_model_carries_its_preprocessing(tiny, tmp_path):
    mean = np.random.default_rng(0).uniform(90, 150, (256, 256, 3))
    model = AlexNet(tiny, classes=5, mean_image=mean, seed=0)
    image = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(image), model(image))
    np.testing.assert_allclose(loaded.get_layer("mean").mean, mean[16:240, 16:240], rtol=1e-6)  # the centre crop


def test_uint8_and_float_images_give_the_same(tiny):
    model = AlexNet(tiny, classes=5, seed=0)
    image = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)
    np.testing.assert_array_equal(model(image), model(image.astype(np.float32)))


def test_a_scaled_input_is_one_whose_first_kernels_are_scaled(tiny):
    """Before training: colour noise, drawn after the mean is subtracted, is scaled with the pixels."""
    image = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)
    scaled = AlexNet(with_overrides(tiny, ["augmentation.input_scale=0.02"]), classes=5, seed=0)
    kernels = AlexNet(with_overrides(tiny, ["network.conv1.initial_std=0.0002"]), classes=5, seed=0)
    for training in (False, True):
        np.testing.assert_allclose(scaled(image, training=training), kernels(image, training=training), rtol=1e-4)


def test_the_options_of_keras_applications(tiny, tmp_path):
    image = np.zeros((1, 224, 224, 3), np.uint8)
    model = AlexNet(tiny, classes=5, seed=0)
    assert np.sum(model(image)) == pytest.approx(1, abs=1e-5)
    logits = AlexNet(tiny, classes=5, classifier_activation=None, seed=0)
    np.testing.assert_allclose(keras.ops.softmax(logits(image)), model(image), rtol=1e-5)
    np.testing.assert_allclose(logits_of(model)(image), logits(image), rtol=1e-5)
    bare = AlexNet(tiny, include_top=False, seed=0)
    assert bare.output_shape == (None, 24)
    np.testing.assert_array_equal(bare(image), features_of(model)(image))
    model.save(tmp_path / "model.keras")
    other = AlexNet(tiny, classes=5, weights=tmp_path / "model.keras", seed=9)
    np.testing.assert_array_equal(other(image), model(image))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tiny):
    first, again, other = (AlexNet(tiny, classes=3, seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.allclose(first[0], other[0])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_stays_close(tiny, policy):
    image = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)
    exact, mixed = (AlexNet(tiny, classes=5, seed=0, dtype=dtype)(image) for dtype in ("float32", policy))
    assert mixed.dtype == tf.float32
    np.testing.assert_allclose(exact, mixed, atol=0.02)


def test_towers_live_and_compute_on_their_own_devices_forward_and_backward(tiny):
    with tower_devices("/CPU:0", "/CPU:1"):
        model = AlexNet(tiny, classes=3, seed=0)
    for layer in model.layers:
        for tower, kernel in enumerate(getattr(layer, "kernels", [])):
            assert kernel.value.device.endswith(f"CPU:{tower}"), kernel.path

    @tf.function
    def gradients(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(images, training=True) ** 2)
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    graph = gradients.get_concrete_function(tf.TensorSpec((2, 224, 224, 3))).graph
    heavy = ("Conv2D", "Conv2DBackpropFilter", "Conv2DBackpropInput", "MatMul", "MaxPoolGrad", "ReluGrad")
    operations = [op for op in graph.get_operations() if "color_noise" not in op.name]  # before the towers part
    devices = {kind: [op.device for op in operations if op.type == kind] for kind in heavy}
    for kind, found in devices.items():
        assert found, kind
        first, second = (sum(device.endswith(f"CPU:{index}") for device in found) for index in (0, 1))
        assert first + second == len(found), f"{kind} with no device: {found}"
        extra = {"MatMul": 3}.get(kind, 0)  # fc8, forward and its two gradients, stands on the first device alone
        assert first - second == extra, (kind, found)


def test_only_the_first_layer_of_a_network_in_one_tower_reads_the_image(tiny):
    rows = summarize(AlexNet(with_overrides(tiny, ["network.towers=1"]), classes=3))
    assert [row.reads for row in rows] == ["image"] + ["own"] * 7
