"""`alexnet info plan`."""

from typing import TYPE_CHECKING

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import check_source, chosen_data, data_names, json_option, recipe_names
from alexnet_keras.errors import UsageError
from alexnet_keras.training import PRECISIONS

if TYPE_CHECKING:
    from alexnet_keras.benchmarking.plan import Plan


UNITS = (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))


@click.command()
@click.argument("source", required=False)
@click.option(
    "--data",
    "name",
    metavar="DIR",
    shell_complete=data_names,
    help="Instead of SOURCE: a prepared dataset, by name under data/ or by path.",
)
@click.option("--imagenet", is_flag=True, help="ImageNet's counts, of which nothing has to be here.  [the default]")
@click.option(
    "--recipe",
    "names",
    multiple=True,
    metavar="NAME|FILE",
    shell_complete=recipe_names,
    help="Recipe to train by; repeatable.  [default: all of `alexnet recipes`]",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(PRECISIONS),
    help="Precision to train in; repeatable.  [default: float32 and mixed_bfloat16]",
)
@click.option("--repeats", type=click.IntRange(min=1), default=3, help="Timed repeats of each measurement.")
@json_option
def plan(
    source: str | None,
    name: str | None,
    imagenet: bool,
    names: tuple[str, ...],
    precisions: tuple[str, ...],
    repeats: int,
    as_json: bool,
) -> None:
    """Hours to prepare, disk, and days to train by each recipe on this machine, before anything is begun.

    SOURCE is what `alexnet prepare` takes; without it, ImageNet 2012: 1,281,167 training and 50,000 validation images.
    Some images are prepared and read, and some steps made by each recipe, for as long as two and a half minutes; what
    is left is estimated from the first recipe. Nothing is kept.

    Examples:

    \b
        alexnet info plan
        alexnet info plan photos --recipe quickstart --precision float32
    """
    if (source is not None) + (name is not None) + imagenet > 1:
        raise UsageError("SOURCE, --data and --imagenet exclude each other.")
    from alexnet_keras.backend import require_tensorflow
    from alexnet_keras.benchmarking import plan as planning
    from alexnet_keras.recipes.built_in import BUILT_IN
    from alexnet_keras.recipes.toml import load_recipe

    require_tensorflow("`alexnet info plan`")
    data = None if name is None else chosen_data(name)
    if source is not None:
        check_source(source)
    recipes = [load_recipe(each) for each in names or BUILT_IN]
    called = [recipe.name for recipe in recipes]
    if twice := [name for name in called if called.count(name) > 1]:
        raise UsageError(f"Two recipes are called {twice[0]!r}: call one of them otherwise, by the `name` in its file.")
    chosen = precisions or PRECISIONS[:2]
    found = planning.survey(recipes, chosen, source=source, data=data, repeats=repeats, reporter=console.REPORTER)
    made = planning.plan(found, recipes, chosen)
    if as_json:
        console.emit_json(made.to_dict())
    else:
        _show(made, planning.PAPER)


def _show(made: "Plan", paper: str) -> None:
    found, images = made.survey, made.survey.workload
    counts = ", ".join(f"{number:,} {split}" for split, number in images.images.items())
    console.result(f"{images.what}: {counts} images of {images.classes:,} classes\n")
    rows = []
    if made.prepare_hours and found.prepare:
        name, unit = _unit_of(made.prepare_hours.median * 3600)
        median, least, most = (_number(hours * 3600 / unit) for hours in made.prepare_hours)
        rate = found.prepare.figures["images/s"].median
        rows.append(["prepare", f"{median} {name} ({least} to {most})", f"{rate:,.0f} images/s; {found.prepare.what}"])
    kind = "is there" if images.prepared else "as JPEG"
    rows += [
        ["disk", _size(made.jpeg_bytes), f"{kind}: {images.jpeg_bytes / 1e3:,.0f} kB an image"],
        ["", _size(made.raw_bytes), "with --encoding raw, which needs no decoding"],
        ["cache", _size(made.cache_bytes), "memory or disk for `alexnet train --cache`"],
        ["input", f"{found.input.figures['images/s'].median:,.0f} images/s", found.input.what],
    ]
    console.table("Before training", ["", "takes", "measured or assumed"], rows, left=3)
    epochs = [each.days.median * 86_400 / each.epochs for each in made.training]
    of_epoch, epoch = _unit_of(max(epochs))
    of_all, whole = _unit_of(max(each.days.median * 86_400 for each in made.training))
    in_whole = 86_400 / whole
    rows = [
        [
            each.recipe + ("" if each.measured else " ~"),
            each.precision.removeprefix("mixed_"),
            *(f"{number:,}" for number in (each.epochs, each.batch_size, each.steps)),
            _number(each.step_seconds.median),
            _number(seconds / epoch),
            _number(in_whole * each.days.median),
            f"{_number(in_whole * each.days.least)}-{_number(in_whole * each.days.most)}",
            f"{each.input_share:.0%}",
            "-" if each.memory_bytes is None else f"{each.memory_bytes / 2**30:.1f}",
        ]
        for each, seconds in zip(made.training, epochs, strict=True)
    ]
    columns = ["recipe", "precision", "epochs", "batch", "steps an epoch", "s a step", f"{of_epoch} an epoch", of_all]
    columns += ["range", "input", "GiB"]
    console.table("Training", columns, rows, left=2, optional=[f"{of_epoch} an epoch", "epochs", "batch"])
    bound = sorted({f"{each.recipe} in {each.precision}" for each in made.training if each.bound == "input"})
    console.result(f"Bound by the input: {', '.join(bound) or 'none; input is its part of a step'}.")
    console.result(f"The paper: {paper}.")
    repeats = len(found.input.repeats)
    devices = {"the processor" if each.device == "CPU" else each.device for each in found.training.values()}
    console.result(
        f"Medians of {repeats} repeat{'' if repeats == 1 else 's'} with lowest to highest, measured in "
        f"{found.seconds:.0f} s on {found.machine.cores} cores of {found.machine.processor} (training on "
        f"{' and '.join(sorted(devices))}). Times have every epoch's validation in them, at a third of a training "
        "step, and neither a slow disk nor other work on the machine."
    )
    if not all(each.measured for each in made.training):
        console.result(
            "~ had no time to be measured: it is scaled from the first recipe by its operations, which leaves out what "
            "normalisation and the first layer take; --recipe measures it."
        )


def _unit_of(seconds: float) -> tuple[str, float]:
    """The unit in which a time is no small number: its name, and its seconds."""
    return next((unit for unit in UNITS if seconds >= unit[1] / 2), UNITS[-1])


def _size(count: int) -> str:
    """A size in the unit in which it is no small number: 51.92 GB."""
    name, unit = next(((name, unit) for name, unit in (("GB", 1e9), ("MB", 1e6)) if count >= unit / 10), ("kB", 1e3))
    return f"{count / unit:,.2f} {name}"


def _number(value: float) -> str:
    return f"{value:,.{3 if value < 0.1 else 2 if value < 10 else 1 if value < 100 else 0}f}"
