"""The network: shapes, parameters, what reads what, saving, placement."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_keras import AlexNet, load_recipe
from alexnet_keras.backend import tower_devices
from alexnet_keras.errors import UsageError
from alexnet_keras.network.model import features_of, logits_of, seed_of_part
from alexnet_keras.network.summary import parameters_of, summarize
from alexnet_keras.recipes.toml import with_overrides


@pytest.fixture(scope="module")
def source():
    return AlexNet("source", seed=1)


def sides(model, *names):
    return [model.get_layer(name).output[0].shape[1] for name in names]


@pytest.mark.parametrize("recipe", ["source", "paper"])
def test_the_full_network_has_60_965_224_parameters_and_55_27_13_6(recipe):
    model = AlexNet(recipe)
    assert parameters_of(model) == 60_965_224
    assert model.count_params() == 60_965_224 + 224 * 224 * 3, "the mean image is a weight, too, and not trained"
    assert sides(model, "conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5") == [
        55, 27, 27, 13, 13, 13, 13, 6,
    ]  # fmt: skip


def test_unsplit_it_would_have_62_378_344_parameters():
    changes = [f"network.{name}.reads=all" for name in ("conv2", "conv4", "conv5")]
    assert parameters_of(AlexNet(with_overrides(load_recipe("source"), changes))) == 62_378_344


def test_what_each_layer_reads(source):
    assert {layer.name: layer.reads for layer in summarize(source)} == {
        "conv1": "image", "conv2": "own", "conv3": "all", "conv4": "own", "conv5": "own",
        "fc6": "all", "fc7": "all", "fc8": "all",
    }  # fmt: skip


def test_the_recipes_order_their_layers_as_their_sources_do(source):
    def order(model):
        names = [layer.name for layer in model.layers]
        return names[names.index("conv1") : names.index("conv3")]

    assert order(source) == ["conv1", "norm1", "pool1", "relu1", "conv2", "relu2", "norm2", "spatial2", "pool2"]
    assert order(AlexNet("paper")) == ["conv1", "relu1", "norm1", "pool1", "conv2", "relu2", "norm2", "pool2"]


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
    np.testing.assert_allclose(loaded.get_layer("mean").mean_image, mean[16:240, 16:240], rtol=1e-6)  # the centre crop


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


POOLED = {"maps": lambda maps: maps, "avg": lambda maps: maps.mean((1, 2)), "max": lambda maps: maps.max((1, 2))}


@pytest.mark.parametrize("pooling", POOLED)
@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5"])
def test_the_maps_of_a_whole_network_s_file_are_had_without_its_dense_layers(tiny, tmp_path, recwarn, pooling, name):
    image = np.random.default_rng(2).integers(0, 256, (2, 224, 224, 3), np.uint8)
    whole = AlexNet(tiny, classes=5, seed=3)
    whole.save(tmp_path / name) if name == "a.keras" else whole.save_weights(tmp_path / name)
    model = AlexNet(tiny, include_top=False, pooling=pooling, weights=tmp_path / name)
    towers = keras.Model(whole.input, whole.get_layer("pool5").output)(image)
    expected = POOLED[pooling](np.concatenate(towers, axis=-1))
    assert model.output_shape[1:] == expected.shape[1:]
    assert not [each for each in recwarn if each.category is UserWarning]
    np.testing.assert_allclose(model(image), expected, rtol=1e-5, atol=1e-6)
    assert not any(layer.name.startswith("fc") for layer in model.layers)


@pytest.mark.slow
def test_what_ends_with_pooled_maps_is_seeded_like_the_whole_trained_and_saved(tiny, tmp_path):
    image = np.random.default_rng(3).integers(0, 256, (4, 224, 224, 3), np.uint8)
    body = AlexNet(tiny, include_top=False, pooling="avg", seed=3)
    whole = AlexNet(tiny, classes=5, seed=3)
    before = whole.get_layer("conv1").kernels[0].numpy()
    np.testing.assert_array_equal(body.get_layer("conv1").kernels[0], before)
    model = keras.Sequential([body, keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    model.fit(image, np.array([0, 1, 0, 1]), verbose=0)
    assert not np.array_equal(body.get_layer("conv1").kernels[0], before)
    model.save(tmp_path / "a.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "a.keras")(image), model(image))


def test_one_tower_s_maps_are_its_own(tiny):
    model = AlexNet(with_overrides(tiny, ["network.towers=1"]), include_top=False, pooling="maps")
    assert model.output_shape == model.get_layer("pool5").output.shape


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"include_top": False, "pooling": "mean"}, "must be None or one of maps, avg, max. Received: pooling='mean'"),
        ({"pooling": "avg"}, "needs include_top=False. Received: pooling='avg'"),
    ],
)
def test_a_pooling_that_does_nothing_is_refused(tiny, options, sentence):
    with pytest.raises(UsageError, match=f"^pooling {sentence}"):
        AlexNet(tiny, **options)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tiny):
    first, again, other = (AlexNet(tiny, classes=3, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), again.get_weights(), strict=True))
    assert not np.allclose(first.trainable_variables[0], other.trainable_variables[0])


@pytest.mark.slow
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
    layers = summarize(AlexNet(with_overrides(tiny, ["network.towers=1"]), classes=3))
    assert [layer.reads for layer in layers] == ["image"] + ["own"] * 7


def test_a_part_has_a_seed_of_its_own_that_never_changes():
    """A seed gives the same network in every version."""
    assert seed_of_part(None, "conv1") is None
    assert seed_of_part(0, "conv1") == 285_681_077  # CRC-32 of the name
    assert seed_of_part(5, "conv1") == 5 * 1_000_003 + 285_681_077
    assert seed_of_part(2**40, "fc8") < 2_147_483_648
    assert type(seed_of_part(np.int64(2**40), "fc8")) is int


@pytest.mark.parametrize("kind", ["image", "channel"])
@pytest.mark.parametrize("mean", [np.ones(6), np.ones((3, 256, 256)), np.ones((256, 256)), np.ones((256, 256, 4)), 5.0])
def test_a_mean_of_another_shape_is_refused(tiny, mean, kind):
    recipe = with_overrides(tiny, [f"augmentation.mean={kind}"])
    with pytest.raises(UsageError, match=r"mean_image must be \(height, width, 3\) or \(3,\). Received: mean_image of"):
        AlexNet(recipe, classes=3, mean_image=mean)


@pytest.mark.parametrize("mean", [[1.0, 2.0, np.nan], [1e4, 3.0, 7.0], [120.0, -3.0, 100.0]])
def test_a_mean_that_is_none_of_pixels_is_refused(tiny, mean):
    with pytest.raises(UsageError, match=r"mean_image must be 0..255. Received: mean_image of "):
        AlexNet(tiny, classes=3, mean_image=mean)


def test_a_mean_on_the_scale_from_0_to_1_is_warned_of(tiny):
    with pytest.warns(UserWarning, match=r"mean_image is at most 0.485, and pixels are 0..255: was it divided\?"):
        AlexNet(tiny, classes=3, mean_image=[0.485, 0.456, 0.406])


def test_the_input_is_less_its_mean_whatever_form_the_mean_comes_in(tiny):
    image = np.random.default_rng(0).uniform(0, 255, (300, 280, 3)).astype(np.float32)
    channel = with_overrides(tiny, ["augmentation.mean=channel"])

    def mean_of(recipe, mean_image):
        return AlexNet(recipe, classes=2, mean_image=mean_image).get_layer("mean").mean_image

    np.testing.assert_array_equal(mean_of(tiny, image), image[38:262, 28:252])
    everywhere = np.ones((224, 224, 1), np.float32)
    np.testing.assert_allclose(mean_of(channel, image), everywhere * image.mean(axis=(0, 1)), rtol=1e-5)
    for recipe in (tiny, channel):
        np.testing.assert_array_equal(mean_of(recipe, (1, 2, 3)), everywhere * np.float32([1, 2, 3]))
        expected = everywhere * np.float32([127.3049, 119.7154, 104.9126])
        np.testing.assert_allclose(mean_of(recipe, None), expected, rtol=1e-6)


def test_the_papers_eigenvalues_are_variances_of_pixels_from_0_to_1_in_pixels(tiny):
    stds = [19.7208, 37.0939, 121.7801]

    def noise(*changes):
        model = AlexNet(with_overrides(tiny, [f"augmentation.{change}" for change in changes]), classes=2)
        return model.get_layer("color_noise")

    plain = noise()
    assert plain.magnitudes == pytest.approx(stds) and (plain.stddev, plain.rescale) == (0.1, True)
    assert plain.vectors[0] == pytest.approx([0.41795513, -0.71257945, -0.56351045])
    eigenvalues = noise("color_noise_scale=eigenvalue", "color_noise=0.2", "color_noise_rescale=false")
    assert eigenvalues.magnitudes == pytest.approx([1.5251, 5.3959, 58.1584], rel=1e-4)
    assert (eigenvalues.stddev, eigenvalues.rescale) == (0.2, False)
    assert noise("input_scale=0.5").magnitudes == pytest.approx([std / 2 for std in stds])
    with pytest.raises(ValueError, match="color_noise"):
        noise("color_noise=0")


def test_what_is_made_twice_after_one_layer_has_a_number(tiny):
    model = AlexNet(with_overrides(tiny, ["network.conv5.followed_by=['relu', 'pool', 'relu', 'relu']"]), classes=2)
    names = [layer.name for layer in model.layers]
    assert names[names.index("conv5") : names.index("flatten")] == ["conv5", "relu5", "pool5", "relu5_2", "relu5_3"]


def test_a_network_without_dropout_or_top_and_in_one_tower(tiny):
    bare = with_overrides(tiny, ["network.towers=1", "network.fc6.dropout=0", "network.fc7.dropout=0.3"])
    model = AlexNet(bare, include_top=False, name="bare")
    names = [layer.name for layer in model.layers]
    assert "drop6" not in names and model.get_layer("drop7").layer.rate == 0.3
    assert model.output_shape == (None, 12) and names[-1] == "drop7" and model.name == "bare"
    topped = AlexNet(bare, classes=2)
    assert features_of(topped).output_shape == (None, 12)
    assert (features_of(topped).name, logits_of(topped).name) == ("alexnet_features", "alexnet_logits")


def test_every_part_is_seeded_and_none_without_a_seed(tiny):
    parts = ["conv1", "fc7", "fc8"]

    def seeds(seed):
        model = AlexNet(tiny, classes=2, seed=seed)
        found = [model.get_layer(part).kernel_initializer.seed for part in parts]
        return [*found, model.get_layer("drop6").layer.seed, model.get_layer("color_noise").seed]

    assert seeds(4) == [seed_of_part(4, part) for part in [*parts, "drop6", "color_noise"]]
    assert seeds(None)[3:] == [None, None]


def test_a_mean_image_smaller_than_a_crop_is_refused(tiny):
    """The centre crop of one that lacks one or two pixels would be a single pixel: a colour that nobody meant."""
    recipe = with_overrides(tiny, ["network.input_size=225"])
    with pytest.raises(UsageError, match=r"mean_image must be at least 225x225. Received: .* shape \(224, 224, 3\)"):
        AlexNet(recipe, classes=3, mean_image=np.zeros((224, 224, 3)))


@pytest.mark.parametrize("classes", [0, -3, "3", None, 2.5])
def test_a_network_of_no_classes_is_refused(tiny, classes):
    with pytest.raises(UsageError, match=f"whole number of at least 1. Received: classes={classes!r}"):
        AlexNet(tiny, classes=classes)


def test_the_defaults_are_a_thousand_classes_and_their_probabilities(source):
    assert source.output_shape == (None, 1000) and source.name == "alexnet"
    assert source.get_layer("predictions").activation is keras.activations.softmax


def test_weights_are_loaded_from_a_file_of_weights_and_from_a_model(tiny, tmp_path):
    model = AlexNet(tiny, classes=2, seed=1)
    model.save_weights(tmp_path / "a.weights.h5")
    model.save(tmp_path / "a.keras")
    for name in ("a.weights.h5", "a.keras"):
        other = AlexNet(tiny, weights=tmp_path / name, classes=2, seed=2)
        for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
