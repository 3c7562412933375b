"""`alexnet info devices`."""

from typing import TYPE_CHECKING

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import json_option, recipe_option, refuse_given
from alexnet_keras.machine import this_machine, usable_processors

if TYPE_CHECKING:
    from alexnet_keras.recipes.schema import Recipe
    from alexnet_keras.training.devices import Placement

OF_TOWERS = ("classes",), "is for the step of two towers: --gpus 2"  # an option, and what it is for
OF_SEVERAL = ("batch_size",), "is for what several devices share: --gpus 2 or more"
SHOWN = (0, 1, 2, 4, 8)  # --gpus N whose placement the overview shows


@click.command()
@click.option("--gpus", type=click.IntRange(min=0), help="Show what `alexnet train --gpus N` does here.")
@click.option("--strategy", type=click.Choice(["one", "towers", "mirrored"]), help="As for `alexnet train`.")
@recipe_option
@click.option("--classes", type=click.IntRange(min=1), default=1000, help="Number of classes.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images a step. [default: the recipe's]")
@json_option
def devices(
    gpus: int | None, strategy: str | None, recipe: str, classes: int, batch_size: int | None, as_json: bool
) -> None:
    """The devices of this machine, where `--gpus N` would put the network, and what passes between two towers.

    For two towers a step is run, and every tensor that passes from one device to the other in the graph that
    TensorFlow really executes is listed, next to what the paper's figure 2 allows.

    Examples:

    \b
        alexnet info devices
        alexnet info devices --gpus 2
    """
    console.start_tensorflow(gpus=None)
    from alexnet_keras.recipes.toml import load_recipe
    from alexnet_keras.training.devices import check_batch, choose_placement, gpus_present, plan_placement

    loaded = load_recipe(recipe)
    towers, present = loaded.network.towers, gpus_present()
    facts = {"processor": this_machine().processor, "cpus": usable_processors(), **_tensorflow()}
    if gpus is None and strategy is None:
        refuse_given(*OF_TOWERS)
        refuse_given(*OF_SEVERAL)
        plans = {number: plan_placement(None, number, towers=towers, present=present) for number in SHOWN}
        facts["placements"] = {
            number: {"strategy": plan.kind, "devices": list(plan.devices), "note": plan.warning}
            for number, plan in plans.items()
        }
        return _show_machine(facts, as_json)
    images = batch_size or loaded.training.batch_size
    planned = plan_placement(strategy, gpus, towers=towers, present=present)
    if planned.kind == "mirrored":
        check_batch(images, len(planned.devices))
    placement = choose_placement(strategy, gpus, towers=towers, strict=False)
    if placement.warning:
        console.warn(placement.warning)
    if placement.kind != "towers":
        refuse_given(*OF_TOWERS)
    if placement.kind == "one":
        refuse_given(*OF_SEVERAL)
    facts |= {"strategy": placement.kind, "devices": list(placement.devices), "batch_size": images}
    if placement.kind == "towers":
        facts |= _towers(placement, loaded, classes, images)
    if as_json:
        console.emit_json(facts)
        return None
    return _show_placement(facts)


def _tensorflow() -> dict:
    """The GPUs that TensorFlow sees, and its version."""
    import tensorflow as tf

    details = tf.config.experimental.get_device_details
    gpus = [details(gpu).get("device_name", gpu.name) for gpu in tf.config.list_physical_devices("GPU")]
    return {"gpus": gpus, "tensorflow": tf.__version__}


def _towers(placement: "Placement", recipe: "Recipe", classes: int, batch_size: int) -> dict:
    """The tensors that pass between the towers, and variables on the wrong device."""
    from dataclasses import asdict

    from alexnet_keras.network.model import AlexNet
    from alexnet_keras.training.diagnostics import misplaced, transfers
    from alexnet_keras.training.optimizer import new_optimizer
    from alexnet_keras.training.step import TrainingStep

    console.note(f"Running one step of {batch_size} images on {' and '.join(placement.devices)}.")
    with placement.scope():
        model = AlexNet(recipe, classes=classes, seed=0)
        optimizer = new_optimizer(recipe, model)
    step = TrainingStep(model, optimizer, placement.strategy, seed=0, batch_size=batch_size)
    found = transfers(step, placement)
    return {
        "crossings": [{**asdict(each), "figure_2": each.figure_2} for each in found],
        "misplaced": misplaced(step, placement),
        "variables": 2 * len(model.trainable_variables),
    }


def _show_machine(facts: dict, as_json: bool) -> None:
    if as_json:
        return console.emit_json(facts)
    gpus = ", ".join(facts["gpus"]) or "none that TensorFlow sees"
    console.result(f"{facts['cpus']} cores of {facts['processor']}; GPUs: {gpus}; TensorFlow {facts['tensorflow']}\n")
    rows = [
        [f"--gpus {number}", plan["strategy"], ", ".join(plan["devices"]), plan["note"]]
        for number, plan in facts["placements"].items()
    ]
    console.table("Where alexnet train would run", ["option", "strategy", "devices", "note"], rows, left=4)
    return console.result("What passes between two towers: alexnet info devices --gpus 2")


def _show_placement(facts: dict) -> None:
    console.result(f"strategy {facts['strategy']} on {', '.join(facts['devices'])}")
    if "crossings" not in facts:
        return
    rows = [
        [
            each["layer"],
            "backward" if each["backward"] else "forward",
            f"{each['source']} -> {each['target']}",
            "×".join(map(str, each["shape"])),
            each["figure_2"] or ("-" if each["layer"] == "scalars" else "NOT IN FIGURE 2"),
            f"{each['bytes'] / 1e6:,.2f}" if each["shape"] else f"{each['bytes']} bytes",
        ]
        for each in facts["crossings"]
    ]
    columns = ["into", "pass", "towers", "tensor", "figure 2", "MB a step"]
    console.table(f"What passes between the towers in a step of {facts['batch_size']} images", columns, rows, left=5)
    total = sum(each["bytes"] for each in facts["crossings"])
    console.result(f"{total / 1e6:,.1f} MB a step in all. Backward is the gradient of what passed forward.")
    if wrong := facts["misplaced"]:
        console.result(f"On the wrong device: {'; '.join(wrong)}")
    else:
        console.result(f"All {facts['variables']} weights and velocities are on their tower's device.")
