"""torchvision's alexnet: the names of its arrays, and the pixels that it expects."""

from alexnet_keras.interop.folding import CLASSIFIER, Layout
from alexnet_keras.recipes import Network

# torchvision/transforms/_presets.py: pixels / 255, less these, divided by those
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

LAYOUT = Layout(channels_first=True, pixel_factors=(1 / (255 * STD[0]), 1 / (255 * STD[1]), 1 / (255 * STD[2])))
RGB_MEAN = (255 * MEAN[0], 255 * MEAN[1], 255 * MEAN[2])


def names_of(network: Network) -> dict[str, tuple[str, str]]:
    """What a state dict calls each layer's weights and biases: features.0.weight and features.0.bias for conv1."""
    places: dict[str, str] = {}
    position = 0
    for conv in network.convolutions:
        places[conv.name] = f"features.{position}"
        position += 1 + len(conv.then)
    for number, name in enumerate([*(dense.name for dense in network.dense), CLASSIFIER]):
        # dropout, linear, ReLU; dropout, linear, ReLU; linear
        places[name] = f"classifier.{3 * number + (name != CLASSIFIER)}"
    return {name: (f"{place}.weight", f"{place}.bias") for name, place in places.items()}
