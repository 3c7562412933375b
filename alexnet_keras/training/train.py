"""Train a network, or resume a training: the functions that `alexnet train` and Python programs call."""

from __future__ import annotations  # so that help() shows them as they are written

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from alexnet_keras.backend import tensor_float_32
from alexnet_keras.data.dataset import PreparedDataset, find_prepared, latest_prepared, open_locked
from alexnet_keras.data.image_cache import cached
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.recipes import toml
from alexnet_keras.recipes.edits import edit, frozen_layers
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.recipes.toml import format_overrides
from alexnet_keras.reporter import SILENT, Reporter
from alexnet_keras.runs import IMPORTED, Run, check_classes, check_new, environment, latest_run, new_run_path
from alexnet_keras.storage.places import check_name, runs_root
from alexnet_keras.storage.places import command as command_line
from alexnet_keras.training import PRECISIONS
from alexnet_keras.training.chosen_recipe import chosen_recipe, warn_of_few_images
from alexnet_keras.training.cluster import ALONE, Cluster, join_cluster
from alexnet_keras.training.devices import Placement, choose_placement
from alexnet_keras.training.schedule import has_stalled, rate_periods
from alexnet_keras.training.start import InitialWeights, warn_of_other_arithmetic
from alexnet_keras.training.trainer import Trainer

MOST_PERIODS = 4  # of the learning rate, that a note names


def train(
    data: PreparedDataset | str | Path | None = None,
    recipe: Recipe | str | Path | None = None,
    *,
    run: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    scale_lr: bool = False,
    patience: int | None = None,
    class_weights: str | None = None,
    init_from: InitialWeights | Run | str | Path | None = None,
    freeze: str | None = None,
    rate_factors: Mapping[str, float] | None = None,
    seed: int = 0,
    precision: str = "float32",
    tf32: bool = True,
    deterministic: bool = False,
    gpus: int | None = None,
    strategy: str | None = None,
    strict_devices: bool = False,
    save_every: int | None = None,
    cache: str | None = None,
    cache_dir: str | Path | None = None,
    cluster: Cluster | None = None,
    command: Sequence[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    reporter: Reporter = SILENT,
) -> Run:
    """Train AlexNet on a prepared dataset.

    Every epoch ends with the validation error; the run keeps the best and the last model. Ctrl-C, SIGTERM and SIGHUP
    save the state first, and `resume` continues from it.

        from alexnet_keras import train

        run = train("data/flowers", "source", epochs=40, changes={"training.weight_rate": 0.005})
        model = run.load_model()

    Args:
        data: A prepared dataset, by name under data/ or by path; None for the latest.
        recipe: A recipe, its name, or a TOML file; None for `source`, and `quickstart` on the demo data.
        run: The name of the new run under saved_models/, or a `Path` for its directory; None for RECIPE-DATASET.
        changes: New values for fields of the recipe: `{"network.conv3.initial_std": 0.02}`.
        epochs: The number of epochs, to which the schedule is scaled; None for the recipe's.
        batch_size: Images per step, over all devices and machines; None for the recipe's. It is reduced to the number
            of training images where they are fewer.
        learning_rate: The learning rate of the weights at the start, above 0; the recipe's other rates change in
            proportion. None for the recipe's.
        scale_lr: Scale the learning rates in proportion to `batch_size`.
        patience: End after this many epochs without a new lowest validation error; None for the recipe's, which is
            never.
        class_weights: `"balanced"` to let every class count alike in the loss, however many images it has; None for
            the recipe's, which is `"none"`.
        init_from: Another run, whose best weights this one starts from, layer by layer where name and shape agree; or
            `InitialWeights`, to take its last weights or its first layers only.
        freeze: Layers that keep their weights, as names and ranges: `"conv1..conv5,fc7"`.
        rate_factors: Factors for the learning rates of layers: `{"conv1..conv5": 0.1}`.
        seed: The seed of weights, order, crops, noise and dropout.
        precision: A Keras dtype policy: float32, mixed_bfloat16 or mixed_float16.
        tf32: Let NVIDIA's GPUs round the inputs of float32 products to TF32, as TensorFlow does by default. Elsewhere
            it changes nothing.
        deterministic: On the same machine and devices give the same bits, also after `resume`; may be slower.
        gpus: The number of GPUs; None for one if there is one. Logical CPU devices stand in for missing ones.
        strategy: one, towers, mirrored or multi-worker; None for one device, towers for 2 GPUs, mirrored for more.
        strict_devices: Raise if GPUs are missing.
        save_every: Also save the state after every `save_every` steps, not only after every epoch.
        cache: Where the decoded training images are kept, 196,608 bytes each, so that no epoch decodes them again:
            `"memory"`, or `"disk"` for a file that later runs use as well; None: nowhere. The batches are the same.
        cache_dir: The directory of that file, best on a local disk; None for the dataset's.
        cluster: The workers that train together, as `training.cluster.join_cluster` returns them; None joins those of
            TF_CONFIG or SLURM for the strategy multi-worker.
        command: Further options of the command line, recorded in run.json after data, recipe, run and initial weights
            as they were resolved; None for a run that no command made.
        callbacks: Keras callbacks, called as `fit` calls them; the chief's alone in a cluster. What one of them raises
            ends the run, with its state saved. A stop by `model.stop_training` at the end of an epoch finishes the run;
            one within an epoch saves the state and leaves the run interrupted. The rates are the recipe's: what a
            callback sets lasts until the epoch ends.
        reporter: Receives notes, warnings, and the events of the training.

    Returns:
        The run, finished or stopped by a callback. In a worker that is not the chief: the chief's, which this machine
        may not have.

    Raises:
        UsageError: An argument is wrong, the run exists, or there is no room for the cache.
        DataError: The dataset or the weights to start from are damaged.
        DivergedError: The loss became infinite or NaN; the run keeps its last good state.
        AlexNetError: A batch does not fit into memory, or another process trains the run.
        KeyboardInterrupt: The training was asked to stop; the state was saved.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"There is no precision {precision!r}: choose {', '.join(PRECISIONS)}.")
    with ExitStack() as held:
        cluster = _joined(cluster, strategy, reporter)
        dataset = _opened(data, held, reporter)

        def begin() -> dict[str, Any]:
            chosen, made = chosen_recipe(
                recipe,
                dataset,
                changes,
                {
                    "training.epochs": epochs,
                    "training.batch_size": batch_size,
                    "training.patience": patience,
                    "training.class_weights": class_weights,
                },
                learning_rate,
                scale_lr,
                freeze,
                rate_factors,
                reporter,
            )
            initial = _initial_weights(init_from)
            if initial is None:
                warn_of_few_images(chosen, dataset, reporter)
            else:
                warn_of_other_arithmetic(chosen, initial, reporter)
            if run is None:
                path = new_run_path(chosen.name, dataset.path.name)  # made at once, so that the name is taken
            else:
                path = runs_root() / check_name(run, "--run") if isinstance(run, str) else run
                check_new(path)
            held.callback(_remove_if_empty, path)
            entries = {
                "recipe": chosen.name,
                "overrides": format_overrides(made),
                "data": dataset.facts,
                "classes": list(dataset.classes),
                "seed": seed,
                "precision": precision,
                "tf32": tf32,
                "deterministic": deterministic,
                "init_from": None,
                **(initial.to_dict() if initial else {}),
                "gpus": gpus,
                "command": None,
                "status": "running",
            }
            if command is not None:
                name = str(recipe) if isinstance(recipe, str | Path) else chosen.name
                words = ["alexnet", "train", "--data", str(dataset.path), "--run", path.name]
                words += ["--recipe", name, *(["--init-from", initial.run.called] if initial else [])]
                entries["command"] = [*words, *command]
            return {"recipe": toml.to_dict(chosen), "path": str(path), "entries": entries}

        sent = cluster.from_chief(begin)
        new, chosen, entries = Run(Path(sent["path"])), toml.from_dict(sent["recipe"]), sent["entries"]
        if dataset.fingerprint != entries["data"]["fingerprint"]:
            raise DataError(f"The dataset {dataset.path} of this worker is not the one that the chief has.")
        placement = _placement(chosen, gpus, strategy, strict_devices, cluster, reporter)
        dataset = cached(dataset, cache, cache_dir, reporter)
        trainer = _trainer(new, chosen, dataset, placement, entries, save_every, callbacks, reporter)
        entries |= {"strategy": placement.kind, "devices": list(placement.devices)}
        if cluster.is_chief:
            Run.create(new.path, chosen, entries)
        with tensor_float_32(entries["tf32"]):
            trainer.fit()
    return new


def resume(
    run: Run | str | Path | None = None,
    *,
    data: PreparedDataset | str | Path | None = None,
    gpus: int | None = None,
    strategy: str | None = None,
    strict_devices: bool = False,
    save_every: int | None = None,
    cache: str | None = None,
    cache_dir: str | Path | None = None,
    accept_new_data: bool = False,
    epochs: int | None = None,
    cluster: Cluster | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    reporter: Reporter = SILENT,
) -> Run:
    """Resume a training from its last saved state, or extend one that has finished.

    The run ends as if it had never stopped: with `deterministic=True` with the same bits, on the same machine and
    devices. Other devices may be chosen. A run that a callback stopped goes on; one that has reached the end of its
    schedule is left as it is, unless it gets more epochs.

        from alexnet_keras import resume

        resume("source-flowers", gpus=2)
        resume("source-flowers", epochs=120)

    Args:
        run: The run, by name under saved_models/ or by path; None for the latest.
        data: The dataset, by name or path, if it was moved; None for the one that the run began with.
        gpus: As in `train`; with `strategy` None, too, both are the run's.
        strategy: As in `train`.
        strict_devices: Raise if GPUs are missing.
        save_every: Also save the state after every `save_every` steps, not only after every epoch.
        cache: As in `train`; a run does not record it.
        cache_dir: As in `train`; a run does not record it.
        accept_new_data: Continue although the dataset has changed since the run began.
        epochs: The new number of epochs of the whole run, more than it has trained. The schedule is scaled to it from
            here on: the coming epochs have the rates that they would have in a run of that length.
        cluster: As in `train`.
        callbacks: As in `train`.
        reporter: Receives notes, warnings, and the events of the training.

    Returns:
        The run, finished or stopped by a callback.

    Raises:
        UsageError: There is no such run, it was imported, it has trained as many epochs or stalled, or there is no room
            for the cache.
        DataError: No saved state can be read, or the dataset has changed.
        DivergedError, AlexNetError, KeyboardInterrupt: As in `train`.
    """
    with ExitStack() as held:
        cluster = _joined(cluster, strategy, reporter)

        def find() -> dict[str, Any]:
            if run is None:
                begun = latest_run()
                reporter.note(f"Using the latest run: {begun.path}")
            else:
                begun = run if isinstance(run, Run) else Run.load(run)
            if begun.status == IMPORTED:
                raise UsageError(
                    f"The run {begun.path} was imported and has no training to resume: start a new run from its "
                    f"weights with `{begin_from(begun)}`."
                )
            longer = begun.recipe if epochs is None else _extended(begun, epochs)
            return {"recipe": toml.to_dict(longer), "path": str(begun.path), "entries": begun.facts}

        sent = cluster.from_chief(find)
        old, recipe, entries = Run(Path(sent["path"])), toml.from_dict(sent["recipe"]), sent["entries"]
        dataset = _opened(find_prepared(entries["data"], old.path) if data is None else data, held, reporter)
        now = _entries_of_data(old, entries, dataset, data is not None, accept_new_data, reporter)
        if gpus is None and strategy in (None, "multi-worker") and cluster.is_alone:
            gpus = entries["gpus"]
            strategy = None if entries["strategy"] == "multi-worker" else entries["strategy"]  # its cluster is gone
        placement = _placement(recipe, gpus, strategy, strict_devices, cluster, reporter)
        dataset = cached(dataset, cache, cache_dir, reporter)
        trainer = _trainer(old, recipe, dataset, placement, entries, save_every, callbacks, reporter)
        if cluster.is_chief and recipe.training.epochs != old.recipe.training.epochs:
            _extend(old, recipe, reporter)
        with tensor_float_32(entries.get("tf32", True)):
            now_on = {"strategy": placement.kind, "devices": list(placement.devices), "environment": environment()}
            trainer.fit(resume=True, now={"data": now, **now_on} if cluster.is_chief else None)
    return old


def _extended(run: Run, epochs: int) -> Recipe:
    """The recipe of a run with another number of epochs.

    Raises:
        UsageError: The run has trained as many already, or its recipe ended it early.
    """
    if epochs <= (trained := len(run.history)):
        raise UsageError(f"The run {run.path} has trained {trained} epochs: --epochs takes more than that.")
    longer = edit(run.recipe, {"training.epochs": epochs})
    if has_stalled(longer.training, run.validation_errors):
        raise UsageError(
            f"The run {run.path} ended after {trained} epochs because its validation error had stalled, and would end "
            f"there at any length: start a new run from its weights with `{begin_from(run)}`."
        )
    return longer


def begin_from(run: Run) -> str:
    """The command that begins a new run with a run's weights and recipe, on its data if it has any."""
    path = run.facts.get("data", {}).get("path")
    data = ["--data", path] if path else []
    return command_line("train", "--init-from", run.called, "--recipe", run.path / "recipe.toml", *data)


def _extend(run: Run, recipe: Recipe, reporter: Reporter) -> None:
    """Give a run a recipe with another number of epochs, and report what its schedule becomes.

    Raises:
        AlexNetError: Another process trains it.
    """
    history, before, epochs = run.history, run.recipe.training.epochs, recipe.training.epochs
    with run.training_lock():
        run.write_recipe(recipe)
        extension = {"after": len(history), "from": before, "to": epochs}
        run.update({"last_epochs": len(history), **run.facts, "extended": [*run.facts.get("extended", []), extension]})
    periods = rate_periods(recipe.training, len(history), run.validation_errors)
    rates = ", ".join(f"{rate:g} in epochs {first} to {last}" for first, last, rate in periods[:MOST_PERIODS])
    reporter.note(
        f"The schedule of {before} epochs is now one of {epochs}. The learning rate of the weights is {rates}"
        + (", and so on." if len(periods) > MOST_PERIODS else ".")
    )


def _joined(cluster: Cluster | None, strategy: str | None, reporter: Reporter) -> Cluster:
    if cluster is None and strategy == "multi-worker":
        return join_cluster(strategy, reporter=reporter)
    return cluster or ALONE


def _opened(data: PreparedDataset | str | Path | None, held: ExitStack, reporter: Reporter) -> PreparedDataset:
    """The dataset, or the latest one, locked against another preparation as long as `held` is open."""
    if data is None:
        data = latest_prepared()
        reporter.note(f"Using the latest prepared dataset: {data}")
    return held.enter_context(open_locked(data))


def _remove_if_empty(path: Path) -> None:
    """Frees the name of a run that did not begin."""
    with suppress(OSError):
        path.rmdir()


def _initial_weights(init_from: InitialWeights | Run | str | Path | None) -> InitialWeights | None:
    if init_from is None:
        return None
    if isinstance(init_from, str | Path):
        init_from = Run.load(init_from)
    initial = init_from if isinstance(init_from, InitialWeights) else InitialWeights(init_from)
    initial.run.path_of_model(initial.which)  # raises where the run has none yet
    return initial


def _entries_of_data(
    run: Run, entries: dict[str, Any], data: PreparedDataset, moved: bool, accept_new: bool, reporter: Reporter
) -> dict[str, Any]:
    """The entry of the data in run.json from now on.

    Raises:
        DataError: Its classes are others, or it has changed and that was not accepted.
    """
    before = entries["data"]
    check_classes(run, entries["classes"], data.classes, data.path)
    if data.fingerprint == before["fingerprint"]:
        return {**before, "path": str(data.path)} if moved else before
    if not accept_new:
        raise DataError(
            f"The dataset {data.path} has changed since the run {run.path} began (its fingerprint was "
            f"{before['fingerprint'][:12]} and is {data.fingerprint[:12]}): bring the old one back, or continue "
            "with --accept-new-data."
        )
    reporter.warn(f"the dataset {data.path} is not the one that the run began with; continuing with it.")
    return data.facts


def _placement(
    recipe: Recipe, gpus: int | None, strategy: str | None, strict: bool, cluster: Cluster, reporter: Reporter
) -> Placement:
    if strategy == "multi-worker":
        strategy = None  # the cluster decides, and its only worker trains alone
    placement = choose_placement(strategy, gpus, towers=recipe.network.towers, strict=strict, cluster=cluster)
    if placement.warning:
        reporter.warn(placement.warning)
    return placement


def _trainer(
    run: Run,
    recipe: Recipe,
    data: PreparedDataset,
    placement: Placement,
    entries: dict[str, Any],
    save_every: int | None,
    callbacks: Sequence[keras.callbacks.Callback],
    reporter: Reporter,
) -> Trainer:
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
        initial=initial.load if initial else None,
        callbacks=callbacks if is_chief else (),
        reporter=reporter if is_chief else _WarningsOnly(reporter),
    )


class _WarningsOnly(Reporter):
    """Passes warnings on, and nothing else: of a training, only the chief shows the progress."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    def warn(self, text: str) -> None:
        self.reporter.warn(text)
