"""The commands that make a run again, from what it remembers of how it was made."""

from itertools import pairwise
from pathlib import Path
from typing import Any

from alexnet_keras.data.decode import Decoding
from alexnet_keras.data.encoding import JPEG_QUALITY, Encoding
from alexnet_keras.data.plan import SHARD_EXAMPLES
from alexnet_keras.data.sources.holdout import DEFAULT_HOLDOUT
from alexnet_keras.data.sources.open import default_name
from alexnet_keras.errors import UsageError
from alexnet_keras.places import MOST_BYTES, command, data_root, good_name, runs_root, shell
from alexnet_keras.recipe_files import load_recipe, with_overrides
from alexnet_keras.runs import Run

LINE = 80  # characters, beyond which a command goes on in the next line

# What a preparation remembers, the option it came from, and the value that needs no option.
PREPARE_OPTIONS = (
    ("seed", "--seed", 0),
    ("holdout", "--holdout", DEFAULT_HOLDOUT),
    ("limit_per_class", "--limit-per-class", None),
    ("class_order", "--class-order", "wnid"),
    ("exif", "--exif", False),
    ("max_pixels", "--max-pixels", Decoding().max_pixels),
    ("encoding", "--encoding", Encoding().kind),
    ("jpeg_quality", "--quality", JPEG_QUALITY),
    ("shard_examples", "--shard-examples", SHARD_EXAMPLES),
)


def prepare_command(data: dict[str, Any]) -> str | None:
    """`alexnet prepare` with every option that was not the default; None where the run does not remember them.

    Args:
        data: what run.json keeps of the data: `PreparedDataset.facts`.
    """
    if "options" not in data or not data.get("source"):
        return None
    source, options, path = data["source"], data["options"], Path(data["path"])
    words = ["alexnet", "prepare", source]
    if path != data_root() / default_name(source):
        words += ["--out", str(path)]
    if options["name"] != path.name:
        words += ["--name", options["name"]]
    for key, option, default in PREPARE_OPTIONS:
        value = options.get(key, default)
        if value is not None and value != default:
            words += [option] if value is True else [option, str(value)]
    return _shell(words)


def make_command(run: Run, name: str) -> str:
    """The command that makes the run, for a new one of this name: `alexnet train`, or `alexnet import`."""
    return import_command(run, name) if "imported" in run.facts else train_command(run, name)


def import_command(run: Run, name: str) -> str:
    """`alexnet import` of the file that the run's weights come from, wherever it is now."""
    facts, imported = run.facts, run.facts["imported"]
    words = ["alexnet", "import", imported["file"], "--from", imported["from"], "--run", name]
    words += ["--recipe", facts["recipe"] if _is_named(run, facts["recipe"], []) else str(run.path / "recipe.toml")]
    for option, value in (("--mean", imported["mean"]), ("--labels", imported["labels"])):
        words += [option, value] if value else []
    return _shell(words + (["--data", str(run.data_path)] if facts["data"]["path"] else []))


def train_command(run: Run, name: str) -> str:
    """`alexnet train` with everything that made the run what it is, for a new run of this name.

    A recipe that its name and the run's overrides do not give any more (it came from a file) is read from the run.
    """
    facts = run.facts
    overrides = facts.get("overrides", [])
    named = _is_named(run, facts.get("recipe", ""), overrides)
    words = ["alexnet", "train", "--data", str(run.data_path), "--run", name]
    words += ["--recipe", facts["recipe"] if named else str(run.path / "recipe.toml")]
    for override in overrides if named else ():
        words += ["--set", override]
    for key, option in (("seed", "--seed"), ("precision", "--precision"), ("strategy", "--strategy")):
        if facts.get(key) is not None:
            words += [option, str(facts[key])]
    if facts.get("gpus") is not None:
        words += ["--gpus", str(facts["gpus"])]
    words += ["--deterministic"] if facts.get("deterministic") else []
    words += ["--init-from", facts["init_from"]] if facts.get("init_from") else []
    return _shell(words)


def look_commands(name: str, split: str) -> list[str]:
    """The commands that evaluate a run under saved_models/ on a split and draw what this package draws of one."""
    of = [] if split == "val" else ["--split", split]
    drawn = ("curves", "kernels", "towers", "predictions", "neighbors", "confusion")
    words = [["eval", name, "--ten-crop", *of], *(["visualize", what, name] for what in drawn), ["report", name, *of]]
    return [command(*arguments) for arguments in words]


def another_name(run: Run) -> str:
    """A name for the repetition, which may lie beside the run."""
    number, base = 1, good_name(run.name, MOST_BYTES - len("-again-99"))
    name = f"{base}-again"
    while (runs_root() / name).exists():
        number += 1
        name = f"{base}-again-{number}"
    return name


def _is_named(run: Run, recipe: str, overrides: list[str]) -> bool:
    """Whether the name of a recipe and the overrides give the very recipe of the run."""
    try:
        return with_overrides(load_recipe(recipe), overrides) == run.recipe
    except UsageError:
        return False


def _shell(words: list[str]) -> str:
    """The words quoted for a shell; of a long command each option in a line of its own."""
    line = shell(*words)
    if len(line) <= LINE:
        return line
    breaks = [index for index, word in enumerate(words) if word.startswith("--")] + [len(words)]
    pieces = [words[: breaks[0]], *(words[start:stop] for start, stop in pairwise(breaks))]
    return " \\\n    ".join(shell(*piece) for piece in pieces)
