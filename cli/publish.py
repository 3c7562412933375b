"""`alexnet publish`."""

from pathlib import Path

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import chosen_run, json_option, run_argument, which_option
from alexnet_keras.errors import UsageError
from alexnet_keras.storage.hub import is_address
from alexnet_keras.storage.places import check_new_path, command


@click.command()
@run_argument
@click.option("--to", required=True, metavar="hf://USER/NAME|DIR", help="Repository on the hub, or directory to make.")
@click.option("--private", is_flag=True, help="Make the repository private.")
@which_option
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
        raise UsageError("--private is for the hub: --to hf://USER/NAME.")
    place = to if is_address(to) else check_new_path(Path(to), "--to")
    run.path_of_model(which)
    console.start_tensorflow()
    from alexnet_keras.api import publish

    where = publish(run, place, private=private, which=which)
    if as_json:
        console.emit_json({"run": str(run.path), "model": which, "to": to, "published": where})
        return
    console.result(f"Published {run.name}: {where}")
    console.result("Its model card has `license: unknown`: fill it in.")
    console.result(f"Next: {command('import', to)}", fit=False)
