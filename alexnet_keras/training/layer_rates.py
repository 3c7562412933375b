"""Layers that learn more slowly than the others, or not at all: fine-tuning."""

from collections.abc import Sequence

from alexnet_keras.errors import UsageError
from alexnet_keras.recipes.schema import Network

CLASSIFIER = "fc8"


def layer_names(network: Network) -> list[str]:
    """The layers that have weights, from the image to the classifier."""
    return [layer.name for layer in network.layers] + [CLASSIFIER]


def frozen_layers(network: Network) -> list[str]:
    """The layers whose rates are 0 from the first step to the last."""
    factors = [layer.rate_factor for layer in network.layers]
    factors.append(network.classifier_rate_factor)
    return [layer for layer, factor in zip(layer_names(network), factors, strict=True) if factor == 0]


def check_something_learns(network: Network) -> None:
    """Refuses a network of which every layer is frozen.

    Raises:
        UsageError: it is.
    """
    if len(frozen_layers(network)) == len(layer_names(network)):
        raise UsageError("Every layer is frozen, so nothing would be learnt: leave at least one out, such as fc8.")


def rate_changes(network: Network, layers: str, factor: float) -> list[str]:
    """The overrides of a recipe that multiply the rates of some layers: `["network.conv1.rate_factor=0.1", ...]`.

    Args:
        layers: names and ranges in the order of the network, with commas: `conv1..conv5,fc7`.
        factor: 0 freezes.

    Raises:
        UsageError: there is no such layer, or a range runs backwards.
    """
    fields = {layer: f"network.{layer}.rate_factor" for layer in layer_names(network)}
    fields[CLASSIFIER] = "network.classifier_rate_factor"
    return [f"{fields[layer]}={factor:g}" for layer in _named(layers, layer_names(network))]


def _named(text: str, layers: Sequence[str]) -> list[str]:
    """The layers that names and ranges mean, each once, in the order of the network."""
    found: set[str] = set()
    for part in text.split(","):
        first, _, last = (end.strip() for end in part.partition(".."))
        last = last if ".." in part else first
        for end in (first, last):
            if end not in layers:
                raise UsageError(f"There is no layer {end!r} in this network; it has {', '.join(layers)}.")
        start, stop = layers.index(first), layers.index(last)
        if stop < start:
            raise UsageError(f"The range {part.strip()} runs backwards: write {last}..{first}.")
        found.update(layers[start : stop + 1])
    return [layer for layer in layers if layer in found]
