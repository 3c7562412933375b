"""Figure 2: the network in two towers, drawn from the model itself, next to the numbers that the paper gives."""

from pathlib import Path

from alexnet_keras.experiments.lab import Lab
from alexnet_keras.experiments.outcome import Comparison, Outcome, OverSeeds
from alexnet_keras.network.model import AlexNet
from alexnet_keras.network.summary import PAPER_NEURONS, LayerSummary, summarize
from alexnet_keras.visualization.architecture import draw_architecture

# Parameters (paper, section 1: "60 million"), and neurons.
PARAMETERS, NEURONS_IN_ALL = 60e6, 650_000
NOTES = {"conv1": "55 x 55 x 96; the paper's number is no such product"}
DEVICES = ("GPU 1", "GPU 2")


def run(lab: Lab) -> Outcome:
    """Count neurons, parameters and crossings in the model of the recipe `source`; nothing is trained."""
    layers = summarize(AlexNet("source"))
    neurons, parameters = sum(layer.neurons for layer in layers), sum(layer.parameters for layer in layers)
    comparisons = [
        *(
            _compare(f"neurons of {name}", f"{claimed:,}", count, claimed, 0)
            for name, count, claimed in ((each.name, each.neurons, PAPER_NEURONS[each.name]) for each in layers)
        ),
        _compare("neurons in all", "650,000", neurons, NEURONS_IN_ALL, 0.05),
        _compare("parameters", "60 million", parameters, PARAMETERS, 0.05),
    ]
    crossing = {layer.name: sum(passage.values for passage in layer.transfers) for layer in layers if layer.transfers}
    counts = ", ".join(f"{count:,} into {name}" for name, count in crossing.items())
    return Outcome(
        summary=(
            f"The network of the recipe source as it is built: {parameters:,} parameters, {neurons:,} neurons, two "
            f"towers. For one image these numbers of values cross between the devices, both ways together: {counts}."
        ),
        comparisons=tuple(comparisons),
        configuration=tuple(_line(layer) for layer in layers),
        facts={"crossing": crossing, "parameters": parameters, "neurons": neurons},
    )


def draw(outcome: Outcome, path: Path) -> None:
    """Draw the towers."""
    draw_architecture(AlexNet("source"), path, "AlexNet, recipe source", DEVICES)


def _compare(what: str, claim: str, count: int, claimed: float, tolerance: float) -> Comparison:
    """A count next to the paper's; it agrees within a relative tolerance."""
    agrees = abs(count / claimed - 1) <= tolerance
    note = NOTES.get(what.removeprefix("neurons of "), "")
    return Comparison(what, OverSeeds((float(count),)), "count", claim, "", "agrees" if agrees else "disagrees", note)


def _line(layer: LayerSummary) -> str:
    kernel = "x".join(map(str, layer.kernel))
    stride = f", stride {layer.stride}" if layer.stride else ""
    size = "x".join(map(str, layer.output))
    return f"{layer.name}: {layer.towers} x {size}, kernels {kernel}{stride}, reads {layer.reads}"
