"""What a new training and a resumed one have in common: the cluster, the data, the devices and the trainer."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.recipes.edits import frozen_layers
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.reporter import Reporter
from alexnet_keras.runs import Run
from alexnet_keras.training.cluster import ALONE, Cluster, join_cluster
from alexnet_keras.training.devices import Placement, choose_placement
from alexnet_keras.training.start import InitialWeights
from alexnet_keras.training.trainer import Trainer


def joined(cluster: Cluster | None, strategy: str | None, reporter: Reporter) -> Cluster:
    """The cluster that was given, or for the strategy multi-worker that of the environment; else this process alone."""
    if cluster is None and strategy == "multi-worker":
        return join_cluster(strategy, reporter=reporter)
    return cluster or ALONE


def placed(
    recipe: Recipe, gpus: int | None, strategy: str | None, strict: bool, cluster: Cluster, reporter: Reporter
) -> Placement:
    """The devices; a warning says where they are not those that were asked for."""
    if strategy == "multi-worker":
        strategy = None  # the cluster decides, and its only worker trains alone
    placement = choose_placement(strategy, gpus, towers=recipe.network.towers, strict=strict, cluster=cluster)
    if placement.warning:
        reporter.warn(placement.warning)
    return placement


def new_trainer(
    run: Run,
    recipe: Recipe,
    data: PreparedDataset,
    placement: Placement,
    entries: dict[str, Any],
    save_every: int | None,
    callbacks: Sequence[keras.callbacks.Callback],
    reporter: Reporter,
) -> Trainer:
    """The trainer of a run, described in a note. `entries` are those of run.json."""
    if entries["deterministic"]:
        tf.config.experimental.enable_op_determinism()
    if entries["precision"] == "mixed_float16" and not placement.on_gpus:
        reporter.warn("a processor computes float16 dozens of times slower than float32; mixed_bfloat16 is fast there.")
    initial, training = InitialWeights.from_dict(entries), recipe.training
    workers = f" of each of {len(placement.cluster.workers)} workers" if placement.kind == "multi-worker" else ""
    frozen = frozen_layers(recipe.network)
    precision = entries["precision"]
    if placement.on_gpus and precision == "float32":
        precision += " with products in TF32 (--no-tf32: in float32)" if entries.get("tf32", True) else " without TF32"
    reporter.note(
        f"Training {run.path}: recipe {recipe.name}, {data.examples('train')} images of {len(data.classes)} classes "
        f"from {data.path}, {training.epochs} epochs of batches of {training.batch_size}, {precision}, "
        f"{placement.kind} on {', '.join(placement.devices)}{workers}, seed {entries['seed']}"
        + (f"; frozen: {', '.join(frozen)}." if frozen else ".")
    )
    is_chief = placement.cluster.is_chief
    return Trainer(
        run if is_chief else None,
        recipe,
        data,
        placement,
        seed=entries["seed"],
        precision=entries["precision"],
        save_every=save_every,
        initial=partial(initial.copy_into, classes=data.classes) if initial else None,
        callbacks=callbacks if is_chief else (),
        reporter=reporter if is_chief else _WarningsOnly(reporter),
    )


class _WarningsOnly(Reporter):
    """Passes warnings on, and nothing else: of a training, only the chief shows the progress."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    def warn(self, text: str) -> None:
        self.reporter.warn(text)
