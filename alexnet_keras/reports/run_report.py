"""The report of a run: one HTML page that needs nothing but itself, with figures, their captions and tables."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.evaluation.analysis import BINS, Outcomes
from alexnet_keras.evaluation.classifier import Guess, guesses_of
from alexnet_keras.evaluation.features import FeatureExtractor, feature_batches, find_nearest
from alexnet_keras.evaluation.inputs import some_images, spread_over_classes, stacked_images
from alexnet_keras.evaluation.predictions import Predictions
from alexnet_keras.layers.towers import tower_letter
from alexnet_keras.network.kernels import CAVEAT, compare_towers, first_kernels
from alexnet_keras.recipes.built_in import BUILT_IN
from alexnet_keras.recipes.edits import differences
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.recipes.toml import to_toml
from alexnet_keras.reports.page import EmbeddedImage, drawing, percent, photograph, render
from alexnet_keras.runs import Run, another_name, look_commands, make_command, prepare_command
from alexnet_keras.storage.files import write_by_rename
from alexnet_keras.storage.places import command
from alexnet_keras.visualization.confusion import MOST_WHOLE, draw_confusion
from alexnet_keras.visualization.curves import draw_curves, draw_reliability
from alexnet_keras.visualization.kernels import draw_kernels, draw_towers

IMAGES = 8  # with their predictions, and as many that are wrong
QUERIES, NEIGHBORS = 5, 6  # the paper's figure 4
WORST = 10  # classes, and pairs of classes
LARGE, SMALL = 256, 176  # pixels of a photograph's side: with its predictions, among neighbours
NO_EPOCH = "The run has not finished an epoch yet."


class LeftOut(Exception):
    """A part cannot be made; the message is a sentence for the page."""


@dataclass(frozen=True, eq=False)
class Material:
    """What the parts are made of.

    Attributes:
        run: The run.
        model: Its best model.
        titles: What its classes are called.
        split: The split it is evaluated on.
        data: The dataset of that split; None where it is not there.
        predictions: Of the centre crop; None where there are none.
        neighborhoods: What `find_neighborhoods` found.
        problem: Why there is no dataset, in a sentence.
    """

    run: Run
    model: keras.Model
    titles: Sequence[str]
    split: str
    data: PreparedDataset | None
    predictions: Predictions | None
    neighborhoods: Sequence["Neighborhood"] = ()
    problem: str = ""

    @property
    def outcomes(self) -> Outcomes:
        """What became of each image."""
        if self.predictions is None:
            raise LeftOut(f"There are no predictions to show. {self.problem}".rstrip())
        return Outcomes.of(self.predictions)


@dataclass(frozen=True)
class ShownImage:
    """An image with what it is and what the network says of it."""

    image: EmbeddedImage
    title: str
    label: int
    guesses: Sequence[Guess] = ()


@dataclass(frozen=True)
class Neighborhood:
    """An image and the training images nearest to it, each with its distance."""

    query: ShownImage
    nearest: Sequence[tuple[ShownImage, float]]


def find_neighborhoods(
    model: keras.Model, data: PreparedDataset, split: str, on_progress: Callable[[int], None] = lambda images: None
) -> list[Neighborhood]:
    """Some images of a split and their neighbours in the training split, all of which is read (paper, figure 4)."""
    extract = FeatureExtractor(model)
    images, labels, filenames = some_images(data, split, min(QUERIES, data.examples(split)))
    count = min(NEIGHBORS, data.examples("train"))
    found = find_nearest(extract(images), feature_batches(extract, data, "train"), count, on_progress)

    def show(image: np.ndarray, label: int, filename: str, of: str) -> ShownImage:
        title = data.titles[label]
        return ShownImage(photograph(image, SMALL, _alt(title, filename, of)), title, int(label))

    return [
        Neighborhood(
            show(image, label, filename, split),
            [
                (show(near, kind, name, "train"), float(distance))
                for near, kind, name, distance in zip(
                    nearest.images, nearest.labels, nearest.filenames, nearest.distances, strict=True
                )
            ],
        )
        for image, label, filename, nearest in zip(images, labels, filenames, found, strict=True)
    ]


def curves(material: Material) -> dict[str, Any]:
    """Loss, errors and rate over the epochs, and the numbers of every epoch."""
    rows = material.run.history
    if not rows:
        raise LeftOut(NO_EPOCH)
    first, last, best = rows[0], rows[-1], material.run.best_row or rows[0]
    start, end, lowest = (percent(row["val_top1_error"]) for row in (first, last, best))
    alt = (
        f"Line charts over {len(rows)} epochs. The training loss goes from {first['loss']:.2f} to {last['loss']:.2f}, "
        f"the validation loss from {first['val_loss']:.2f} to {last['val_loss']:.2f}. The top-1 error on the "
        f"validation split goes from {start} to {end}; it is lowest, {lowest}, after epoch {int(best['epoch']) + 1}."
    )
    return {"figure": drawing(partial(draw_curves, [material.run]), alt), "rows": rows}


def kernels(material: Material) -> dict[str, Any]:
    """The first layer's kernels (paper, figure 3)."""
    towers = first_kernels(material.model)
    side, counts = towers[0].shape[0], [own.shape[-1] for own in towers]
    each = ", ".join(f"{count} in tower {tower_letter(tower)}" for tower, count in enumerate(counts))
    alt = (
        f"The {sum(counts)} kernels of the first layer as small colour images of {side} by {side} pixels, in rows: "
        f"{each}, the towers one above the other. Mid-grey is a weight of zero."
    )
    return {"figure": drawing(partial(draw_kernels, material.model), alt)}


def towers(material: Material) -> dict[str, Any]:
    """How colour-specific each tower is (paper, section 6.1)."""
    found = first_kernels(material.model)
    report = compare_towers(found)
    medians = ", ".join(f"{color.median:.2f} in tower {color.tower}" for color in report.towers)
    alt = (
        "Each tower's kernels in the order of their colour shares, grey ones first, and below them the shares as dots "
        f"on a line from 0, grey, to 1, purely chromatic. The median is {medians}."
    )
    return {"figure": drawing(partial(draw_towers, found, report), alt), "colors": report, "caveat": CAVEAT}


def predictions(material: Material) -> dict[str, Any]:
    """Images with the classes the network finds likeliest (paper, figure 4): some, and some that are wrong."""
    outcomes = material.outcomes
    if material.data is None or material.predictions is None:
        raise LeftOut(f"The images themselves are not there. {material.problem}")
    shown = partial(_shown, material.predictions, material.data, material.titles, material.split)
    labels = outcomes.labels
    order = np.random.default_rng(0).permutation(len(labels))
    some = order[spread_over_classes(labels[order], IMAGES)]
    wrong = order[outcomes.guesses[order] != labels[order]]
    unseen = wrong[~np.isin(wrong, some)]
    wrong = unseen if len(unseen) >= IMAGES else wrong
    wrong = wrong[spread_over_classes(labels[wrong], IMAGES)]
    return {"some": shown(some), "wrong": shown(wrong) if len(wrong) else []}


def neighbors(material: Material) -> dict[str, Any]:
    """Images and the training images nearest to them (paper, figure 4)."""
    if material.data is None:
        raise LeftOut(f"The images themselves are not there. {material.problem}")
    return {"neighborhoods": material.neighborhoods}


def classes(material: Material) -> dict[str, Any]:
    """The worst classes, the most confused pairs of them, and the confusion matrix."""
    outcomes = material.outcomes
    worst = sorted(outcomes.by_class(), key=lambda errors: (-errors.top1.error, -errors.images, errors.label))
    worst = [errors for errors in worst[:WORST] if errors.top1.error]
    pairs = outcomes.confusions(WORST)
    alt = (
        f"The confusion matrix of {outcomes.classes} classes"
        f"{', the part with the worst confusions' if outcomes.classes > MOST_WHOLE else ''}: a row a true class, a "
        "column a predicted one, in percent of the row; the darker, the more. "
    )
    alt += "The most frequent confusions are in the table before." if pairs else "All of it is on the diagonal."
    image = drawing(partial(draw_confusion, outcomes.matrix, material.titles), alt)
    return {"worst": worst, "pairs": pairs, "figure": image}


def calibration(material: Material) -> dict[str, Any]:
    """How far the network's confidence can be trusted."""
    found = material.outcomes.calibration()
    bins = list(zip(found.confidence, found.accuracy, found.images, strict=True))
    confidence, accuracy = (
        float(np.average(means, weights=found.images)) for means in (found.confidence, found.accuracy)
    )
    alt = (
        f"Reliability diagram: the share of right answers over confidence in {len(bins)} bins, and how many images "
        f"are in each. Mean confidence is {percent(confidence)} and {percent(accuracy)} of the answers are right; the "
        "numbers of each bin are in the table below."
    )
    return {
        "figure": drawing(partial(draw_reliability, found), alt),
        "found": found,
        "bins": bins,
        "most_bins": BINS,
        "mean_confidence": confidence,
        "accuracy": accuracy,
    }


# In the order of the page.
PARTS: dict[str, Callable[[Material], dict[str, Any]]] = {
    part.__name__: part for part in (curves, kernels, towers, predictions, neighbors, classes, calibration)
}


def _shown(
    found: Predictions, data: PreparedDataset, titles: Sequence[str], split: str, chosen: np.ndarray
) -> list[ShownImage]:
    """The images at these positions of the split, with what the network says of them."""
    images, labels, filenames = stacked_images(data, split, chosen)
    return [
        ShownImage(
            photograph(image, LARGE, _alt(titles[label], filename, split)),
            titles[label],
            label,
            guesses_of(found, position, titles, data.classes),
        )
        for image, label, filename, position in zip(images, labels.tolist(), filenames, chosen, strict=True)
    ]


def _alt(title: str, filename: str, split: str) -> str:
    return f"{title}: the image {filename} of the {split} split"


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
    what = f"{images:,} images of {len(run.facts['classes']):,} classes" if images else "images"
    lede = (
        f"AlexNet, the convolutional network of Krizhevsky, Sutskever and Hinton (2012), trained with the recipe "
        f"{run.recipe.name} on {what} from the dataset {data.get('name', data['path'])}."
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
    kept = " What was computed before is shown, the images are not." if evaluated.centre else ""
    return f"The dataset cannot be read, so parts of this page are left out.{kept} {evaluated.problem}"


def _published(known: dict[str, Any]) -> str:
    return (
        f"{known['name']} is published with {known['top1']:.1%} top-1 and {known['top5']:.1%} top-5 accuracy on the "
        f"centre crops of ImageNet 2012's validation images ({known['source']})"
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
    return {"base": base.name, "changes": differences(recipe, base), "toml": to_toml(recipe)}


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
