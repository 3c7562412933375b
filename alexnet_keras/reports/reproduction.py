"""The commands that make a run again, from preparation to report."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from alexnet_keras.data.image_formats import Decoding
from alexnet_keras.data.images import JPEG_QUALITY, Encoding
from alexnet_keras.data.shards import SHARD_EXAMPLES
from alexnet_keras.data.sources.open import default_name
from alexnet_keras.data.sources.splits import DEFAULT_HOLDOUT
from alexnet_keras.runs import IMPORTED, Run
from alexnet_keras.storage.places import MOST_BYTES, command, data_root, good_name, runs_root, shell

LINE = 80  # characters; in a longer command each option has a line of its own
FIGURES = ("curves", "kernels", "towers")
FIGURES_OF_DATA = ("predictions", "neighbors", "confusion")
NOT_RECORDED = "# The command that made this run is not recorded (older version, or Python)."

# Key in a dataset's recorded options, option of `alexnet prepare`, and its default.
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


def reproduction_commands(
    run: Run, data: Mapping[str, Any], split: str = "val", evaluated: Path | None = None
) -> list[str]:
    """List the commands that make a run again under another name, evaluate it and draw it.

    Args:
        run: The run.
        data: What run.json records of its data (`PreparedDataset.facts`).
        split: Name of the split to evaluate.
        evaluated: The dataset to evaluate on, where it is not the run's own.

    Returns:
        Commands for a shell. A comment stands for the one that made the run where it is not recorded.
    """
    name, options = another_name(run), [] if split == "val" else ["--split", split]
    named = ["--data", str(evaluated)] if evaluated else []
    prepare = prepare_command(data)
    commands = [*([prepare] if prepare else []), make_command(run, name) or NOT_RECORDED]
    for extension in run.facts.get("extended", []):
        longer = command("train", "--resume", name, "--epochs", str(extension["to"]))
        commands.append(f"{longer}  # after epoch {extension['after']}")
    if data["path"] is None and not named:  # imported without data to evaluate on
        return [*commands, command("visualize", "kernels", name)]
    return [
        *commands,
        command("eval", name, "--ten-crop", *options, *named),
        *(command("visualize", figure, name) for figure in FIGURES if figure != "curves" or run.status != IMPORTED),
        *(command("visualize", figure, name, *named) for figure in FIGURES_OF_DATA),
        command("report", name, *options, *named),
    ]


def prepare_command(data: Mapping[str, Any]) -> str | None:
    """Return `alexnet prepare` with every option that is not the default; None where the run does not record them."""
    if "options" not in data or not data.get("source") or data["path"] is None:
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
    return _lines([*words, *data.get("further_options", ())])


def make_command(run: Run, name: str) -> str | None:
    """Return the command that made a run, for a new run of another name; None where run.json does not record it."""
    recorded = run.facts.get("command")
    if not isinstance(recorded, list) or not recorded:
        return None
    words = [str(word) for word in recorded]
    for index, word in enumerate(words):
        if word == "--run" and index + 1 < len(words):
            words[index + 1] = name
            break
        if word.startswith("--run="):
            words[index] = f"--run={name}"
            break
    else:
        words += ["--run", name]
    return _lines(words if words[0] == "alexnet" else ["alexnet", *words])


def another_name(run: Run) -> str:
    """Return a free name for a repetition of a run: NAME-again, NAME-again-2, ..."""
    number, base = 1, good_name(run.name, MOST_BYTES - len("-again-99"))
    name = f"{base}-again"
    while (runs_root() / name).exists():
        number += 1
        name = f"{base}-again-{number}"
    return name


def _lines(words: Sequence[str]) -> str:
    """Quote words for a shell; a long command has one line per option."""
    line = shell(*words)
    if len(line) <= LINE:
        return line
    breaks = [index for index, word in enumerate(words) if word.startswith("--")]
    return " \\\n    ".join(shell(*words[start:stop]) for start, stop in pairwise([0, *breaks, len(words)]))
