"""Resume a training, or extend one that has finished: what `alexnet train --resume` and Python programs call."""

from __future__ import annotations  # so that help() shows them as they are written

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import keras

from alexnet_keras.backend import require_tensorflow, tensor_float_32
from alexnet_keras.data.dataset import PreparedDataset, find_prepared, open_locked
from alexnet_keras.data.image_cache import cached
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.machine import environment
from alexnet_keras.recipes import toml
from alexnet_keras.recipes.edits import edit
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.reporter import WARNINGS, Reporter
from alexnet_keras.runs import IMPORTED, Run, as_run, check_classes
from alexnet_keras.storage.places import command
from alexnet_keras.training.checkpoint import saved_states
from alexnet_keras.training.cluster import Cluster
from alexnet_keras.training.launch import joined, new_trainer, placed
from alexnet_keras.training.schedule import rate_periods, would_end

MOST_PERIODS = 4  # of the learning rate, that a note names


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
    reporter: Reporter = WARNINGS,
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
        strict_devices: Raise if GPUs are missing; unless `gpus` is 0, also if there is none.
        save_every: Also save the state after every `save_every` steps, not only after every epoch; None as the run
            began.
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
        UsageError: There is no such run, it was imported or published, it has trained as many epochs or stalled, or
            there is no room for the cache.
        DataError: No saved state is left or can be read, or the dataset has changed.
        DivergedError, AlexNetError, KeyboardInterrupt: As in `train`.
    """
    require_tensorflow("Training")
    with ExitStack() as held:
        cluster = joined(cluster, strategy, reporter)

        def find() -> dict[str, Any]:
            begun = as_run(run, reporter)
            if begun.status == IMPORTED:
                raise UsageError(
                    f"The run {begun.path} was imported and has no training to resume: start a new run from its "
                    f"weights with `{begin_from(begun)}`."
                )
            if begun.facts["data"].get("path") is None:
                copy = command("import", begun.path, "--run", f"{begun.name}-imported")
                raise UsageError(
                    f"The run {begun.path} was published, without what a training resumes from: `{copy}` makes a run "
                    "of it, from whose weights another can start."
                )
            if begun.model_path.exists() and not saved_states(begun.states_path):
                raise DataError(
                    f"The run {begun.path} has no saved state any more, so it cannot be resumed: start a new run from "
                    f"its weights with `{begin_from(begun)}`."
                )
            with begun.training_lock():  # another process trains it: refused before anything else is said
                pass
            longer = begun.recipe if epochs is None else _extended(begun, epochs)
            return {"recipe": toml.to_dict(longer), "path": str(begun.path), "entries": begun.facts}

        sent = cluster.from_chief(find)
        old, recipe, entries = Run(Path(sent["path"])), toml.from_dict(sent["recipe"]), sent["entries"]
        dataset = held.enter_context(open_locked(find_prepared(entries["data"], old.path) if data is None else data))
        now = _entries_of_data(old, entries, dataset, data is not None, accept_new_data, reporter)
        if gpus is None and strategy in (None, "multi-worker") and cluster.is_alone:
            gpus = entries["gpus"]
            strategy = None if entries["strategy"] == "multi-worker" else entries["strategy"]  # its cluster is gone
        placement = placed(recipe, gpus, strategy, strict_devices, cluster, reporter)
        save_every = entries.get("save_every") if save_every is None else save_every
        trainer = new_trainer(old, recipe, dataset, placement, entries, save_every, callbacks, reporter)
        trainer.data = cached(dataset, cache, cache_dir, reporter)

        def record(step: int, goes_on: bool) -> None:
            if epochs is not None and epochs != old.recipe.training.epochs:  # by now, as the run is locked
                _extend(old, recipe, reporter)
            now_on = {"strategy": placement.kind, "devices": list(placement.devices), "environment": environment()}
            old.record_resumption(step, {"data": now, **now_on}, goes_on)

        with tensor_float_32(entries.get("tf32", True)):
            trainer.fit(resume=True, restored=record)
    return old


def _extended(run: Run, epochs: int) -> Recipe:
    """The recipe of a run with another number of epochs.

    Raises:
        UsageError: The run has trained as many already, or its recipe ended it early.
    """
    if epochs <= (trained := len(run.history)):
        raise UsageError(f"The run {run.path} has trained {trained} epochs: --epochs takes more than that.")
    longer = edit(run.recipe, {"training.epochs": epochs})
    if would_end(longer.training, run.validation_errors):
        raise UsageError(
            f"The validation error of the run {run.path} had stalled after {trained} epochs, and the run would end "
            f"there at any length: start a new run from its weights with `{begin_from(run)}`."
        )
    return longer


def begin_from(run: Run) -> str:
    """The command that begins a new run with a run's weights and recipe, on its data if it has any."""
    path = run.facts.get("data", {}).get("path")
    data = ["--data", path] if path else []
    return command("train", "--init-from", run.called, "--recipe", run.path / "recipe.toml", *data)


def _extend(run: Run, recipe: Recipe, reporter: Reporter) -> None:
    """Give a run a recipe with another number of epochs, and report what its schedule becomes."""
    history, before, epochs = run.history, run.recipe.training.epochs, recipe.training.epochs
    run.write_recipe(recipe)
    extension = {"after": len(history), "from": before, "to": epochs}
    run.update({"last_epochs": len(history), **run.facts, "extended": [*run.facts.get("extended", []), extension]})
    periods = rate_periods(recipe.training, len(history), run.validation_errors, MOST_PERIODS + 1)
    rates = ", ".join(f"{rate:g} in epochs {first} to {last}" for first, last, rate in periods[:MOST_PERIODS])
    reporter.note(
        f"The schedule of {before} epochs is now one of {epochs}. The learning rate of the weights is {rates}"
        + (", and so on." if len(periods) > MOST_PERIODS else ".")
    )


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
    reporter.warn(
        f"the dataset {data.path} is not the one that the run began with; continuing with it. Errors from here on are "
        "of its validation images; the best model, patience and a plateau compare them with those of before."
    )
    return data.facts
