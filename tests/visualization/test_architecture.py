"""Figure 2 of a model: its facts are the paper's, and the figure can be read."""

from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image
from tiers import rest_slow
from toy_runs import TOWERS

from alexnet_keras import AlexNet
from alexnet_keras.errors import UsageError
from alexnet_keras.network.summary import PAPER_NEURONS, Transfer, parameters_of, summarize
from alexnet_keras.recipes.toml import from_dict, load_recipe, to_dict, with_overrides
from alexnet_keras.training.diagnostics import SCALARS, transfers
from alexnet_keras.training.optimizer import AlexNetSGD
from alexnet_keras.training.step import TrainingStep
from alexnet_keras.visualization.architecture import draw_architecture

APART = ["network.conv3.reads=own", "network.fc6.reads=own", "network.fc7.reads=own"]


def six_convolutions(recipe):
    """Net 146: a sixth convolution over the last pooling layer, reading both towers, and no pooling after it."""
    values = to_dict(recipe)
    convolutions = values["network"]["convolutions"]
    convolutions.append({**convolutions[-1], "name": "conv6", "reads": "all", "followed_by": ["relu"]})
    return from_dict(values)


VARIATIONS = {
    "two towers": lambda recipe: recipe,
    "one tower": lambda recipe: with_overrides(recipe, ["network.towers=1"]),
    "three towers": lambda recipe: with_overrides(recipe, ["network.towers=3"]),
    "apart": lambda recipe: with_overrides(recipe, APART),
    "six convolutions": six_convolutions,
    "no normalisation": lambda recipe: with_overrides(
        recipe, ["network.conv1.followed_by=['relu', 'pool']", "network.conv2.followed_by=['relu', 'pool']"]
    ),
    "normalised, not pooled": lambda recipe: with_overrides(recipe, ["network.conv4.followed_by=['tanh', 'lrn']"]),
    "nothing follows": lambda recipe: with_overrides(
        recipe, ["network.conv4.followed_by=[]", "network.fc7.dropout=0.0"]
    ),
}
variations = pytest.mark.parametrize("vary", rest_slow(VARIATIONS.values(), first=3), ids=VARIATIONS)


@pytest.fixture(scope="module")
def source():
    return {layer.name: layer for layer in summarize(AlexNet("source", seed=1))}


def test_the_source_has_the_papers_layers_neurons_and_parameters(source):
    assert {name: layer.neurons for name, layer in source.items()} == {**PAPER_NEURONS, "conv1": 55 * 55 * 96}
    assert sum(layer.parameters for layer in source.values()) == 60_965_224
    outputs = [(55, 55, 48), (27, 27, 128), (13, 13, 192), (13, 13, 192), (13, 13, 128), (2048,), (2048,), (1000,)]
    assert [layer.output for layer in source.values()] == outputs
    kernels = [(11, 11, 3), (5, 5, 48), (3, 3, 256), (3, 3, 192), (3, 3, 192), (9216,), (4096,), (4096,)]
    assert [layer.kernel for layer in source.values()] == kernels
    assert [layer.stride for layer in source.values()] == [4, 1, 1, 1, 1, None, None, None]
    assert [layer.towers for layer in source.values()] == [2] * 7 + [1]
    reads = ["image", "own", "all", "own", "own", "all", "all", "all"]
    assert [layer.reads for layer in source.values()] == reads
    assert [source[name].passed_on for name in ("conv1", "conv2", "conv5")] == [
        (27, 27, 48),
        (13, 13, 128),
        (6, 6, 128),
    ]


def test_the_steps_after_a_layer_are_in_the_order_of_net_145(source):
    then = {name: [step.text for step in layer.followed_by] for name, layer in source.items()}
    assert then["conv1"] == ["LRN", "max pool 3/2", "ReLU"]
    assert then["conv2"] == ["ReLU", "LRN", "spatial norm", "max pool 3/2"]
    assert then["fc6"] == ["ReLU", "dropout 0.5"] and then["fc8"] == ["softmax"]


def test_towers_of_the_source_meet_in_conv3_and_the_fully_connected_layers(source):
    each_way = {"conv3": 13 * 13 * 128, "fc6": 6 * 6 * 128, "fc7": 2048}
    expected = {name: (Transfer("a", "b", values), Transfer("b", "a", values)) for name, values in each_way.items()}
    expected["fc8"] = (Transfer("b", "a", 2048),)
    assert {name: layer.transfers for name, layer in source.items() if layer.transfers} == expected


@pytest.mark.slow
def test_what_passes_is_what_the_graph_that_runs_sends(tiny):
    with TOWERS.scope():
        model = AlexNet(tiny, classes=3, seed=0)
        optimizer = AlexNetSGD()
        optimizer.build(model.trainable_variables)
    sent = transfers(TrainingStep(model, optimizer, TOWERS.strategy, seed=0, batch_size=4), TOWERS)
    found = {
        (each.layer, each.source, each.target, each.bytes // 4 // 4)  # of float32, of four images
        for each in sent
        if not each.backward and each.layer not in (SCALARS, "conv1")  # conv1: both towers get the image
    }
    described = summarize(model)
    assert found == {(layer.name, p.source, p.target, p.values) for layer in described for p in layer.transfers}


@variations
def test_the_facts_of_any_network_add_up(tiny, vary):
    recipe = vary(tiny)
    model = AlexNet(recipe, classes=3, seed=0)
    facts = summarize(model)
    layers = (*recipe.network.convolutions, *recipe.network.dense)
    assert [layer.name for layer in facts] == [layer.name for layer in layers] + ["fc8"]
    assert [layer.towers for layer in facts] == [recipe.network.towers] * len(layers) + [1]
    assert sum(layer.parameters for layer in facts) == parameters_of(model)
    kernels = {layer.kernel[0] for layer in facts if layer.kind == "convolution"}
    assert kernels == {conv.kernel for conv in recipe.network.convolutions}
    read_by_all = [layer.name for layer in layers[1:] if layer.reads == "all"]
    others = recipe.network.towers - 1
    passages = {layer.name: len(layer.transfers) for layer in facts if layer.transfers}
    assert passages == ({**dict.fromkeys(read_by_all, (others + 1) * others), "fc8": others} if others else {})


@pytest.fixture
def drawn(figures, tmp_path):
    """Draws a model and returns the figure, its texts and their boxes in pixels."""

    def draw(model, **options):
        draw_architecture(model, tmp_path / "architecture.png", **options)
        assert Image.open(tmp_path / "architecture.png").width >= 1600
        (figure,) = figures
        renderer = FigureCanvasAgg(figure).get_renderer()
        texts = [text for text in figure.findobj(Text) if text.get_text()]
        return figure, [text.get_text() for text in texts], [text.get_window_extent(renderer) for text in texts]

    return draw


@variations
def test_no_text_of_the_figure_covers_another_or_leaves_it(drawn, tiny, vary):
    figure, texts, boxes = drawn(AlexNet(vary(tiny), classes=3, seed=0))
    for (one, first), (other, second) in combinations(zip(texts, boxes, strict=True), 2):
        assert not first.overlaps(second), (one, other)
    for text, box in zip(texts, boxes, strict=True):
        assert figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1, text
        assert figure.bbox.y0 - 1 <= box.y0 and box.y1 <= figure.bbox.y1 + 1, text


@pytest.mark.slow
def test_the_largest_numbers_find_room_and_are_the_models(drawn):
    model = AlexNet("source", seed=0)
    _, texts, boxes = drawn(model, title="Net 145", devices=["GPU:0", "GPU:1"])
    for first, second in combinations(boxes, 2):
        assert not first.overlaps(second)
    assert {"Net 145", "GPU:0", "GPU:1", "60,965,224 parameters, 659,272 neurons"} <= set(texts)
    assert {"290,400", "186,624", "43,264", "37,752,832", "11×11×3", "3×3×256", "2 × 2,048"} <= set(texts)
    assert {"21,632\neach way", "4,608\neach way", "2,048\neach way", "2,048\nb to a"} <= set(texts)


def test_quickstart_says_what_it_is_narrower_in(drawn):
    _, texts, _ = drawn(AlexNet(load_recipe("quickstart"), classes=10, seed=0))
    assert {"55×55×24", "2 × 256", "5,408\neach way", "1 × 10"} <= set(texts)


@pytest.mark.parametrize("devices", [["GPU:0"], ["GPU:0", "GPU:1", "GPU:2"]])
def test_every_tower_has_a_device_and_no_device_is_left_over(tiny, tmp_path, devices):
    with pytest.raises(UsageError, match="devices must name 2, one for each tower"):
        draw_architecture(AlexNet(tiny, classes=3), tmp_path / "architecture.png", devices=devices)
