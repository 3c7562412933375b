"""`alexnet demo`: all steps one after the other, on images that the project draws itself."""

from pathlib import Path
from typing import cast

import click

from alexnet_keras.cli import console
from alexnet_keras.storage import places


@click.command()
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of training. [default: the recipe's]")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the images and of the training.")
@click.pass_context
def demo(ctx: click.Context, epochs: int | None, seed: int) -> None:
    """Prepare, train, evaluate and draw, on the built-in images; a few minutes on two cores.

    \b
    Example: alexnet demo
    """
    from alexnet_keras.runs import new_run_path

    data = places.data_root() / ("demo" if seed == 0 else f"demo-{seed}")
    run = new_run_path("quickstart", data.name).name
    before = _files(data.parent) | _files(places.runs_root())

    def do(*words: str) -> None:
        console.note(f"\n$ {places.command(*words)}")
        command, name, arguments = ctx.find_root().command, None, list(words)
        while isinstance(command, click.Group):
            name, inner, arguments = command.resolve_command(ctx, arguments)
            command = cast(click.Command, inner)
        with command.make_context(name, arguments, parent=ctx.parent) as context:
            command.invoke(context)

    length = ["--epochs", str(epochs)] if epochs else []
    do("prepare", "demo", "--out", str(data), "--seed", str(seed))
    do("train", "--data", str(data), "--run", run, "--seed", str(seed), *length)
    do("eval", run, "--ten-crop")
    for figure in ("kernels", "predictions", "neighbors"):
        do("visualize", figure, run)
    do("report", run)

    images = data.with_name(f"{data.name}-pictures")
    made = sorted((_files(data.parent) | _files(places.runs_root())) - before)
    drawn = [path for path in made if images in path.parents]
    console.result("\nFiles made:")
    for path in made:
        if path not in drawn:
            console.result(f"  {path}")
    if drawn:
        console.result(f"  {images}/: {len(drawn)} JPEG images")


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()} if folder.is_dir() else set()
