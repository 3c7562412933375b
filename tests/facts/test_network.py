"""Section 1 and rows 2.1, 2.4 to 2.7 and 2.16: shapes, what reads what, initial weights, the forward pass in NumPy.

tests/network/test_model.py has the parameters, 60,965,224 and 62,378,344 if nothing were split, and the layers' order
by name; tests/recipes/test_geometry.py the operations, 1.45e9 forward and 4.13e9 in training.
"""

import keras
import numpy as np
import pytest
from narrow import narrow
from scipy.ndimage import uniform_filter, uniform_filter1d

from alexnet_keras import AlexNet, load_recipe
from alexnet_keras.experiments.variants import six_convolutions
from alexnet_keras.layers import TowerConv2D
from alexnet_keras.network.model import logits_of
from alexnet_keras.network.summary import summarize
from alexnet_keras.recipes.toml import with_overrides

SHAPES = {  # of the output of each tower
    "conv1": (55, 55, 48),
    "pool1": (27, 27, 48),
    "conv2": (27, 27, 128),
    "pool2": (13, 13, 128),
    "conv3": (13, 13, 192),
    "conv4": (13, 13, 192),
    "conv5": (13, 13, 128),
    "pool5": (6, 6, 128),
    "fc6": (2048,),
    "fc7": (2048,),
}
KERNELS = {
    "conv1": (11, 11, 3, 48),
    "conv2": (5, 5, 48, 128),
    "conv3": (3, 3, 256, 192),
    "conv4": (3, 3, 192, 192),
    "conv5": (3, 3, 192, 128),
    "fc6": (9216, 2048),
    "fc7": (4096, 2048),
    "fc8": (4096, 1000),
}


@pytest.fixture(scope="module")
def full_source():
    """Tests read its shapes and initial weights; none computes with it or changes it."""
    return AlexNet("source", seed=1)


def test_shapes_of_every_layer_in_each_of_two_towers(full_source):
    assert full_source.input_shape == (None, 224, 224, 3)
    for name, shape in SHAPES.items():
        assert [tuple(tower.shape) for tower in full_source.get_layer(name).output] == [(None, *shape)] * 2, name
    for name, shape in KERNELS.items():
        layer = full_source.get_layer(name)
        assert [tuple(kernel.shape) for kernel in layer.kernels] == [shape] * (1 if name == "fc8" else 2), name
        assert [tuple(bias.shape) for bias in layer.biases] == [shape[-1:]] * len(layer.kernels), name
    assert full_source.output_shape == (None, 1000)


def test_neurons_and_multiply_adds_of_every_layer(full_source):
    layers = summarize(full_source)

    def of_layers(number):
        return {layer.name: getattr(layer, number) for layer in layers}

    neurons = {"conv1": 290_400, "conv2": 186_624, "conv3": 64_896, "conv4": 64_896, "conv5": 43_264}
    assert of_layers("neurons") == {**neurons, "fc6": 4096, "fc7": 4096, "fc8": 1000}
    assert np.prod(full_source.input_shape[1:]) == 150_528
    millions = {name: number / 1e6 for name, number in of_layers("multiply_adds").items()}
    dense = sum(millions.pop(name) for name in ("fc6", "fc7", "fc8"))
    assert {name: round(number) for name, number in millions.items()} == {
        "conv1": 105, "conv2": 224, "conv3": 150, "conv4": 112, "conv5": 75,
    }  # fmt: skip
    assert round(dense) == 59
    assert round((dense + sum(millions.values())) / 1000, 2) == 0.72


def test_the_initial_weights_are_normal_and_the_biases_constant(full_source):
    stds = {name: 0.03 if name in ("conv3", "conv4", "conv5") else 0.01 for name in KERNELS}
    for name, std in stds.items():
        layer, bias = full_source.get_layer(name), 0 if name in ("conv1", "conv3", "fc8") else 1
        for kernel, biases in zip(layer.kernels, layer.biases, strict=True):
            numbers = kernel.numpy().ravel()[:400_000]
            assert np.std(numbers) == pytest.approx(std, rel=0.02), kernel.path
            assert abs(np.mean(numbers)) < 4 * std / np.sqrt(len(numbers)), kernel.path
            assert np.mean(np.abs(numbers) < std) == pytest.approx(0.6827, abs=0.02), "normal"
            assert np.abs(numbers).max() > 3 * std, "not truncated"
            np.testing.assert_array_equal(biases.numpy(), bias, err_msg=kernel.path)


@pytest.mark.parametrize("recipe", ["source", "paper"])
def test_what_reads_the_other_tower(recipe):
    model = AlexNet(narrow(recipe), classes=3, seed=0)
    maps = np.random.default_rng(0).normal(size=(2, 1, 6, 6, 4)).astype(np.float32)
    reads_both = {}
    for name in ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"):
        layer = model.get_layer(name)
        a, b = maps.reshape(2, 1, -1)[:, :, : layer.kernels[0].shape[0] // 2] if name.startswith("fc") else maps
        before, after = layer([a, b])[0], layer([a, b + 1])[0]
        reads_both[name] = not np.allclose(before, after, rtol=1e-6)
    assert reads_both == {
        "conv2": False, "conv3": True, "conv4": False, "conv5": False, "fc6": True, "fc7": True, "fc8": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("side", "padding", "output"),
    [(224, (0, 3), 55), (224, (0, 0), 54), (224, (3, 4), 56), (227, (0, 0), 55), (224, (2, 2), 55)],
)
def test_eleven_by_eleven_kernels_at_stride_four(side, padding, output):
    """Net 145's three zeros; none; what `same` pads; Caffe's crop of 227; torchvision's padding."""
    layer = TowerConv2D(2, 11, 4, padding)
    image = np.zeros((1, side, side, 3), np.float32)
    assert [tower.shape[1:3] for tower in layer(image)] == [(output, output)] * 2


NUMBERS = {  # of the reference below; what the recipes set of them
    "source": {"order": ("LPR", "RLSP"), "alpha_of_sum": 2e-5},
    "paper": {"order": ("RLP", "RLP"), "alpha_of_sum": 1e-4},
}
OTHER = {
    "network.lrn.n": 3,
    "network.lrn.alpha": 0.002,
    "network.lrn.beta": 0.6,
    "network.lrn.k": 1.5,
    "network.spatial_norm.size": 3,
    "network.spatial_norm.scale": 0.02,
    "network.spatial_norm.beta": 0.9,
    "network.spatial_norm.k": 1.7,
    "network.fc6.dropout": 0.25,
    "network.fc7.dropout": 0.4,
    "network.pool_size": 2,
    "augmentation.input_scale": 0.8,
}
OTHER_NUMBERS = {"n": 3, "beta": 0.6, "k": 1.5, "size": 3, "scale": 0.02, "spatial_beta": 0.9, "spatial_k": 1.7}
OTHER_NUMBERS |= {"kept": (0.75, 0.6), "pool": 2, "input_scale": 0.8}


@pytest.mark.parametrize(
    ("recipe", "changes", "numbers"),
    [
        ("source", {}, NUMBERS["source"]),
        ("source", OTHER, {**NUMBERS["source"], **OTHER_NUMBERS, "alpha_of_sum": 0.002 / 3}),
        ("paper", OTHER, {**NUMBERS["paper"], **OTHER_NUMBERS, "alpha_of_sum": 0.002}),
    ],
    ids=["source", "source with other numbers", "paper with other numbers"],
)
def test_the_forward_pass_is_numpys(recipe, changes, numbers):
    random = np.random.default_rng(3)
    mean = random.uniform(80, 160, (256, 256, 3))
    made = narrow(recipe, *(f"{field}={value}" for field, value in changes.items()))
    model = AlexNet(made, classes=5, mean_image=mean, seed=0)
    weights = {}
    for layer in model.layers:
        for kernel, bias in zip(getattr(layer, "kernels", ()), getattr(layer, "biases", ()), strict=True):
            kernel.assign(random.normal(0, 1.5 / np.sqrt(np.prod(kernel.shape[:-1])), kernel.shape))
            bias.assign(random.normal(0, 1, bias.shape))
        if hasattr(layer, "kernels"):
            pairs = zip(layer.kernels, layer.biases, strict=True)
            weights[layer.name] = [tuple(np.float64(each.numpy()) for each in pair) for pair in pairs]
    images = random.integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    expected = np.stack([forward(image - mean[16:240, 16:240], weights, **numbers) for image in images])
    assert np.ptp(expected, axis=0).min() > 0.01 * np.abs(expected).max(), "the images differ in every class"
    found = logits_of(model)(images, training=False).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def forward(
    image,
    weights,
    order,
    alpha_of_sum,
    n=5,
    beta=0.75,
    k=2.0,
    size=5,
    scale=0.001,
    spatial_beta=0.75,
    spatial_k=1.0,
    kept=(0.5, 0.5),
    pool=3,
    input_scale=1.0,
):
    """Logits of one mean-subtracted image; of the package nothing is used but the weights.

    Args:
        order: what follows conv1 and conv2: R for ReLU, L and S for the normalisations, P for pooling.
        kept: of the outputs of fc6 and fc7, at test time.
    """

    def relu(x):
        return np.maximum(x, 0)

    def step(kind, x):
        if kind == "L":
            return x / (k + alpha_of_sum * n * uniform_filter1d(x**2, n, axis=-1, mode="constant")) ** beta
        if kind == "S":
            neighbourhood = uniform_filter(x**2, (size, size, 1), mode="constant") * size**2
            return x / (spatial_k + scale / size**2 * neighbourhood) ** spatial_beta
        return relu(x) if kind == "R" else pooled(x)

    def pooled(x):
        return np.lib.stride_tricks.sliding_window_view(x, (pool, pool), axis=(0, 1))[::2, ::2].max(axis=(3, 4))

    def convolved(x, kernel, bias, stride, before, after):
        x = np.pad(x, ((before, after), (before, after), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(0, 1))[::stride, ::stride]
        return np.einsum("yxcij,ijcf->yxf", windows, kernel, optimize=True) + bias

    def both(towers):
        return [np.concatenate(towers, axis=-1)] * 2

    def each(name, towers, *geometry):
        return [convolved(x, *pair, *geometry) for x, pair in zip(towers, weights[name], strict=True)]

    towers = each("conv1", [input_scale * image] * 2, 4, 0, 3)  # three zeros at the bottom and on the right
    for kind in order[0]:
        towers = [step(kind, x) for x in towers]
    towers = each("conv2", towers, 1, 2, 2)
    for kind in order[1]:
        towers = [step(kind, x) for x in towers]
    towers = [relu(x) for x in each("conv3", both(towers), 1, 1, 1)]
    towers = [relu(x) for x in each("conv4", towers, 1, 1, 1)]
    towers = [pooled(relu(x)) for x in each("conv5", towers, 1, 1, 1)]
    towers = [x.ravel() for x in towers]
    for name, share in zip(("fc6", "fc7"), kept, strict=True):
        pairs = zip(both(towers), weights[name], strict=True)
        towers = [share * relu(x @ kernel + bias) for x, (kernel, bias) in pairs]
    ((kernel, bias),) = weights["fc8"]
    return both(towers)[0] @ kernel + bias


def test_the_sixth_convolution_of_net_146():
    recipe = with_overrides(six_convolutions(load_recipe("source")), ["network.fc6.units=4", "network.fc7.units=4"])
    model = AlexNet(recipe, classes=3, seed=0)
    conv6, fc6 = model.get_layer("conv6"), model.get_layer("fc6")
    assert [tuple(kernel.shape) for kernel in conv6.kernels] == [(3, 3, 256, 128)] * 2, "it reads both pool5"
    assert [tuple(tower.shape) for tower in conv6.output] == [(None, 6, 6, 128)] * 2
    assert (conv6.strides, conv6.padding) == (1, (1, 1))
    for kernel, bias in zip(conv6.kernels, conv6.biases, strict=True):
        assert np.std(kernel.numpy()) == pytest.approx(0.03, rel=0.01)
        np.testing.assert_array_equal(bias.numpy(), 1)
    names = [layer.name for layer in model.layers]
    between = names[names.index("pool5") : names.index("fc6") + 1]
    assert between == ["pool5", "conv6", "relu6", "flatten", "fc6"], "no pooling after it"
    assert fc6.kernels[0].shape[0] == 9216, "fc6 reads both conv6"
    x = np.random.default_rng(0).normal(size=(2, 1, 6, 6, 128)).astype(np.float32)
    rectified = model.get_layer("relu6")(list(x))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(rectified[0]), np.maximum(x[0], 0))
