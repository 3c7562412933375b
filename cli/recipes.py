"""`alexnet recipes`."""

import re
from pathlib import Path

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import OutPath, json_option, recipe_names
from alexnet_keras.errors import UsageError
from alexnet_keras.storage.files import write_by_rename
from alexnet_keras.storage.places import command

FIRST_CLAUSE = re.compile(r"[:.;] | \(ImageNet|\.$")  # where the first clause of a summary ends


@click.command()
@click.argument("names", nargs=-1, metavar="[RECIPE] [OTHER]", shell_complete=recipe_names)
@click.option("--write", type=OutPath(dir_okay=False), help="Write RECIPE as a TOML file to edit.")
@json_option
def recipes(names: tuple[str, ...], write: Path | None, as_json: bool) -> None:
    """List the recipes; show one; compare two where they differ.

    Examples:

    \b
        alexnet recipes
        alexnet recipes source
        alexnet recipes source paper
        alexnet recipes source --write my-recipe.toml
    """
    from alexnet_keras.recipes.built_in import BUILT_IN
    from alexnet_keras.recipes.edits import differences
    from alexnet_keras.recipes.toml import load_recipe, to_dict, to_toml

    if len(names) > 2:
        raise UsageError(f"Name one recipe to show or two to compare, not {len(names)}.")
    chosen = [load_recipe(name) for name in names]
    if write:
        if len(chosen) != 1:
            raise UsageError("--write takes one recipe: alexnet recipes source --write my-recipe.toml")
        if str(write) in BUILT_IN:
            raise UsageError(f"{write} is the name of a built-in recipe, which would be taken instead: add .toml.")
        if write.exists():
            raise UsageError(f"{write} exists; choose another name.")
        with write_by_rename(write) as file:
            file.write_text(to_toml(chosen[0]), encoding="utf-8")
        if as_json:
            console.emit_json({"recipe": chosen[0].name, "path": str(write)})
            return
        console.result(f"Wrote {write}")
        console.result(f"Next: {command('train', '--recipe', write)}", fit=False)
        return
    if as_json:
        console.emit_json([to_dict(recipe) for recipe in chosen or BUILT_IN.values()])
        return
    if not chosen:
        rows = [
            [recipe.name, FIRST_CLAUSE.split(recipe.summary)[0], recipe.training.epochs, recipe.training.batch_size]
            for recipe in BUILT_IN.values()
        ]
        columns = ["recipe", "what it is", "epochs", "batch"]
        console.table("Recipes", columns, rows, left=2, optional=["batch"], one_line=True)
        console.result("One with every field: alexnet recipes source")
        console.result("Two, where they differ: alexnet recipes source paper")
        return
    if len(chosen) == 1:
        console.result(chosen[0].summary)
    heads = [recipe.name for recipe in chosen]
    if len(set(heads)) < len(heads):
        heads = list(names)
    title = " and ".join(heads) + (": where they differ" if len(chosen) == 2 else "")
    columns = ["field", *heads, "where it comes from"]
    console.table(title, columns, differences(*chosen), left=4, optional=columns[-1:])
