"""ONNX: which operators the graph is made of, and that every kind of network comes out right."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from alexnet_keras import AlexNet
from alexnet_keras.interop.export_run import export_run
from alexnet_keras.interop.exported import exported_network
from alexnet_keras.interop.onnx import open_onnx, write_onnx
from alexnet_keras.recipes.toml import load_recipe, with_overrides

pytestmark = pytest.mark.slow  # the conversion is

PLAIN = {
    "Slice", "Transpose", "Cast", "Sub", "Mul", "Conv", "LRN", "AveragePool", "Add", "Pow", "MaxPool", "Relu",
    "Concat", "Flatten", "Gemm", "Softmax",
}  # fmt: skip


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    write_onnx(exported_network(run), path)
    return path


def test_the_graph_is_of_ordinary_operators_a_tower_at_a_time(written):
    model = onnx.load(written)
    kinds = [node.op_type for node in model.graph.node]
    assert set(kinds) == PLAIN and {node.domain for node in model.graph.node} == {""}
    assert [opset.domain for opset in model.opset_import] == [""]
    # conv1 to conv5, fc6 and fc7 in two towers, fc8 in one; a transpose at the input and no other
    assert (kinds.count("Conv"), kinds.count("Gemm"), kinds.count("Transpose")) == (10, 5, 1)
    assert all(attribute.name != "group" for node in model.graph.node for attribute in node.attribute)
    assert {"conv2.kernel_a", "conv2.kernel_b", "fc8.bias_a"} <= {value.name for value in model.graph.initializer}


def test_it_carries_labels_recipe_and_provenance(written, run):
    facts = {entry.key: json.loads(entry.value) for entry in onnx.load(written).metadata_props}
    assert facts["titles"] == ["Blau", "grün", "красный"] and facts["names"] == run.facts["classes"]
    assert facts["provenance"]["run"] == run.name and facts["recipe"]["name"] == run.recipe.name


def test_any_number_of_images_at_once(written, samples):
    network = open_onnx(written)
    one_by_one = np.concatenate([network(image[None]) for image in samples.images[:3]])
    np.testing.assert_allclose(network(samples.images[:3]), one_by_one, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        ["network.lrn.alpha_convention=sum", "network.lrn.alpha=0.01"],
        ["network.spatial_norm.scale=0.5", "network.spatial_norm.beta=0.5", "network.lrn.k=1.0"],
        ["network.fc6.reads=own", "network.fc7.reads=own", "network.conv3.reads=own"],
        ["network.towers=1"],
        ["network.lrn.windows=layer", "network.lrn.alpha=0.5"],
        ["network.lrn.windows=layer", "network.towers=1"],
        ["augmentation.input_scale=0.02", "augmentation.color_noise=0.0"],
        ["network.fc6.activation=tanh", "network.fc7.dropout=0.3", "network.pool_size=2"],
        ["network.input_size=192"],
    ],
    ids=["sum", "norms", "own", "one tower", "across", "across one", "scaled", "tanh", "smaller"],
)
def test_every_kind_of_network(run_of, tiny, samples, tmp_path, changes):
    run = run_of(with_overrides(tiny, changes))
    assert export_run(run, "onnx", tmp_path / "model.onnx", samples).difference < 1e-5


def test_the_papers_order_of_layers(run_of, tiny, samples, tmp_path):
    order = {conv.name: conv.followed_by for conv in load_recipe("paper").network.convolutions}
    convolutions = tuple(replace(conv, followed_by=order[conv.name]) for conv in tiny.network.convolutions)
    run = run_of(replace(tiny, network=replace(tiny.network, convolutions=convolutions)))
    assert export_run(run, "onnx", tmp_path / "model.onnx", samples).difference < 1e-5


def test_a_network_that_is_read_wrongly_is_found(run, samples, tmp_path):
    """Exchanging the towers of one layer is more than the tolerance."""
    network = exported_network(run)
    layer = network.model.get_layer("conv4")
    first, second = (kernel.numpy() for kernel in layer.kernels)
    layer.kernels[0].assign(second)
    layer.kernels[1].assign(first)
    write_onnx(network, tmp_path / "model.onnx")
    assert np.abs(open_onnx(tmp_path / "model.onnx")(samples.images) - _own(run, samples)).max() > 1e-4


def _own(run, samples):
    from alexnet_keras.evaluation.predictor import Predictor

    return Predictor(run.load_model())(samples.images)


def test_features_have_no_place_in_an_export(run, tiny, tmp_path):
    from alexnet_keras.errors import AlexNetError

    network = exported_network(run)
    headless = replace(network, model=AlexNet(tiny, include_top=False))
    with pytest.raises(AlexNetError, match="no ONNX form"):
        write_onnx(headless, tmp_path / "model.onnx")
