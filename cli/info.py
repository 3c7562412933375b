"""`alexnet info`."""

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import json_option


@click.group()
def info() -> None:
    """Facts about a model.

    \b
    Example: alexnet info model
    """


@info.command()
@click.option("--recipe", default="source", metavar="NAME|FILE", help="source, paper, quickstart or a TOML file.")
@click.option("--classes", type=click.IntRange(min=1), default=1000, help="Number of classes.")
@json_option
def model(recipe, classes, as_json) -> None:
    """Layers with shapes, parameters and multiply-adds, tower by tower, beside the paper's numbers.

    \b
    Example: alexnet info model --recipe quickstart --classes 10
    """
    console.start_tensorflow()
    from dataclasses import asdict

    from alexnet_keras.model import AlexNet
    from alexnet_keras.model_summary import PAPER_NEURONS, summarize

    network = AlexNet(recipe, classes=classes)
    rows = summarize(network)
    parameters, multiply_adds = network.count_params(), sum(row.multiply_adds for row in rows)
    if as_json:
        layers = [{**asdict(row), "neurons": row.neurons} for row in rows]
        console.emit_json({"layers": layers, "parameters": parameters, "multiply_adds": multiply_adds})
        return
    neurons = {
        name: sum(row.neurons for row in rows if row.layer == name) for name in dict.fromkeys(r.layer for r in rows)
    }
    shown, cells = set(), []
    for row in rows:
        first = row.layer not in shown
        shown.add(row.layer)
        cells.append(
            [
                row.layer if first else "",
                row.tower,
                row.reads,
                "×".join(str(side) for side in row.output),
                f"{row.parameters:,}",
                f"{row.multiply_adds:,}",
                f"{neurons[row.layer]:,}" if first else "",
                f"{PAPER_NEURONS[row.layer]:,}" if first and row.layer in PAPER_NEURONS else "",
            ]
        )
    columns = [
        "layer",
        "tower",
        "reads",
        "output",
        "parameters",
        "multiply-adds",
        "neurons, all towers",
        "paper",
    ]
    console.table(f"AlexNet, recipe {recipe}, {classes} classes", columns, cells, left=4)
    console.result(f"{parameters:,} parameters (the paper: 60 million), {multiply_adds:,} multiply-adds an image.")
    console.result(
        "The paper's 253,440 neurons of conv1 do not follow from its 55x55x96 = 290,400; its other counts do."
    )
