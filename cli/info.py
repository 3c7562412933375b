"""`alexnet info`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.info_devices import devices
from alexnet_keras.cli.info_plan import plan
from alexnet_keras.cli.options import FigurePath, chosen_data, data_names, json_option, recipe_option, refuse_given
from alexnet_keras.errors import UsageError

if TYPE_CHECKING:
    from alexnet_keras.data.dataset import PreparedDataset

CLASSES_SHOWN = 30
REJECTS_SHOWN = 20
SHEET = "contact-sheet.png"
IN_DATASET = f"<dataset>/{SHEET}"  # what --sheet stands for without a value


@click.group(invoke_without_command=True, no_args_is_help=True)
@click.option(
    "--markdown",
    is_flag=True,
    help="Versions, machine, settings, latest dataset and run, to paste into a bug report; no user names, paths or "
    "secrets.",
)
@click.pass_context
def info(ctx: click.Context, markdown: bool) -> None:
    """Describe a model, a dataset, devices, or what a run will take.

    Examples:

    \b
        alexnet info model
        alexnet info data photos --sheet
        alexnet info devices --gpus 2
        alexnet info plan
        alexnet info --markdown
    """
    if not markdown:
        return
    if ctx.invoked_subcommand:
        raise UsageError(f"--markdown goes without a command: leave {ctx.invoked_subcommand} out.")
    from alexnet_keras.reports.bug_report import facts

    console.table("", ["alexnet-keras", ""], list(facts().items()), left=2, form="markdown")


info.add_command(devices)
info.add_command(plan)


@info.command()
@recipe_option
@click.option("--classes", type=click.IntRange(min=1), default=1000, help="Number of classes.")
@json_option
def model(recipe: str, classes: int, as_json: bool) -> None:
    """Layers with shapes, parameters and multiply-adds, tower by tower, next to the paper's numbers.

    \b
    Example: alexnet info model --recipe quickstart --classes 10
    """
    console.start_tensorflow()
    from alexnet_keras.layers.towers import tower_letter
    from alexnet_keras.network.model import AlexNet
    from alexnet_keras.network.summary import PAPER_NEURONS, parameters_of, summarize

    network = AlexNet(recipe, classes=classes)
    layers = summarize(network)
    parameters, multiply_adds = parameters_of(network), sum(layer.multiply_adds for layer in layers)
    rows: list[dict[str, Any]] = [
        {
            "layer": layer.name,
            "tower": tower_letter(tower) if layer.towers > 1 else "-",
            "reads": "both" if layer.reads == "all" else layer.reads,
            "output": layer.output,
            "parameters": layer.parameters // layer.towers,
            "multiply_adds": layer.multiply_adds // layer.towers,
            "neurons": layer.neurons // layer.towers,
        }
        for layer in layers
        for tower in range(layer.towers)
    ]
    if as_json:
        console.emit_json({"layers": rows, "parameters": parameters, "multiply_adds": multiply_adds})
        return
    neurons, cells = {layer.name: f"{layer.neurons:,}" for layer in layers}, []
    for row in rows:
        name = row["layer"] if row["tower"] in ("a", "-") else ""
        sizes = ["×".join(map(str, row["output"])), f"{row['parameters']:,}", f"{row['multiply_adds']:,}"]
        paper = f"{PAPER_NEURONS[name]:,}" if name in PAPER_NEURONS else ""
        cells.append([name, row["tower"], row["reads"], *sizes, neurons.get(name, ""), paper])
    columns = ["layer", "tower", "reads", "output", "parameters", "multiply-adds", "neurons (all towers)", "paper"]
    title, optional = f"AlexNet, recipe {recipe}, {classes} classes", ["multiply-adds", "paper", "neurons (all towers)"]
    console.table(title, columns, cells, left=4, optional=optional)
    console.result(f"{parameters:,} parameters (the paper: 60 million), {multiply_adds:,} multiply-adds an image.")
    console.result(
        "The paper's 253,440 neurons of conv1 do not follow from its 55x55x96 = 290,400; its other counts do."
    )


@info.command()
@click.argument("name", metavar="[DATA]", required=False, shell_complete=data_names)
@click.option(
    "--sheet",
    type=FigurePath(dir_okay=False),
    is_flag=False,
    flag_value=IN_DATASET,
    metavar="[FILE]",
    help=f"Draw some of the images with their classes.  [default file: {SHEET} in the dataset]",
)
@click.option("--split", default="train", help="The split to draw.")
@click.option(
    "--all",
    "show_all",
    is_flag=True,
    help="Every class, rejected and repeated image that the manifest names, not the first few.",
)
@json_option
def data(name: str | None, sheet: Path | None, split: str, show_all: bool, as_json: bool) -> None:
    """Images of each split and class, those that were rejected and why, and the statistics of a prepared dataset.

    Examples:

    \b
        alexnet info data photos
        alexnet info data photos --sheet sheet.png --split val
    """
    if sheet is None:
        refuse_given(("split",), "goes with --sheet, which draws that split")
    found = chosen_data(name)
    if sheet:
        found.examples(split)  # says which splits there are
    path = found.path / SHEET if str(sheet) == IN_DATASET else sheet
    if path:
        console.start_tensorflow()
        from alexnet_keras.visualization.images import draw_contact_sheet

        draw_contact_sheet(found, path, split)
    if as_json:
        console.emit_json({**_facts(found), **({"sheet": str(path)} if path else {})})
        return
    _show(found, show_all)
    if path:
        console.result(f"Wrote {path}")


def _facts(found: "PreparedDataset") -> dict:
    statistics = found.statistics
    summary = found.summary()
    splits = {split: {**numbers, "shards": len(found.splits[split])} for split, numbers in summary["splits"].items()}
    return {
        **summary,
        "options": found.manifest["options"],
        "bytes": sum(shard["bytes"] for split in found.manifest["splits"].values() for shard in split["shards"]),
        "splits": splits,
        "statistics": {
            "rgb_mean": statistics.rgb_mean.tolist(),
            "covariance": statistics.covariance.tolist(),
            "standard_deviations": statistics.standard_deviations.tolist(),
            "eigenvectors": statistics.eigenvectors.tolist(),
        },
    }


def _show(found: "PreparedDataset", show_all: bool) -> None:
    facts, options = _facts(found), found.manifest["options"]
    size = f"{facts['bytes'] / 1e9:,.2f} GB" if facts["bytes"] >= 1e8 else f"{facts['bytes'] / 1e6:.1f} MB"
    quality = f" of quality {options['jpeg_quality']}" if options["jpeg_quality"] else ""
    console.result(
        f"{found.path}, from {found.source}: {len(found.classes):,} classes, {options['encoding']}{quality}, "
        f"{size}, seed {options['seed']}, fingerprint {found.fingerprint[:12]}"
    )
    rows = []
    for split, numbers in facts["splits"].items():
        counts, rejected = numbers["class_counts"], sum(bad["split"] == split for bad in found.rejected)
        rows.append(
            [
                split,
                *(f"{number:,}" for number in (numbers["examples"], numbers["shards"])),
                *(f"{number:,}" for number in (min(counts), max(counts), rejected)),
            ]
        )
    console.table("Splits", ["split", "images", "shards", "fewest a class", "most a class", "rejected"], rows)
    labels = range(len(found.classes) if show_all else min(len(found.classes), CLASSES_SHOWN))
    rows = [
        [label, found.classes[label], *([found.words[label]] if found.words != found.classes else [])]
        + [f"{numbers['class_counts'][label]:,}" for numbers in facts["splits"].values()]
        for label in labels
    ]
    names = ["label", "class", *(["in words"] if found.words != found.classes else [])]
    console.table("Classes", [*names, *found.splits], rows, left=len(names))
    _more(len(found.classes) - len(labels), "classes")
    if found.rejected:
        shown = found.rejected if show_all else found.rejected[:REJECTS_SHOWN]
        rows = [[bad["split"], bad["filename"], bad["reason"]] for bad in shown]
        console.table("Rejected", ["split", "image", "reason"], rows, left=3)
        _more(len(found.rejected) - len(shown), "rejected images")
    for split, again in found.repeated.items():
        images = again["images"] if show_all else again["images"][:REJECTS_SHOWN]
        rows = [[image["filename"], image["in_train"]] for image in images]
        console.table(f"{split}: in train as well", ["image", "in train"], rows, left=2)
        named = "--all" if len(images) < len(again["images"]) else "the manifest does not keep their names"
        _more(again["count"] - len(images), "images", named)
    statistics = found.statistics
    rows = [
        [f"{deviation:.2f}", *(f"{value:+.4f}" for value in vector)]
        for deviation, vector in zip(statistics.standard_deviations, statistics.eigenvectors.T, strict=True)
    ]
    mean = ", ".join(f"{value:.2f}" for value in statistics.rgb_mean)
    title = f"Colour of the training images (0..255): mean {mean}; principal components"
    console.table(title, ["standard deviation", "red", "green", "blue"], rows, left=0)


def _more(number: int, what: str, where: str = "--all") -> None:
    if number > 0:
        console.result(f"and {number:,} more {what}: {where}\n")
