"""Train a network: what `alexnet train` and Python programs call. `resume.py` goes on with what was begun."""

from __future__ import annotations  # so that help() shows them as they are written

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import keras

from alexnet_keras.backend import require_tensorflow, tensor_float_32
from alexnet_keras.data.dataset import PreparedDataset, open_locked
from alexnet_keras.data.image_cache import cached
from alexnet_keras.errors import DataError, UsageError, plain_number, whole_number
from alexnet_keras.recipes import toml
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.recipes.toml import format_overrides
from alexnet_keras.reporter import WARNINGS, Reporter
from alexnet_keras.runs import Run, check_new, new_run_path
from alexnet_keras.storage.places import check_name, runs_root
from alexnet_keras.training import PRECISIONS
from alexnet_keras.training.chosen_recipe import chosen_recipe, warn_of_few_images
from alexnet_keras.training.cluster import Cluster
from alexnet_keras.training.launch import joined, new_trainer, placed
from alexnet_keras.training.start import InitialWeights, warn_of_other_arithmetic


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
    reporter: Reporter = WARNINGS,
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
            proportion, but for those among `changes`. None for the recipe's.
        scale_lr: Scale the learning rates in proportion to `batch_size`.
        patience: End after this many epochs without a new lowest validation error; None for the recipe's, which is
            never.
        class_weights: `"balanced"` to let every class count alike in the loss, however many images it has; None for
            the recipe's, which is `"none"`.
        init_from: Another run, whose best weights this one starts from, layer by layer where name and shape agree (of
            the classifier also the classes); or `InitialWeights`, to take its last weights or its first layers only.
        freeze: Layers that keep their weights, as names and ranges: `"conv1..conv5,fc7"`.
        rate_factors: Factors for the learning rates of layers: `{"conv1..conv5": 0.1}`.
        seed: The seed of weights, order, crops, noise and dropout.
        precision: A Keras dtype policy: float32, mixed_bfloat16 or mixed_float16.
        tf32: Let NVIDIA's GPUs round the inputs of float32 products to TF32, as TensorFlow does by default. Elsewhere
            it changes nothing.
        deterministic: On the same machine and devices give the same bits, also after `resume`; may be slower, and
            holds for all that the process computes from then on.
        gpus: The number of GPUs; None for one if there is one. Logical CPU devices stand in for missing ones.
        strategy: one, towers, mirrored or multi-worker; None for one device, towers for 2 GPUs, mirrored for more.
        strict_devices: Raise if GPUs are missing; unless `gpus` is 0, also if there is none.
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
    require_tensorflow("Training")
    if precision not in PRECISIONS:
        raise UsageError(f"There is no precision {precision!r}: choose {', '.join(PRECISIONS)}.")
    seed = whole_number("seed", seed, 0, UsageError)
    gpus, save_every = plain_number(gpus), plain_number(save_every)
    with ExitStack() as held:
        cluster = joined(cluster, strategy, reporter)
        dataset = held.enter_context(open_locked(data, reporter))

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
                "save_every": save_every,
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
        placement = placed(chosen, gpus, strategy, strict_devices, cluster, reporter)
        trainer = new_trainer(new, chosen, dataset, placement, entries, save_every, callbacks, reporter)
        trainer.data = cached(dataset, cache, cache_dir, reporter)
        entries |= {"strategy": placement.kind, "devices": list(placement.devices)}
        if cluster.is_chief:
            Run.create(new.path, chosen, entries)
        with tensor_float_32(entries["tf32"]):
            trainer.fit()
    return new


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
