"""Signal, gradient and first steps of four initialisations, which show why many reproductions stay at a loss of 6.9.

One recipe is initialised as in the released code, in the paper's prose, in Caffe, and as in the prose on pixels of
variance 1.
"""

import itertools
import math
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.image_cache import cached
from alexnet_keras.data.pipeline import training_batches
from alexnet_keras.experiments.lab import Lab, diverged_text
from alexnet_keras.experiments.outcome import Comparison, Outcome, OverSeeds, PerSeed, seeds_text
from alexnet_keras.experiments.variants import initialisation_variants
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.recipes.toml import load_recipe
from alexnet_keras.training.diagnostics import measure_signal
from alexnet_keras.training.guards import loss_of_guessing
from alexnet_keras.training.start import new_network
from alexnet_keras.training.step import TrainingStep
from alexnet_keras.visualization.style import INK, QUIET, SERIES, logarithmic, save_figure

STEPS = {"mini": 120, "photos": 660, "full": 2000}
LEFT = 0.05  # nats below the loss of guessing by class frequency that count as having left it
SMOOTH = 10  # steps that a loss is averaged over


def run(lab: Lab) -> Outcome:
    """Train every variant at the full width of the network, once per seed; the signal depends on the widths."""
    data = cached(lab.open(), lab.options.cache, reporter=lab.reporter)
    steps = STEPS[lab.options.scale]
    recipes = initialisation_variants(load_recipe("source"), data.statistics.standard_deviations)
    names = lab.options.chosen(list(recipes))
    variants = {
        name: {seed: _kept(lab, recipes[name], name, data, seed, steps) for seed in lab.seeds} for name in names
    }
    chance = loss_of_guessing(data.class_counts("train"))  # ln(classes) of classes that are equally frequent
    return Outcome(
        summary=(
            f"The network of the recipe source was initialised in {len(names)} ways ({', '.join(names)}) and trained "
            f"for {steps} steps each on {data.path.name}, {len(data.classes)} classes, "
            f"{seeds_text(lab.options.seeds)}. Where logits hardly differ from image to image, the classifier can "
            f"learn nothing but the classes' frequencies, and the loss stays at their entropy, {chance:.2f} here and "
            "6.91, ln(1,000), with 1,000 equally frequent classes."
        ),
        comparisons=tuple(row for name, results in variants.items() for row in _rows(name, results, steps, chance)),
        configuration=(
            *(f"{name}: {recipes[name].summary}" for name in names),
            f"batches of {recipes['source'].training.batch_size}, {lab.options.precision}",
        ),
        facts={"starts": variants, "chance": chance},
    )


def _kept(lab: Lab, recipe: Recipe, name: str, data: PreparedDataset, seed: int, steps: int) -> dict[str, Any]:
    inputs = {"data": data.fingerprint, "steps": steps, "precision": lab.options.precision, "seed": seed}
    return lab.kept(f"{name}-seed-{seed}", inputs, partial(train, lab, recipe, name, data, seed, steps))


def _rows(name: str, results: PerSeed, steps: int, chance: float) -> list[Comparison]:
    """The rows of one variant; `chance` is the loss of guessing by class frequency."""
    spread = OverSeeds(tuple(each["signal"][-1]["spread"] for each in results.values()))
    ended = {seed: smoothed(each["losses"])[-1] for seed, each in results.items() if len(each["losses"]) == steps}
    left = [step for each in results.values() if (step := steps_to_leave(each["losses"], chance)) is not None]
    staying = len(results) - len(left)
    return [
        Comparison(f"{name}: spread of the logits over images at the start", spread, "number"),
        Comparison(
            f"{name}: steps until the loss is {LEFT} below that of guessing",
            None if staying else OverSeeds(tuple(map(float, left))),
            "number",
            note=f"{staying} of {len(results)} not in {steps} steps" if staying else "",
        ),
        Comparison(
            f"{name}: loss after {steps} steps (guessing has {chance:.2f})",
            OverSeeds(tuple(ended.values())) if ended else None,
            "number",
            note=diverged_text(seed for seed in results if seed not in ended),
        ),
    ]


def train(lab: Lab, recipe: Recipe, name: str, data: PreparedDataset, seed: int, steps: int) -> dict[str, Any]:
    """Take the first steps of a variant.

    Returns:
        "signal": signal and gradient of every layer on the first batch. "losses": the loss of every step; of fewer
        where it became infinite or NaN.
    """
    model, optimizer = new_network(recipe, data, seed, lab.options.precision)
    step = TrainingStep(
        model,
        optimizer,
        tf.distribute.get_strategy(),
        seed=seed,
        batch_size=recipe.training.batch_size,
    )
    crops = partial(
        training_batches,
        data,
        recipe.augmentation,
        batch_size=recipe.training.batch_size,
        crop_size=recipe.network.input_size,
        seed=seed,
    )
    batches = itertools.chain.from_iterable(crops(epoch=epoch) for epoch in itertools.count())
    images, labels = next(batches)
    signal = [
        asdict(layer) | {"update_ratio": layer.update_ratio} for layer in measure_signal(model, recipe, images, labels)
    ]
    losses = []
    with lab.reporter.progress(f"{name}, seed {seed}", steps, "steps") as advance:
        for number in range(steps):
            loss = step(images, labels, number).loss
            if not math.isfinite(loss):
                lab.reporter.warn(f"{name}, seed {seed}: the loss became {loss} in step {number + 1}.")
                break
            losses.append(loss)
            images, labels = next(batches)
            advance(1, text=f"loss {loss:.3f}")
    return {"signal": signal, "losses": losses}


def smoothed(losses: list[float]) -> list[float]:
    """Each loss averaged with those of the steps before it."""
    return [float(np.mean(losses[max(0, end - SMOOTH) : end])) for end in range(1, len(losses) + 1)]


def steps_to_leave(losses: list[float], chance: float) -> int | None:
    """The first step whose averaged loss is below that of guessing by more than LEFT; None if there is none."""
    averaged = smoothed(losses)
    return next((step for step, loss in enumerate(averaged) if step >= SMOOTH and loss < chance - LEFT), None)


def draw(outcome: Outcome, path: Path) -> None:
    """Draw left the spread over images, layer by layer; in the middle the first update's size; right the loss."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    spread, update, loss = figure.subplots(1, 3)
    for (name, results), color in zip(outcome.facts["starts"].items(), SERIES, strict=False):
        for number, each in enumerate(results.values()):
            options = {"color": color, "alpha": 0.4 if number else 1.0, "lw": 1.4}
            layers, label = [layer["name"] for layer in each["signal"]], None if number else name
            spread.plot(layers, [max(x["spread"], 1e-9) for x in each["signal"]], "o-", ms=3, label=label, **options)
            update.plot(layers, [max(x["update_ratio"], 1e-12) for x in each["signal"]], "o-", ms=3, **options)
            loss.plot(smoothed(each["losses"]), **options)
    loss.axhline(outcome.facts["chance"], color=QUIET, lw=0.8, ls=":")
    loss.annotate("guessing", (1, outcome.facts["chance"]), (4, 0), xycoords=("axes fraction", "data"),
                  textcoords="offset points", va="center", color=QUIET, fontsize=8)  # fmt: skip
    for axis, title in ((spread, "spread over images"), (update, "first update / weights"), (loss, "loss, nats")):
        axis.set_title(title, loc="left", fontsize=10, color=INK)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    for axis in (spread, update):
        logarithmic(axis.yaxis)
        axis.tick_params(axis="x", rotation=45)
    loss.set_xlabel("step", fontsize=9)
    spread.legend(frameon=False, fontsize=8)
    save_figure(figure, path)
