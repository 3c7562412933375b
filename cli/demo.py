"""`alexnet demo`: everything in one go, on images that the project draws itself."""

from pathlib import Path

import click

from alexnet_keras.cli import console
from alexnet_keras.storage import places


@click.command()
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of training. [default: the recipe's]")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the images and of the training.")
@click.pass_context
def demo(ctx: click.Context, epochs: int | None, seed: int) -> None:
    """Prepare, train, evaluate and look, on the built-in images; a few minutes on two cores.

    \b
    Example: alexnet demo
    """
    from alexnet_keras.cli.evaluate import evaluate
    from alexnet_keras.cli.prepare import prepare
    from alexnet_keras.cli.report import report
    from alexnet_keras.cli.train import train
    from alexnet_keras.cli.visualize import kernels, neighbors, predictions
    from alexnet_keras.runs import new_run_path

    data = places.data_root() / ("demo" if seed == 0 else f"demo-{seed}")
    run = new_run_path("quickstart", data.name).name
    before = _files(data.parent) | _files(places.runs_root())

    def do(command: click.Command, *arguments: str) -> None:
        console.note(f"\n$ {places.command(*arguments)}")
        with command.make_context(command.name, list(arguments[_words(command) :]), parent=ctx.parent) as context:
            command.invoke(context)

    def _words(command: click.Command) -> int:
        return 2 if command in (kernels, neighbors, predictions) else 1

    training = ["train", "--data", str(data), "--run", run, "--seed", str(seed)]
    do(prepare, "prepare", "demo", "--out", str(data), "--seed", str(seed))
    do(train, *training, *(["--epochs", str(epochs)] if epochs else []))
    do(evaluate, "eval", run, "--ten-crop")
    do(kernels, "visualize", "kernels", run)
    do(predictions, "visualize", "predictions", run)
    do(neighbors, "visualize", "neighbors", run)
    do(report, "report", run)

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
