"""Every way in which Keras copies, saves and loads a network: whatever it needs to answer as before goes along."""

import warnings
from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_keras import AlexNet
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.layers import EachTower, TowerDense
from alexnet_keras.network.loading import layer_differences
from alexnet_keras.recipes import edit
from alexnet_keras.recipes.toml import from_dict, to_dict, with_overrides
from alexnet_keras.training.optimizer import AlexNetSGD

IMAGES = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), np.uint8)
MEAN = np.random.default_rng(0).uniform(60, 200, (256, 256, 3))


@pytest.fixture(scope="module")
def trained(tiny):
    """A network with a mean image of its own, and with weights that are not those of any seed."""
    model = AlexNet(tiny, classes=5, mean_image=MEAN, seed=1)
    for variable in model.trainable_variables:
        variable.assign_add(0.01 * np.sin(np.arange(np.prod(variable.shape))).reshape(variable.shape))
    return model


def answers(model):
    return model.predict(IMAGES, verbose=0)


def by_file_of_the_model(model, tiny, folder):
    model.save(folder / "a.keras")
    return keras.saving.load_model(folder / "a.keras")


def by_the_old_file_of_the_model(model, tiny, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras says that .keras is the newer format
        model.save(folder / "a.h5")
    return keras.saving.load_model(folder / "a.h5", compile=False)


def by_clone_and_weights(model, tiny, folder):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def by_config_and_weights(model, tiny, folder):
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def by_json_and_file_of_weights(model, tiny, folder):
    model.save_weights(folder / "a.weights.h5")
    copy = keras.models.model_from_json(model.to_json())
    copy.load_weights(folder / "a.weights.h5")
    return copy


def by_weights_of_another(model, tiny, folder):
    copy = AlexNet(tiny, classes=5, seed=2)  # with a mean colour
    copy.set_weights(model.get_weights())
    return copy


def by_argument(model, tiny, folder):
    model.save(folder / "a.keras")
    return AlexNet(tiny, classes=5, weights=folder / "a.keras")


def by_argument_of_weights(model, tiny, folder):
    model.save_weights(folder / "a.weights.h5")
    return AlexNet(tiny, classes=5, weights=folder / "a.weights.h5")


def by_a_file_after_a_prediction(model, tiny, folder):
    model.save_weights(folder / "a.weights.h5")
    copy = AlexNet(tiny, classes=5, seed=3)
    answers(copy)  # which compiles it
    copy.load_weights(folder / "a.weights.h5")
    return copy


def by_checkpoint_of_tensorflow(model, tiny, folder):
    path = tf.train.Checkpoint(model=model).save(str(folder / "checkpoint"))
    copy = AlexNet(tiny, classes=5, seed=4)
    answers(copy)
    tf.train.Checkpoint(model=copy).restore(path).assert_existing_objects_matched()
    return copy


def by_pickle(model, tiny, folder):
    import pickle

    return pickle.loads(pickle.dumps(model))


WAYS = [
    by_file_of_the_model,
    by_clone_and_weights,
    *(
        pytest.param(way, marks=pytest.mark.slow, id=way.__name__)
        for way in (
            by_json_and_file_of_weights,
            by_argument,
            by_a_file_after_a_prediction,
            by_the_old_file_of_the_model,
            by_config_and_weights,
            by_weights_of_another,
            by_argument_of_weights,
            by_checkpoint_of_tensorflow,
            by_pickle,
        )
    ),
]


@pytest.mark.parametrize("copied", WAYS)
def test_a_copy_answers_as_the_original(trained, tiny, tmp_path, copied):
    np.testing.assert_array_equal(answers(copied(trained, tiny, tmp_path)), answers(trained))


def quantize(model, mode, folder):
    """What Keras warns of; the model and one loaded from its file have to answer the same."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model.quantize(mode)
        model.save(folder / "quantized.keras")
        loaded = keras.saving.load_model(folder / "quantized.keras")
    inputs = [np.ones((2, *x.shape[1:]), np.float32) for x in model.inputs]
    for ours, theirs in zip(*(keras.tree.flatten(each(inputs)) for each in (model, loaded)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    return [str(warning.message) for warning in warned]


@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_quantizing_leaves_towers_as_they_are_and_says_so(trained, tiny, tmp_path, mode):
    model = by_clone_and_weights(trained, tiny, tmp_path)
    warned = quantize(model, mode, tmp_path)
    for layer in ("conv1", "fc6", "fc8"):
        assert any(message.startswith(f"{layer} stays as it is: towers have no {mode} form") for message in warned)
    assert not any("norm" in message for message in warned)  # which have nothing to quantize
    np.testing.assert_array_equal(model(IMAGES), trained(IMAGES))


def in_int8(values, axis):
    """The values as multiples of a 127th of the largest on the axis, as Keras rounds them."""
    step = np.abs(values).max(axis, keepdims=True) / 127
    return np.round(values / step) * step


def test_layers_of_keras_behind_the_towers_are_quantized_saved_and_loaded(tiny, tmp_path):
    features = AlexNet(tiny, include_top=False, seed=1)
    head = keras.layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(seed=1), name="head")
    model = keras.Model(features.input, head(features.output))
    expected = in_int8(np.asarray(features(IMAGES)), -1) @ in_int8(head.kernel.numpy(), 0)
    quantize(model, "int8", tmp_path)
    assert model.get_layer("head").dtype_policy.name == "int8_from_float32"
    np.testing.assert_allclose(model(IMAGES), expected, atol=1e-3 * np.abs(expected).max())


def test_a_layer_with_weights_in_a_tower_is_not_quantized_behind_its_towers_back(tmp_path):
    inputs = [keras.Input((8,)), keras.Input((8,))]
    model = keras.Model(inputs, EachTower(keras.layers.Dense(4, name="part"))(inputs))
    warned = quantize(model, "int8", tmp_path)
    assert "part_a stays as it is: a layer inside a tower has no int8 form." in warned


@pytest.mark.parametrize("policy", ["int8_from_float32", "float8_from_mixed_bfloat16"])
def test_a_dtype_policy_that_quantizes_is_refused(tiny, policy):
    with pytest.raises(UsageError, match=f"dtype policy {policy} quantizes, and towers have no such form"):
        AlexNet(tiny, classes=5, dtype=policy)
    keras.config.set_dtype_policy(policy)
    try:
        with pytest.raises(UsageError, match=f"dtype policy {policy} quantizes"):
            AlexNet(tiny, classes=5)
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.raises(ValueError, match="Received: dtype="):
        TowerDense(4, dtype=policy)
    layer = TowerDense(4, towers=1)
    layer.build((None, 3))
    with pytest.raises(ValueError, match="Received: dtype="):
        layer.dtype_policy = policy
    assert layer(np.ones((2, 3), np.float32))[0].shape == (2, 4)  # as before
    layer.dtype_policy = "mixed_bfloat16"
    assert layer(np.ones((2, 3), np.float32))[0].dtype == "bfloat16"


def test_every_layer_has_the_shapes_that_keras_draws_and_sums_up(trained):
    """Of `plot_model`, `model_to_dot` and `summary`."""
    lines = []
    trained.summary(expand_nested=True, show_trainable=True, print_fn=lines.append)
    for layer in trained.layers[1:]:
        shapes, found = (
            keras.tree.map_structure(lambda x: x.shape, tensors) for tensors in (layer.input, layer.output)
        )
        expected = layer.compute_output_shape(shapes)
        assert expected == found or expected == [found]  # Keras gives a list of one as that one
        assert layer.name in "".join(lines)


def test_model_to_dot_has_an_edge_between_each_layer_and_the_next(trained):
    pytest.importorskip("pydot")
    dot = keras.utils.model_to_dot(trained, show_shapes=True, show_dtype=True, expand_nested=True, show_trainable=True)
    edges = {(edge.get_source(), edge.get_destination()) for edge in dot.get_edges()}
    assert edges == {(str(id(a)), str(id(b))) for a, b in pairwise(trained.layers)}


def test_a_copy_of_the_config_alone_has_the_colour_of_the_mean(trained):
    copy = keras.models.clone_model(trained).get_layer("mean").mean_image
    expected = MEAN[16:240, 16:240].mean(axis=(0, 1))
    np.testing.assert_allclose(copy, np.broadcast_to(expected, (224, 224, 3)), rtol=1e-5)


def test_the_variables_of_a_checkpoint_are_all_of_the_networks(trained, tmp_path):
    path = tf.train.Checkpoint(model=trained).save(str(tmp_path / "checkpoint"))
    saved = [shape for _, shape in tf.train.list_variables(path)]
    for variable in trained.weights:
        assert list(variable.shape) in saved, variable.path
    kernels = sum("kernel" in name and "OPTIMIZER" not in name for name, _ in tf.train.list_variables(path))
    assert kernels == sum("kernel" in variable.path for variable in trained.weights)


@pytest.mark.slow
def test_the_optimizer_of_a_checkpoint_resumes_where_it_was(trained, tiny, tmp_path):
    def compiled():
        model = AlexNet(tiny, classes=5, seed=1)
        model.compile(AlexNetSGD(0.001, 0.002), loss="sparse_categorical_crossentropy")
        model.optimizer.build(model.trainable_variables)
        return model

    one, other = compiled(), compiled()
    one.train_on_batch(IMAGES, np.array([0, 1, 2]))
    checkpoint = tf.train.Checkpoint(model=one, optimizer=one.optimizer)
    path = checkpoint.save(str(tmp_path / "checkpoint"))
    restored = tf.train.Checkpoint(model=other, optimizer=other.optimizer).restore(path)
    restored.assert_existing_objects_matched()
    for mine, theirs in zip(one.optimizer.velocities, other.optimizer.velocities, strict=True):
        assert np.abs(mine.numpy()).max() > 0
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5"])
def test_the_layers_of_a_trained_network_serve_without_its_classifier(trained, tiny, tmp_path, name):
    trained.save(tmp_path / "a.keras")
    trained.save_weights(tmp_path / "a.weights.h5")
    bare = AlexNet(tiny, include_top=False, weights=tmp_path / name)
    read = trained.get_layer("fc8").input
    hidden = keras.Model(trained.input, read)(IMAGES)
    np.testing.assert_allclose(answers(bare), np.concatenate(hidden, axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5"])
def test_the_layers_of_a_trained_network_serve_under_a_classifier_of_other_classes(trained, tiny, tmp_path, name):
    trained.save(tmp_path / "a.keras")
    trained.save_weights(tmp_path / "a.weights.h5")
    with pytest.warns(UserWarning, match="has other classes than this network: its fc8 was not loaded"):
        model = AlexNet(tiny, classes=3, weights=tmp_path / name, seed=8)
    fresh = AlexNet(tiny, classes=3, seed=8)
    for layer in model.layers:
        expected = fresh if layer.name == "fc8" else trained
        for ours, theirs in zip(layer.get_weights(), expected.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5"])
def test_weights_of_a_network_of_other_layers_are_refused(trained, tiny, tmp_path, name):
    trained.save(tmp_path / "a.keras")
    trained.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(DataError, match=r"is of another network: it has no conv2.* of the same shape"):
        AlexNet(with_overrides(tiny, ["network.conv2.filters=10"]), classes=5, weights=tmp_path / name)


def test_weights_of_another_recipe_are_reported(trained, tiny, tmp_path):
    trained.save(tmp_path / "a.keras")
    with pytest.warns(UserWarning, match=r"computes something else with them \(norm1: alpha is 0.0001 there"):
        AlexNet(with_overrides(tiny, ["network.lrn.alpha=0.0005"]), classes=5, weights=tmp_path / "a.keras")


def more_convolutions(recipe):
    values = to_dict(recipe)
    convolutions = values["network"]["convolutions"]
    convolutions.append({**convolutions[-1], "name": "conv6", "reads": "all", "followed_by": ["relu"]})
    return from_dict(values)


@pytest.mark.parametrize(
    ("change", "there", "here"),
    [
        ({"network.fc6.dropout": 0.0}, "it has no drop6", "it has drop6"),
        ({"network.fc7.dropout": 0.0}, "it has no drop7", "it has drop7"),
        ({"network.conv1.followed_by": ("pool", "relu")}, "it has no norm1", "it has norm1"),
        (
            {"network.conv1.followed_by": ("pool", "lrn", "relu")},
            "pool1 is before norm1 there",
            "norm1 is before pool1 there",
        ),
        (
            {"network.lrn.windows": "layer"},
            "norm1: class is AcrossTowers of Local",
            "norm1: class is EachTower of Local",
        ),
    ],
)
@pytest.mark.parametrize("end", [{}, {"include_top": False}], ids=["top", "no top"])
def test_layers_that_only_one_network_has_their_order_and_their_kind_are_reported(tiny, change, there, here, end):
    one, other = AlexNet(tiny, classes=5, **end), AlexNet(edit(tiny, change), classes=5)
    assert [found[: len(there)] for found in layer_differences(one, other)][:1] == [there]
    assert [found[: len(here)] for found in layer_differences(other, one)][:1] == [here]
    assert not layer_differences(one, AlexNet(edit(tiny, {"augmentation.color_noise": 0.5}), classes=3))


@pytest.mark.parametrize("pooling", ["maps", "avg"])
def test_what_follows_the_maps_is_not_asked_of_a_network_that_ends_with_them(tiny, pooling):
    maps = AlexNet(tiny, include_top=False, pooling=pooling)
    assert not layer_differences(maps, AlexNet(edit(tiny, {"network.fc6.dropout": 0.0}), classes=5))
    assert layer_differences(maps, AlexNet(edit(tiny, {"network.conv1.followed_by": ("relu",)}), classes=5))


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5"])
def test_weights_of_a_network_of_more_layers_are_not_taken_without_a_word(tiny, tmp_path, name):
    longer = AlexNet(more_convolutions(tiny), classes=5)
    longer.save(tmp_path / "a.keras")
    longer.save_weights(tmp_path / "a.weights.h5")
    AlexNet(more_convolutions(tiny), classes=5, weights=tmp_path / name)
    if name == "a.keras":
        with pytest.warns(UserWarning, match=r"computes something else with them .*it has conv6; it has relu6"):
            AlexNet(tiny, classes=5, weights=tmp_path / name)
    else:
        with pytest.raises(DataError, match="of another network: it has 6 convolutions, and this one 5"):
            AlexNet(tiny, classes=5, weights=tmp_path / name)


def test_another_end_is_not_reported(trained, tiny, tmp_path, recwarn):
    trained.save(tmp_path / "a.keras")
    logits = AlexNet(tiny, classes=5, classifier_activation=None, weights=tmp_path / "a.keras")
    np.testing.assert_allclose(keras.ops.softmax(logits(IMAGES)), trained(IMAGES), rtol=1e-5)
    assert not [warning for warning in recwarn if issubclass(warning.category, UserWarning)]


def test_files_that_are_none_of_weights_are_refused(tiny, tmp_path):
    with pytest.raises(UsageError, match="no file nothing"):
        AlexNet(tiny, classes=5, weights="nothing")
    for name in ("a.keras", "a.weights.h5"):
        (tmp_path / name).write_bytes(b"\0nothing of the kind")
        with pytest.raises(DataError, match="cannot be loaded, so it is damaged or not AlexNet's"):
            AlexNet(tiny, classes=5, weights=tmp_path / name)
    np.savez(tmp_path / "a.npz", conv1=IMAGES)
    with pytest.raises(DataError, match=r"a.npz is a .npz archive of NumPy's, in which nothing here looks for weights"):
        AlexNet(tiny, classes=5, weights=tmp_path / "a.npz")


@pytest.mark.slow
def test_the_mean_is_neither_trained_nor_counted_as_trained(tiny):
    model = AlexNet(tiny, classes=5, mean_image=MEAN, seed=1)
    before = model.get_layer("mean").mean_image
    model.compile(AlexNetSGD(0.01, decay=0.1), loss="sparse_categorical_crossentropy")
    model.train_on_batch(IMAGES, np.array([0, 1, 2]))
    np.testing.assert_array_equal(model.get_layer("mean").mean_image, before)
    assert [v.path for v in model.non_trainable_weights] == ["mean/mean"]


@pytest.mark.slow
def test_logits_are_not_rounded_in_mixed_precision(tiny):
    """Rounded to bfloat16, some of a thousand would be equal, and ties count against the network."""
    model = AlexNet(tiny, classes=1000, seed=2, dtype="mixed_bfloat16")
    read = model.get_layer("fc8").input
    hidden = [np.asarray(keras.ops.cast(x, "float32")) for x in keras.Model(model.input, read)(IMAGES)]
    fc8 = model.get_layer("fc8")
    expected = np.concatenate(hidden, axis=1) @ fc8.kernels[0].numpy() + fc8.biases[0].numpy()
    logits = keras.Model(model.input, model.get_layer("predictions").input)(IMAGES)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    assert len(np.unique(logits[0])) > 990
