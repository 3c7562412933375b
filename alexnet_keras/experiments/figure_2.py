"""Figure 2: the network in two towers, drawn from the model itself, beside the numbers that the paper gives."""

from pathlib import Path

from alexnet_keras.experiments.lab import Lab
from alexnet_keras.experiments.outcome import Estimate, Finding, Outcome, Verdict
from alexnet_keras.network.model import AlexNet
from alexnet_keras.network.summary import LayerSummary, summarize
from alexnet_keras.visualization.architecture import draw_architecture

# Neurons by layer (paper, figure 2), and parameters (section 1: "60 million").
NEURONS = {"conv1": 253_440, "conv2": 186_624, "conv3": 64_896, "conv4": 64_896, "conv5": 43_264}
NEURONS |= {"fc6": 4096, "fc7": 4096, "fc8": 1000}
PARAMETERS, NEURONS_IN_ALL = 60e6, 650_000
DEVICES = ("GPU 1", "GPU 2")


def run(lab: Lab) -> Outcome:
    """What the model of the recipe `source` says of itself; nothing is trained."""
    facts = summarize(AlexNet("source"))
    neurons, parameters = sum(layer.neurons for layer in facts), sum(layer.parameters for layer in facts)
    findings = [_exact(f"neurons of {layer.name}", f"{NEURONS[layer.name]:,}", layer.neurons) for layer in facts]
    findings[0] = _exact(
        findings[0].what,
        findings[0].claim,
        facts[0].neurons,
        note="55 x 55 x 96; the paper's number is no such product",
    )
    findings += [
        _about("neurons in all", "650,000", neurons, NEURONS_IN_ALL),
        _about("parameters", "60 million", parameters, PARAMETERS),
    ]
    crossing = {layer.name: sum(transfer.values for transfer in layer.transfers) for layer in facts if layer.transfers}
    told = ", ".join(f"{count:,} into {name}" for name, count in crossing.items())
    return Outcome(
        summary=(
            f"The network of the recipe source as it is built: {parameters:,} parameters, {neurons:,} neurons, two "
            f"towers. For one image so many numbers pass from one device to the other, both ways together: {told}."
        ),
        findings=tuple(findings),
        configuration=tuple(_line(layer) for layer in facts),
        facts={"crossing": crossing, "parameters": parameters, "neurons": neurons},
    )


def draw(outcome: Outcome, path: Path) -> None:
    """The figure."""
    draw_architecture(AlexNet("source"), path, "AlexNet, recipe source", DEVICES)


def _exact(what: str, claim: str, found: int, note: str = "") -> Finding:
    verdict: Verdict = "agrees" if f"{found:,}" == claim else "disagrees"
    return Finding(what, claim, "", Estimate((float(found),)), "count", verdict, note)


def _about(what: str, claim: str, found: int, claimed: float) -> Finding:
    verdict: Verdict = "agrees" if abs(found / claimed - 1) < 0.05 else "disagrees"
    return Finding(what, claim, "", Estimate((float(found),)), "count", verdict)


def _line(layer: LayerSummary) -> str:
    kernel = "x".join(map(str, layer.kernel))
    stride = f", stride {layer.stride}" if layer.stride else ""
    size = "x".join(map(str, layer.output))
    return f"{layer.name}: {layer.towers} x {size}, kernels {kernel}{stride}, reads {layer.reads}"
