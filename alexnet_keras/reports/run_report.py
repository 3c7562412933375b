"""The report of a run: one HTML page that needs nothing but itself, with figures, their captions and tables."""

from collections.abc import Collection
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.errors import check_choice
from alexnet_keras.evaluation.predictions import kept_predictions, predictions_of
from alexnet_keras.recipes.built_in import BUILT_IN
from alexnet_keras.recipes.edits import differences
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.recipes.toml import to_toml
from alexnet_keras.reporter import WARNINGS, Reporter
from alexnet_keras.reports.page import VIEWS, render
from alexnet_keras.reports.parts import PARTS, EvaluatedRun, PartUnavailable, find_neighborhoods
from alexnet_keras.reports.reproduction import prepare_command, reproduction_commands
from alexnet_keras.runs import Run
from alexnet_keras.storage.files import write_by_rename

TEMPLATE = "report.html.jinja"
CLASSES_NAMED = 1000

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


def write_report(
    run: Run,
    data: PreparedDataset | None,
    path: Path,
    *,
    split: str = "val",
    ten_crop: bool = True,
    without: Collection[str] = (),
    problem: str = "",
    now: datetime | None = None,
    reporter: Reporter = WARNINGS,
) -> dict[str, str]:
    """Evaluate a run and write its report; predictions that the run has already are not computed again.

    Args:
        run: The run.
        data: The prepared dataset; None where it cannot be read: the page then has what was predicted before.
        path: The HTML file.
        split: Name of the split to evaluate.
        ten_crop: Also evaluate over ten crops.
        without: Names of PARTS to leave out. "neighbors" reads the whole training split.
        problem: One sentence that says why there is no dataset.
        now: The time that the page gives as its own; None for the present.
        reporter: Gets the progress.

    Returns:
        The parts that could not be made, each with one sentence that says why.

    Raises:
        UsageError: The run has no model yet, the dataset no such split, or the page no such part.
        DataError: The model or the dataset is damaged.
    """
    for name in without:
        check_choice("without", name, PARTS)
    names = [name for name in PARTS if name not in without]
    fingerprint = data.fingerprint if data else run.facts["data"]["fingerprint"]
    centre, crops = (
        predictions_of(run, data, split, views, reporter=reporter)
        if data and (ten_crop or views == "centre")
        else kept_predictions(run, fingerprint, split, views)
        for views in VIEWS
    )
    model = run.load_model()
    neighborhoods = find_neighborhoods(model, data, split, reporter) if data and "neighbors" in names else []
    evaluated = EvaluatedRun(run, model, split, data, centre, crops, neighborhoods, problem)
    parts, missing = {}, {}
    with reporter.progress("drawing", len(names), "parts") as advance:
        for name in names:
            try:
                parts[name] = PARTS[name](evaluated)
            except PartUnavailable as reason:
                missing[name] = str(reason)
            advance(1)
    page = render(
        TEMPLATE,
        {
            "run": run,
            "about": _about(evaluated),
            "facts": _properties(evaluated),
            "evaluations": [found.evaluation() for found in (evaluated.centre, evaluated.ten_crop) if found],
            "evaluated": evaluated,
            "views": VIEWS,
            "paper_errors": PAPER_ERRORS,
            "titles": evaluated.titles,
            "most_named": CLASSES_NAMED,
            "parts": parts,
            "missing": missing,
            "recipe": _recipe(run.recipe),
            "environment": {**run.facts.get("environment", {}), "devices": ", ".join(run.facts.get("devices", []))},
            "commands": _commands(evaluated),
            "written": f"{now or datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "version": version("alexnet-keras"),
        },
    )
    with write_by_rename(path) as file:
        file.write_text(page, encoding="utf-8", errors="backslashreplace")
    return missing


def _training_data(evaluated: EvaluatedRun) -> dict[str, Any]:
    """The recorded entries of the data of the run; of old runs, which recorded little, with those of the dataset."""
    recorded, data = evaluated.run.facts["data"], evaluated.data
    return {**data.facts, **recorded} if data and data.fingerprint == recorded["fingerprint"] else recorded


def _about(evaluated: EvaluatedRun) -> dict[str, Any]:
    """The sentences at the top of the page, its errors, and notes for its reader."""
    run, imported = evaluated.run, evaluated.run.facts.get("imported")
    lede = "AlexNet, the convolutional network of Krizhevsky, Sutskever and Hinton (2012), "
    if imported:
        lede += f"with the weights of the file {imported['file']} and the recipe {_recipe_summary(run.recipe)}"
    else:
        data = _training_data(evaluated)
        count = data.get("examples", {}).get("train")
        images = f"{count:,} images of {len(run.facts['classes']):,} classes" if count else "images"
        lede += f"trained with the recipe {run.recipe.name} on {images} from the dataset "
        lede += f"{data.get('name', data['path'])}."
    best = evaluated.ten_crop or evaluated.centre
    return {"lede": lede, "best": best and best.evaluation(), "notes": _notes(evaluated)}


def _notes(evaluated: EvaluatedRun) -> list[str]:
    run, imported, notes = evaluated.run, evaluated.run.facts.get("imported"), []
    if not imported and (status := run.status) != "finished":
        notes.append(
            f"This run {UNFINISHED.get(status, f'has the state {status}')}. {len(run.history)} of "
            f"{run.recipe.training.epochs} epochs are done, and the best model so far is shown."
        )
    if evaluated.data is None:
        shown = " What was computed before is shown, the images are not." if evaluated.centre else ""
        notes.append(f"The dataset cannot be read, so parts of this page are left out.{shown} {evaluated.problem}")
    elif not imported and evaluated.data.fingerprint != run.facts["data"]["fingerprint"]:
        notes.append(
            f"Errors, predictions and neighbours are of the dataset {evaluated.data.path}, which is not the one that "
            "the run was trained on."
        )
    if imported and (published := imported["published"]):
        notes.append(
            f"{published['name']} is published with {published['top1']:.1%} top-1 and {published['top5']:.1%} top-5 "
            f"accuracy on the centre crops of ImageNet 2012's validation images ({published['source']})."
        )
    return notes


def _properties(evaluated: EvaluatedRun) -> list[tuple[str, str]]:
    """The table at the top of the page: terms and values; unknown ones are left out."""
    run, facts, history = evaluated.run, evaluated.run.facts, evaluated.run.history
    data, training, status = _training_data(evaluated), run.recipe.training, run.status
    imported = facts.get("imported") or {}
    epochs = f"{len(history)} of {training.epochs}"
    if best := run.best_row:
        epochs += f"; the best, which is shown here, is number {int(best['epoch']) + 1}"
    ended = f": {facts['ended']}" if facts.get("ended") and status != "finished" else ""
    devices = ", ".join(facts.get("devices", []))
    properties = [
        ("State", f"{status}{ended}"),
        ("Weights of", imported and f"{imported['file']}, SHA-256 {imported['sha256']}"),
        ("Recipe", _recipe_summary(run.recipe)),
        ("Data", data["path"] and f"{data.get('name', '')} ({data['path']})"),
        ("Source of the data", data.get("source")),
        ("Classes", f"{len(facts['classes']):,}"),
        ("Images", ", ".join(f"{count:,} {split}" for split, count in data.get("examples", {}).items())),
        ("Fingerprint of the data", data["fingerprint"]),
        ("Epochs", None if imported else epochs),
        ("Batch", None if imported else f"{training.batch_size} images"),
        ("Seed", facts.get("seed")),
        ("Precision", facts.get("precision")),
        ("Strategy and devices", f"{facts.get('strategy')}: {devices}" if devices else facts.get("strategy")),
        ("Resumed", "; ".join(map(_resumption, facts.get("resumed", [])))),
        ("Deterministic", {True: "yes", False: "no", None: None}.get(facts.get("deterministic"))),
        ("First weights from", facts.get("init_from")),
        ("Time in training", _duration(sum(row["seconds"] for row in history)) if history else None),
        ("Began", _moment(facts.get("started"))),
        ("Last written", _moment(facts.get("updated"))),
    ]
    return [(term, str(value)) for term, value in properties if value not in (None, "", {})]


def _resumption(change: dict[str, Any]) -> str:
    """Where a run went on with other devices or versions, as text."""
    machine = change["environment"]
    return (
        f"after step {change['step']:,} with {change['strategy']} on {', '.join(change['devices'])}, "
        f"TensorFlow {machine['tensorflow']}, Keras {machine['keras']}, {machine['cpus']} processors"
    )


def _recipe_summary(recipe: Recipe) -> str:
    return f"{recipe.name}: {recipe.summary}".replace("`", "")


def _recipe(recipe: Recipe) -> dict[str, Any]:
    """The whole recipe, and where it differs from the built-in recipe of its name, or from `source`."""
    base = BUILT_IN.get(recipe.name, BUILT_IN["source"])
    return {"base": base.name, "changes": differences(recipe, base), "toml": to_toml(recipe)}


def _commands(evaluated: EvaluatedRun) -> dict[str, Any]:
    facts, data = evaluated.run.facts, _training_data(evaluated)
    other = evaluated.data.path if evaluated.data and evaluated.data.fingerprint != data["fingerprint"] else None
    return {
        "lines": reproduction_commands(evaluated.run, data, evaluated.split, other),
        "prepare": prepare_command(data) is not None,
        "complete": "further_options" in data,
        "workers": facts.get("strategy") == "multi-worker",
        "deterministic": bool(facts.get("deterministic") or facts.get("imported")),
        "fingerprint": data["fingerprint"],
    }


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), seconds / 3600
    return f"{seconds:.0f} seconds" if minutes < 2 else f"{minutes} minutes" if hours < 2 else f"{hours:.1f} hours"


def _moment(written: str | None) -> str | None:
    """Format an ISO time of run.json for people."""
    return f"{datetime.fromisoformat(written).astimezone(UTC):%Y-%m-%d %H:%M} UTC" if written else None
