"""torchvision's weights give torchvision's answers, from each form that they come in."""

import numpy as np
import pytest
from plain_networks import random_arrays, torchvision_logits
from small_networks import DENSE, FILTERS, assert_same, crops, our_logits, small
from torch_networks import torch_alexnet, torch_logits
from written_files import state_names, write_legacy_pth, write_pth, write_safetensors

from alexnet_keras.interop.import_run import import_network


@pytest.fixture(scope="module")
def arrays():
    return random_arrays(FILTERS["torchvision"], DENSE, groups=1)


@pytest.mark.parametrize("write", [write_pth, write_legacy_pth, write_safetensors])
def test_an_imported_state_dict_answers_as_the_network_it_came_from(write, arrays, tmp_path):
    kind = "safetensors" if write is write_safetensors else "torchvision"
    path = write(tmp_path / "weights", state_names(arrays))
    network = import_network(path, kind, recipe=small("torchvision"))
    images = crops(224)
    assert network.classes == DENSE[-1]
    assert_same(our_logits(network.model, images), [torchvision_logits(arrays, crop) for crop in images])


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_a_file_that_pytorch_saved_answers_as_in_pytorch(zipped, nested, tmp_path):
    torch = pytest.importorskip("torch")
    theirs = torch_alexnet(FILTERS["torchvision"], DENSE)
    state = theirs.state_dict()
    path = tmp_path / "weights.pth"
    torch.save({"epoch": 3, "state_dict": state} if nested else state, path, _use_new_zipfile_serialization=zipped)
    network = import_network(path, "torchvision", recipe=small("torchvision"))
    images = crops(224)
    assert_same(our_logits(network.model, images), torch_logits(theirs, images))


def test_the_recipe_has_the_parameters_of_the_published_network():
    from alexnet_keras.recipes.toml import load_recipe
    from alexnet_keras.weights.conventions import Layout

    shapes = Layout(channels_first=True).shapes(load_recipe("torchvision").network)
    sizes = [np.prod([1000 if n < 0 else n for n in shape]) for pair in shapes.values() for shape in pair]
    assert sum(sizes) == 61_100_840  # AlexNet_Weights.IMAGENET1K_V1, num_params
