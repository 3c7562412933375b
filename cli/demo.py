"""`alexnet demo`: all steps one after the other, on images that the project draws itself."""

import time
from typing import cast

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.progress import clock
from alexnet_keras.storage import places


@click.command()
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of training. [default: the recipe's]")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the images and of the training.")
@click.pass_context
def demo(ctx: click.Context, epochs: int | None, seed: int) -> None:
    """Do every step once, on built-in images: a few minutes.

    Prepare, train, evaluate with ten crops, draw, and put it all on one page.

    \b
    Example: alexnet demo
    """
    console.start_tensorflow()  # once for all steps: the first of them, preparing, would hide the GPU from the others
    from alexnet_keras.runs import new_run_path

    started = time.monotonic()
    data = places.data_root() / ("demo" if seed == 0 else f"demo-{seed}")

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
    run = new_run_path("quickstart", data.name).name
    evaluate_it, report_it = ("eval", run, "--ten-crop"), ("report", run)
    try:
        do("train", "--data", str(data), "--run", run, "--seed", str(seed), *length)
    except KeyboardInterrupt as stop:
        rest = " && ".join(places.command(*words) for words in (evaluate_it, report_it))
        raise KeyboardInterrupt(f"{stop}\nThe rest of the demo is then: {rest}" if str(stop) else "") from None
    do(*evaluate_it)
    for figure in ("kernels", "predictions", "neighbors"):
        do("visualize", figure, run)
    do(*report_it)

    from alexnet_keras.api import evaluate
    from alexnet_keras.runs import Run

    done = Run.load(run)
    error = evaluate(done, views="ten-crop").top1
    console.result(f"\nDone in {clock(time.monotonic() - started)}. Top-1 error with ten crops: {error.error:.2%}.")
    console.result(f"All of it is on one page: {done.path / 'report.html'}")
    console.result(f"Next, with images of your own: {places.command('prepare', 'PHOTOS')}", fit=False)
