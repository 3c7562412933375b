"""The network and the images that figures explain, and the figures that were saved."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from alexnet_keras import AlexNet


@pytest.fixture(scope="session")
def network(tiny):
    """Makes a network whose normalisation counts: with its initial weights the first layer's activities are small."""

    def make(dtype="float32"):
        model = AlexNet(tiny, classes=3, seed=0, dtype=dtype)
        for kernel in model.get_layer("conv1").kernels:
            kernel.assign(30 * kernel)
        return model

    return make


@pytest.fixture(scope="session")
def model(network):
    return network()


@pytest.fixture(scope="session")
def smooth_images():
    """Two of them: (2, 256, 256, 3) uint8."""
    coarse = np.random.default_rng(1).integers(40, 216, (2, 16, 16, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((256, 256), Image.BICUBIC)) for one in coarse])


@pytest.fixture
def figures(monkeypatch):
    """The figures that the test has saved, after their layout."""
    saved, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *where, **how: (saved.append(figure), save(figure, *where, **how))
    )
    return saved
