"""Why so many reproductions sit at a loss of 6.9: signal and gradient of four starts, and the first steps of each.

`starts` derives them from one recipe: the released code's, the prose's, Caffe's, and the prose on pixels of variance 1.
"""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.pipeline import training_batches
from alexnet_keras.experiments.lab import Lab, chosen_data
from alexnet_keras.experiments.outcome import Estimate, Finding, Outcome, seeds_text
from alexnet_keras.experiments.variants import variants
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.recipes.toml import load_recipe
from alexnet_keras.training.diagnostics import measure_signal
from alexnet_keras.training.start import new_network
from alexnet_keras.training.step import TrainingStep
from alexnet_keras.visualization.style import INK, QUIET, SERIES, logarithmic, save_figure

STEPS = {"mini": 120, "full": 2000}
LEFT = 0.05  # nats below ln(classes) that count as having left it
SMOOTH = 10  # steps that a loss is averaged over


def run(lab: Lab) -> Outcome:
    """All starts at the full width of the network, a seed each; widths decide how a signal fares."""
    data = chosen_data(lab)
    steps = STEPS[lab.request.scale]
    starts = variants(load_recipe("source"), data.statistics.standard_deviations)
    names = lab.request.chosen(list(starts))
    found = {
        name: {
            seed: lab.part(
                f"{name}-seed-{seed}",
                {"data": data.fingerprint, "steps": steps, "precision": lab.request.precision, "seed": seed},
                partial(measure, lab, starts[name], name, data, seed, steps),
            )
            for seed in lab.seeds
        }
        for name in names
    }
    chance = float(np.log(len(data.classes)))
    findings = []
    for name, seeds in found.items():
        spread = Estimate(tuple(each["signal"][-1]["spread"] for each in seeds.values()))
        loss = Estimate(tuple(smoothed(each["losses"])[-1] for each in seeds.values()))
        left = [steps_to_leave(each["losses"], chance) for each in seeds.values()]
        gone = [step for step in left if step is not None]
        findings += [
            Finding(f"{name}: spread of the logits over images at the start", "", "", spread, "number"),
            Finding(
                f"{name}: steps until the loss is {LEFT} below ln(classes)",
                "",
                "",
                Estimate(tuple(map(float, gone))) if len(gone) == len(left) else None,
                "number",
                note="" if len(gone) == len(left) else f"{len(left) - len(gone)} of {len(left)} not in {steps} steps",
            ),
            Finding(f"{name}: loss after {steps} steps (ln(classes) is {chance:.2f})", "", "", loss, "number"),
        ]
    return Outcome(
        summary=(
            f"The network of the recipe source was started in {len(names)} ways ({', '.join(names)}) and trained for "
            f"{steps} steps each on {data.path.name}, {len(data.classes)} classes, {seeds_text(lab.request.seeds)}. "
            "Where logits hardly differ from image to image, the classifier can learn nothing but the classes' "
            f"frequencies, and the loss stays at ln(classes), {chance:.2f} here and 6.91 with 1,000 classes."
        ),
        findings=tuple(findings),
        configuration=(
            *(f"{name}: {starts[name].summary}" for name in names),
            f"batches of {starts['source'].training.batch_size}, {lab.request.precision}",
        ),
        facts={"starts": {n: {str(s): each for s, each in seeds.items()} for n, seeds in found.items()}, "ln": chance},
    )


def measure(lab: Lab, recipe: Recipe, name: str, data: PreparedDataset, seed: int, steps: int) -> dict[str, Any]:
    """Signal and gradient of every layer on the first batch, and the loss of every step."""
    model, optimizer = new_network(recipe, data, seed, lab.request.precision)
    training = recipe.training
    step = TrainingStep(
        model, optimizer, tf.distribute.get_strategy(), seed=seed, batch_size=training.batch_size,
        scaled=lab.request.precision == "mixed_float16",
    )  # fmt: skip
    batches = batches_of(data, recipe, seed)
    images, labels = next(batches)
    signal = [
        asdict(layer) | {"update_ratio": layer.update_ratio} for layer in measure_signal(model, recipe, images, labels)
    ]
    losses = []
    with lab.watcher.progress(f"{name}, seed {seed}", steps, "steps") as advance:
        for number in range(steps):
            losses.append(step(images, labels, number).loss)
            images, labels = next(batches)
            advance(1, text=f"loss {losses[-1]:.3f}")
    return {"signal": signal, "losses": losses}


def batches_of(data: PreparedDataset, recipe: Recipe, seed: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Training batches without end."""
    epoch = 0
    while True:
        yield from training_batches(
            data,
            recipe.augmentation,
            batch_size=recipe.training.batch_size,
            crop_size=recipe.network.input_size,
            seed=seed,
            epoch=epoch,
        )
        epoch += 1


def smoothed(losses: list[float]) -> list[float]:
    """Each loss averaged with those of the steps before it."""
    return [float(np.mean(losses[max(0, end - SMOOTH) : end])) for end in range(1, len(losses) + 1)]


def steps_to_leave(losses: list[float], chance: float) -> int | None:
    """The first step whose averaged loss is below ln(classes) by more than LEFT; None if there is none."""
    averaged = smoothed(losses)
    return next((n for n, loss in enumerate(averaged) if n >= SMOOTH and loss < chance - LEFT), None)


def draw(outcome: Outcome, path: Path) -> None:
    """Left the spread over images, layer by layer; middle the first update's size; right the loss."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    spread, update, loss = figure.subplots(1, 3)
    for (name, seeds), color in zip(outcome.facts["starts"].items(), SERIES, strict=False):
        for number, each in enumerate(seeds.values()):
            options = {"color": color, "alpha": 1.0 if number == 0 else 0.4, "lw": 1.4}
            layers = [layer["name"] for layer in each["signal"]]
            label = None if number else name
            spread.plot(layers, [max(x["spread"], 1e-9) for x in each["signal"]], "o-", ms=3, label=label, **options)
            update.plot(layers, [max(x["update_ratio"], 1e-12) for x in each["signal"]], "o-", ms=3, **options)
            loss.plot(smoothed(each["losses"]), **options)
    loss.axhline(outcome.facts["ln"], color=QUIET, lw=0.8, ls=":")
    loss.text(1, outcome.facts["ln"], "ln(classes)", color=QUIET, fontsize=8, va="top")
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
