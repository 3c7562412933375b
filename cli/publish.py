"""`alexnet publish`, and `alexnet import` of what it published."""

from pathlib import Path

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import chosen_run, json_option, run_argument
from alexnet_keras.storage.hub import is_address, parts_of, written
from alexnet_keras.storage.places import check_name, check_new_path, command, good_name, runs_root


@click.command()
@run_argument
@click.option("--to", required=True, metavar="hf://USER/NAME|DIR", help="Repository on the hub, or directory to make.")
@click.option("--private", is_flag=True, help="Make the repository private.")
@click.option("--model", "which", type=click.Choice(["best", "last"]), default="best", help="The model of the run.")
@json_option
def publish(run: str | None, to: str, private: bool, which: str, as_json: bool) -> None:
    """Share a run on Hugging Face's hub.

    Keras opens it there as a model, and this program as a run. Sent are the model, the recipe, the classes, the errors
    and settings in the model card; no image, file name, prediction, path, user or host name. With a directory in place
    of the address you can look at it first. The hub knows you by your token: `hf auth login`, or the environment
    variable HF_TOKEN.

    Examples:

    \b
        alexnet publish my-run --to published/my-run
        alexnet publish my-run --to hf://USER/my-run --private
        alexnet import hf://USER/my-run
    """
    run = chosen_run(run)
    if private and not is_address(to):
        raise click.UsageError("--private is for the hub: --to hf://USER/NAME.")
    place = to if is_address(to) else check_new_path(Path(to), "--to")
    run.path_of_model(which)
    console.start_tensorflow()
    from alexnet_keras.api import publish

    where = publish(run, place, private=private, which=which)
    if as_json:
        console.emit_json({"run": str(run.path), "model": which, "to": to, "published": where})
        return
    console.result(f"Published {run.name}: {where}")
    console.result(f"Its model card has `license: unknown`: fill it in. Next: {command('import', to)}")


def import_published_run(given: str, name: str | None, data: str | None, as_json: bool) -> None:
    """Make a run of a published one, as `alexnet import` does."""
    from alexnet_keras.data.dataset import open_prepared
    from alexnet_keras.runs import check_new

    place: str | Path = given if is_address(given) else Path(given)
    stem = parts_of(place)[0].partition("/")[2] if is_address(given) else Path(given).resolve().name
    folder = runs_root() / (good_name(stem) if name is None else check_name(name, "--run"))
    check_new(folder)
    dataset = open_prepared(data) if data else None
    console.start_tensorflow()
    from alexnet_keras.interop.sharing import import_published
    from alexnet_keras.reports.model_card import write_model_card

    run = import_published(folder, place, data=dataset)
    words = ["alexnet", "import", written(place), "--run", run.name]
    run.update({"command": words + (["--data", str(dataset.path)] if dataset else [])})
    write_model_card(run)
    facts = run.facts
    if as_json:
        console.emit_json({"run": str(run.path), "recipe": facts["recipe"], **facts["imported"]})
        return
    console.result(f"Imported {run.path}: recipe {facts['recipe']}, {len(facts['classes'])} classes.")
    console.result(f"Next: {command('predict', 'IMAGE', '--run', run.called)}", fit=False)
