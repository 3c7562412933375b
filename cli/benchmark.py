"""`alexnet benchmark`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import (
    FiniteRange,
    OutPath,
    check_source,
    data_names,
    given_options,
    json_option,
    recipe_option,
)
from alexnet_keras.errors import AlexNetError, UsageError
from alexnet_keras.storage.documents import write_json
from alexnet_keras.training import PRECISIONS

if TYPE_CHECKING:
    from alexnet_keras.benchmarking.result import Result

MEASUREMENTS = {
    "train": "steps of training on random images in memory",
    "infer": "forward passes on random images in memory",
    "input": "reading and cropping a prepared dataset, without training",
    "prepare": "preparing images into a temporary directory",
}
ALSO = {  # measured with input, on generated images
    "input-raw": "the same from raw records, on generated images",
    "input-cached": "the same from decoded images in memory, generated as well",
}
# What each option is for; given for none of what is measured, it would do nothing.
USED_BY = {
    "recipe": ("train", "infer", "input"),
    "classes": ("train", "infer"),
    "batch_size": ("train", "infer", "input"),
    "precision": ("train", "infer"),
    "data": ("input",),
    "source": ("prepare",),
    "device_rate": ("input",),
}


@click.command()
@click.argument("what", type=click.Choice([*MEASUREMENTS, "all"]), default="all")
@recipe_option
@click.option("--classes", type=click.IntRange(min=1), default=1000, help="Number of classes.")
@click.option("--batch-size", type=click.IntRange(min=1), default=128, help="Images a step.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="float32",
    help="Precision of the network and of the matrix products.",
)
@click.option("--repeats", type=click.IntRange(min=1), default=5, help="Timed repeats, after a warm-up.")
@click.option(
    "--data",
    metavar="DIR",
    shell_complete=data_names,
    help="Prepared dataset for input, by name under data/ or by path. [default: the latest; without one, generated "
    "images]",
)
@click.option(
    "--source",
    metavar="SOURCE",
    help="Images for prepare, as `alexnet prepare` takes them; of a large source some. [default: generated JPEG "
    "images]",
)
@click.option(
    "--device-rate",
    type=FiniteRange(min=0, min_open=True),
    metavar="IMAGES/S",
    help="What a device trains: the cores that input needs to keep up with it. [default: what train measures]",
)
@click.option(
    "--compare",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="An earlier result, from --json or --out, to compare with.",
)
@click.option("--out", type=OutPath(dir_okay=False), metavar="FILE", help="Also write the JSON.")
@json_option
def benchmark(
    what: str,
    recipe: str,
    classes: int,
    batch_size: int,
    precision: str,
    repeats: int,
    data: str | None,
    source: str | None,
    device_rate: float | None,
    compare: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure speed next to what this machine can do.

    The result is Markdown to paste into a report.

    WHAT is one of

    \b
        train     steps of training on random images in memory
        infer     forward passes on random images in memory
        input     reading and cropping a prepared dataset, without training;
                  raw records and decoded images as well
        prepare   preparing images into a temporary directory
        all       these four, the default: three minutes or so

    Every measurement runs in a process of its own: images a second, peak memory, for input also images a second of one
    core, and for train and infer the arithmetic done next to this machine's own matrix products, and each kind of
    layer's share of the step. Nothing is trained, and nothing is kept but what --out writes.

    Examples:

    \b
        alexnet benchmark
        alexnet benchmark train --precision mixed_bfloat16 --out before.json
        alexnet benchmark train --precision mixed_bfloat16 --compare before.json
        alexnet benchmark input --device-rate 27000
    """
    from alexnet_keras.backend import require_tensorflow
    from alexnet_keras.benchmarking.result import FORMAT, Request, Result, read_result
    from alexnet_keras.benchmarking.worker import measure
    from alexnet_keras.machine import this_machine
    from alexnet_keras.recipes.toml import load_recipe, to_dict

    require_tensorflow("`alexnet benchmark`")
    chosen = list(MEASUREMENTS) if what == "all" else [what]
    _check_used(chosen)
    then = read_result(compare) if compare else None
    if then and not set(chosen) & set(then.measurements):
        raise UsageError(
            f"{compare} has none of what is measured now: it has {', '.join(then.measurements) or 'no measurement'}."
        )
    if "input" in chosen:
        data = _data(data)
    if source is not None:
        check_source(source)
    request = Request(to_dict(load_recipe(recipe)), classes, batch_size, precision, repeats, data, source, device_rate)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    measurements, failure = {}, None
    try:
        for name in [each for what in chosen for each in (what, *(ALSO if what == "input" else ()))]:
            console.note(f"Measuring {name}: {(MEASUREMENTS | ALSO)[name]}.")
            with console.progress(name, repeats, "repeats") as advance:
                measurements[name] = measure(name, request, advance)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Interrupted. Nothing was kept of what was measured.") from None
    except (AlexNetError, OSError) as error:
        if not measurements:
            raise
        failure = error  # raised after what was measured is shown and written
    result = Result(FORMAT, started, this_machine(), request, measurements)
    _show(result, then, as_json)
    if out:
        write_json(out, result.to_dict())
        console.note(f"Wrote {out}")
    if failure:
        raise failure


def _check_used(chosen: list[str]) -> None:
    """Refuses options that have to do with nothing that is measured."""
    for option in given_options():
        users = USED_BY.get(str(option.name), chosen)
        if not set(users) & set(chosen):
            raise UsageError(f"{option.opts[-1]} is for {' and '.join(users)}; {chosen[0]} has no use for it.")


def _data(name: str | None) -> str | None:
    """The path of the dataset to read; None where none is named and there is none."""
    from alexnet_keras.cli.options import chosen_data
    from alexnet_keras.data.dataset import latest_prepared

    if name is None:
        try:
            latest_prepared()
        except UsageError:
            console.note("There is no prepared dataset: input is measured on generated images.")
            return None
    return str(chosen_data(name).path)


def _show(result: "Result", then: "Result | None", as_json: bool) -> None:
    from alexnet_keras.benchmarking.result import changes, differences
    from alexnet_keras.cli.benchmark_tables import print_result

    for sentence in differences(then, result) if then else []:
        console.warn(sentence)
    if not as_json:
        print_result(result, then)
        return
    printed = result.to_dict()
    if then:
        printed["compared"] = [
            {"measurement": name, "figure": figure, "then": change.then and change.then.median}
            | {"now": change.now.median, "ratio": change.ratio}
            for (name, figure), change in changes(then, result).items()
        ]
    console.emit_json(printed)
