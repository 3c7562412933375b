"""The report of a run: one HTML page that needs nothing but itself."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras

from alexnet_keras.built_in_recipes import BUILT_IN
from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.evaluation.predictions import Predictions
from alexnet_keras.files import write_by_rename
from alexnet_keras.places import command
from alexnet_keras.recipe_files import flatten, in_words, to_toml
from alexnet_keras.recipes import Recipe
from alexnet_keras.run_commands import another_name, look_commands, make_command, prepare_command
from alexnet_keras.runs import Run
from alexnet_keras.visualization.page import render
from alexnet_keras.visualization.report_parts import PARTS, LeftOut, Material, Neighborhood

TEMPLATE = "report.html.jinja"
CLASSES_NAMED = 1000
VIEWS = {"centre": "centre crop", "ten-crop": "ten crops"}

# What the paper reports for one network: data, views, top-1 and top-5 error, where.
PAPER_ERRORS = (
    ("ILSVRC-2012 val", "ten-crop", 0.407, 0.182, "table 2, 1 CNN"),
    ("ILSVRC-2010 test", "ten-crop", 0.375, 0.170, "table 1, CNN"),
    ("ILSVRC-2010 test", "centre", 0.390, 0.183, "section 4.1"),
)
UNFINISHED = {
    "running": "is still being trained: parts of this page may be of different epochs",
    "interrupted": "was interrupted",
    "killed": "was killed",
    "failed": "failed",
    "diverged": "diverged",
}


@dataclass(frozen=True, eq=False)
class Evaluated:
    """How a run does on a split.

    Attributes:
        split: Its name.
        data: The dataset; None where it cannot be read any more.
        centre, ten_crop: The run's predictions, where there are any.
        problem: Why there is no dataset, in a sentence.
    """

    split: str
    data: PreparedDataset | None
    centre: Predictions | None
    ten_crop: Predictions | None
    problem: str = ""


def write_report(
    run: Run,
    evaluated: Evaluated,
    model: keras.Model,
    out: Path,
    *,
    neighborhoods: Sequence[Neighborhood] = (),
    without: Collection[str] = (),
    now: datetime | None = None,
    on_part: Callable[[int], None] = lambda parts: None,
) -> dict[str, str]:
    """Writes the page.

    Args:
        model: the run's best model.
        neighborhoods: what `find_neighborhoods` found; not needed without "neighbors".
        without: names of PARTS to leave out.
        now: when the page says it was written.
        on_part: called with 1 after each part.

    Returns:
        The parts that could not be made, and why, in a sentence each.
    """
    material = Material(
        run, model, _titles(run, evaluated), evaluated.split, evaluated.data, evaluated.centre, neighborhoods,
        evaluated.problem,
    )  # fmt: skip
    parts, missing = {}, {}
    for name in PARTS:
        if name not in without:
            try:
                parts[name] = PARTS[name](material)
            except LeftOut as reason:
                missing[name] = str(reason)
            on_part(1)
    page = render(
        TEMPLATE,
        {
            "run": run,
            "about": _about(run, evaluated),
            "facts": _facts(run, evaluated),
            "evaluations": [found.evaluation() for found in (evaluated.centre, evaluated.ten_crop) if found],
            "evaluated": evaluated,
            "views": VIEWS,
            "paper_errors": PAPER_ERRORS,
            "titles": material.titles,
            "most_named": CLASSES_NAMED,
            "parts": parts,
            "missing": missing,
            "recipe": _recipe(run.recipe),
            "environment": {**run.facts.get("environment", {}), "devices": ", ".join(run.facts.get("devices", []))},
            "commands": _commands(run, evaluated),
            "written": f"{now or datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "version": version("alexnet-keras"),
        },
    )
    with write_by_rename(out) as file:
        file.write_text(page, encoding="utf-8", errors="backslashreplace")
    return missing


def _titles(run: Run, evaluated: Evaluated) -> Sequence[str]:
    if evaluated.data:
        return evaluated.data.titles
    return run.titles


def _trained_on(run: Run, evaluated: Evaluated) -> dict[str, Any]:
    """What is known of the data the run was trained on; old runs kept little of it, but the data may be at hand."""
    kept = run.facts["data"]
    data = evaluated.data
    return {**data.facts, **kept} if data and data.fingerprint == kept["fingerprint"] else kept


def _about(run: Run, evaluated: Evaluated) -> dict[str, Any]:
    """The sentences at the top of the page, and what its reader has to know before anything else."""
    if imported := run.facts.get("imported"):
        return _about_imported(run, evaluated, imported)
    data, epochs, wanted = _trained_on(run, evaluated), len(run.history), run.recipe.training.epochs
    images = data.get("examples", {}).get("train")
    pictures = f"{images:,} images of {len(run.facts['classes']):,} classes" if images else "pictures"
    lede = (
        f"AlexNet, the convolutional network of Krizhevsky, Sutskever and Hinton (2012), trained with the recipe "
        f"{run.recipe.name} on {pictures} from the dataset {data.get('name', data['path'])}."
    )
    notes = []
    if (status := run.status) != "finished":
        ended = f"This run {UNFINISHED.get(status, f'has the state {status}')}"
        notes.append(f"{ended}. {epochs} of {wanted} epochs are done, and the best model so far is shown.")
    if evaluated.data is None:
        notes.append(_left_out(evaluated))
    elif evaluated.data.fingerprint != run.facts["data"]["fingerprint"]:
        notes.append(
            f"Errors, predictions and neighbours are of the dataset {evaluated.data.path}, which is not the one that "
            "the run was trained on."
        )
    found = evaluated.ten_crop or evaluated.centre
    return {"lede": lede, "best": found and found.evaluation(), "notes": notes}


def _about_imported(run: Run, evaluated: Evaluated, imported: dict[str, Any]) -> dict[str, Any]:
    """The same of a run that another framework trained."""
    lede = (
        f"AlexNet, the convolutional network of Krizhevsky, Sutskever and Hinton (2012), with the weights of the file "
        f"{imported['file']} and the recipe {run.recipe.name}: {run.recipe.summary}".replace("`", "")
    )
    notes = [_left_out(evaluated)] if evaluated.data is None else []
    if published := imported["published"]:
        notes.append(f"{_published(published)}.")
    found = evaluated.ten_crop or evaluated.centre
    return {"lede": lede, "best": found and found.evaluation(), "notes": notes}


def _left_out(evaluated: Evaluated) -> str:
    kept = " What was computed before is shown, the pictures are not." if evaluated.centre else ""
    return f"The dataset cannot be read, so parts of this page are left out.{kept} {evaluated.problem}"


def _published(known: dict[str, Any]) -> str:
    return (
        f"{known['name']} is published with {known['top1']:.1%} top-1 and {known['top5']:.1%} top-5 accuracy on the "
        f"centre crops of ImageNet 2012's validation pictures ({known['source']})"
    )


def _facts(run: Run, evaluated: Evaluated) -> list[tuple[str, str]]:
    """What was trained on what, as terms and values."""
    facts, history, recipe = run.facts, run.history, run.recipe
    data = _trained_on(run, evaluated)
    best = run.best_row
    epochs = f"{len(history)} of {recipe.training.epochs}"
    if best:
        epochs += f"; the best, which is shown here, is number {int(best['epoch']) + 1}"
    status = run.status
    ended = f": {facts['ended']}" if facts.get("ended") and status != "finished" else ""
    devices = ", ".join(facts.get("devices", []))
    imported = facts.get("imported") or {}
    found = [
        ("State", f"{status}{ended}"),
        ("Weights of", imported and f"{imported['file']}, SHA-256 {imported['sha256']}"),
        ("Recipe", f"{recipe.name}: {recipe.summary}".replace("`", "")),
        ("Data", data["path"] and f"{data.get('name', '')} ({data['path']})"),
        ("Source of the data", data.get("source")),
        ("Classes", f"{len(facts['classes']):,}"),
        ("Images", ", ".join(f"{count:,} {split}" for split, count in data.get("examples", {}).items())),
        ("Fingerprint of the data", data["fingerprint"]),
        ("Epochs", None if imported else epochs),
        ("Batch", None if imported else f"{recipe.training.batch_size} images"),
        ("Seed", facts.get("seed")),
        ("Precision", facts.get("precision")),
        ("Strategy and devices", f"{facts.get('strategy')}: {devices}" if devices else facts.get("strategy")),
        ("Deterministic", {True: "yes", False: "no", None: None}.get(facts.get("deterministic"))),
        ("First weights from", facts.get("init_from")),
        ("Time in training", _duration(sum(row["seconds"] for row in history)) if history else None),
        ("Began", _moment(facts.get("started"))),
        ("Last written", _moment(facts.get("updated"))),
    ]
    return [(term, str(value)) for term, value in found if value not in (None, "", {})]


def _recipe(recipe: Recipe) -> dict[str, Any]:
    """The recipe whole, and the fields in which it is not the built-in one it is named for, or `source`."""
    base = BUILT_IN.get(recipe.name, BUILT_IN["source"])
    own, other = flatten(recipe), flatten(base)
    changes = [
        (name, in_words(own, name), in_words(other, name), own[name].source if name in own else "")
        for name in dict.fromkeys([*own, *other])
        if name not in ("name", "summary") and in_words(own, name) != in_words(other, name)
    ]
    return {"base": base.name, "changes": changes, "toml": to_toml(recipe)}


def _commands(run: Run, evaluated: Evaluated) -> dict[str, Any]:
    data, name = _trained_on(run, evaluated), another_name(run)
    prepare = prepare_command(data)
    look = look_commands(name, evaluated.split) if data["path"] else [command("visualize", "kernels", name)]
    return {
        "prepare": prepare,
        "lines": [*([prepare] if prepare else []), make_command(run, name), *look],
        "workers": run.facts.get("strategy") == "multi-worker",
        "deterministic": bool(run.facts.get("deterministic") or run.facts.get("imported")),
        "fingerprint": data["fingerprint"],
    }


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), seconds / 3600
    return f"{seconds:.0f} seconds" if minutes < 2 else f"{minutes} minutes" if hours < 2 else f"{hours:.1f} hours"


def _moment(written: str | None) -> str | None:
    """An ISO time of run.json as people read it."""
    return f"{datetime.fromisoformat(written).astimezone(UTC):%Y-%m-%d %H:%M} UTC" if written else None
