"""The lab that experiments share: options, datasets, networks, and results that are kept.

saved_models/reproductions/
    nets/          the networks, each a run that every other command opens
    figure-1-mini/ an experiment at a scale: parts/, result.json, picture.png, page.md
    figure-1-mini-3f2a1c/ an older result of it, of other data or options, without parts/"""

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from alexnet_keras import api
from alexnet_keras.data.dataset import PreparedDataset, open_locked
from alexnet_keras.errors import DivergedError, UsageError
from alexnet_keras.evaluation.errors import Evaluation
from alexnet_keras.evaluation.predictions import Predictions, predictions_of
from alexnet_keras.recipes import toml
from alexnet_keras.recipes.edits import edit
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.recipes.toml import load_recipe
from alexnet_keras.reporter import SILENT, Reporter
from alexnet_keras.runs import Run
from alexnet_keras.storage.kept import kept_json, made_from
from alexnet_keras.storage.locks import locked
from alexnet_keras.storage.places import good_name, reproductions_root
from alexnet_keras.training.start import InitialWeights

K = TypeVar("K")
T = TypeVar("T")
Scale = Literal["full", "photos", "mini"]
SETTINGS = ("seeds", "pretrain", "only", "epochs", "precision")  # options that decide a result
# The recipe that each scale's variants are derived from, and its epochs; None for the recipe's.
BASES: dict[Scale, tuple[str, int | None]] = {
    "full": ("source", None),
    "photos": ("source", 30),
    "mini": ("quickstart", 20),
}


@dataclass(frozen=True)
class Options:
    """The options of an experiment.

    Attributes:
        scale: "full", the paper's networks for as long; "photos", the paper's networks for a third of its epochs;
            "mini", narrow ones for minutes.
        seeds: Number of repetitions; the seeds are 1, 2, ...
        data: The prepared dataset's, or the source's, name or path; None for the experiment's default.
        pretrain: Prepared datasets to pre-train on, in order.
        only: Parts of the experiment to run, by name; all if empty.
        epochs: Epochs of every network; None for the scale's.
        precision: A Keras dtype policy.
        gpus: The number of GPUs, as in `alexnet train --gpus`.
        cache: Where decoded training images are kept, as in `alexnet train --cache`.
    """

    scale: Scale = "mini"
    seeds: int = 3
    data: str | None = None
    pretrain: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    epochs: int | None = None
    precision: str = "float32"
    gpus: int | None = None
    cache: str | None = None

    def chosen(self, names: list[str]) -> list[str]:
        """The parts to run, in the order of `names`.

        Raises:
            UsageError: `only` names a part that does not exist.
        """
        for name in self.only:
            if name not in names:
                raise UsageError(f"There is no part {name!r} in this experiment: choose {', '.join(names)}.")
        return [name for name in names if not self.only or name in self.only]


@dataclass(frozen=True)
class Lab:
    """An experiment's folder, and what it trains, tests and keeps there.

    Attributes:
        options: The experiment's options.
        folder: Where its results and parts are written.
        reporter: Reports notes and progress.
        nets: Where the networks are.
        holding: Locks on the datasets, held until `reproduce` ends.
        fingerprints: Those of the datasets that were opened.
    """

    options: Options
    folder: Path
    reporter: Reporter = SILENT
    nets: Path = field(default_factory=lambda: reproductions_root() / "nets")
    holding: ExitStack = field(default_factory=ExitStack, repr=False, compare=False)
    fingerprints: set[str] = field(default_factory=set, repr=False, compare=False)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the result: the options, with the fingerprints of the datasets that were opened so far."""
        options = asdict(self.options)
        return {**{name: options[name] for name in SETTINGS}, "fingerprints": sorted(self.fingerprints)}

    @property
    def seeds(self) -> range:
        """The seeds of the repetitions."""
        return range(1, self.options.seeds + 1)

    @cached_property
    def base_recipe(self) -> Recipe:
        """The recipe that variants are derived from: `source`, or in miniature the narrow `quickstart`."""
        name, epochs = BASES[self.options.scale]
        recipe = load_recipe(name)
        return edit(recipe, {"training.epochs": self.options.epochs or epochs or recipe.training.epochs})

    def open(self, name: str | Path | None = None) -> PreparedDataset:
        """Open a dataset, which no other process prepares again as long as the experiment runs.

        Args:
            name: Its name or path; None for that of `--data`, or else the latest.

        Raises:
            UsageError: There is no such dataset.
            AlexNetError: Another process is preparing it.
        """
        data = self.holding.enter_context(open_locked(self.options.data if name is None else name, self.reporter))
        self.fingerprints.add(data.fingerprint)
        return data

    def kept(self, name: str, inputs: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A part of the experiment, computed unless it is kept from the same inputs, all that it depends on."""
        return kept_json(self.part(f"{name}.json", inputs), inputs, compute)

    def part(self, name: str, inputs: dict[str, Any]) -> Path:
        """The file of a part, .json or .npz: its name's, or another where that is of other inputs, and stays."""
        usual = self.folder / "parts" / name
        if made_from(usual) in (None, json.loads(json.dumps(inputs))):
            return usual
        path = usual.with_name(f"{usual.stem}-{_digest(inputs)}{usual.suffix}")
        if not path.exists():
            self.reporter.note(f"{usual} was made with other options or data, and stays: {path.name} is beside it.")
        return path

    def network(
        self, variant: str, recipe: Recipe, data: PreparedDataset, seed: int, initial: InitialWeights | None = None
    ) -> Run:
        """The run of a network, trained or not: its name depends on everything that decides what it learns.

        It begins with the variant's. The seed is that of weights, order, crops, noise and dropout.
        """
        inputs = [
            toml.digest_values(recipe),
            data.fingerprint,
            self.options.precision,
            initial and [initial.run.name, initial.layer],
        ]
        return Run(self.nets / f"{variant}-{good_name(data.path.name)}-{_digest(inputs)}-seed-{seed}")

    def trained(
        self, variant: str, recipe: Recipe, data: PreparedDataset, seed: int, initial: InitialWeights | None = None
    ) -> Run:
        """Train a network, resume one that was interrupted, or return one that is finished.

        Of two processes that need the same network the second waits for the first. The arguments are those of
        `network`.

        Raises:
            DivergedError: The loss became infinite or NaN, now or when it was trained before.
            UsageError: The run was changed since, as by `alexnet train --resume RUN --epochs N`.
            KeyboardInterrupt: The training was asked to stop; the state was saved.
        """
        run = self.network(variant, recipe, data, seed, initial)
        self.nets.mkdir(parents=True, exist_ok=True)
        wait = partial(self.reporter.note, f"Waiting for another process that trains {run.path}.")
        with locked(self.nets / f".{run.path.name}.lock", None, on_wait=wait):
            return self._trained(run, recipe, data, seed, initial)

    def _trained(
        self, run: Run, recipe: Recipe, data: PreparedDataset, seed: int, initial: InitialWeights | None
    ) -> Run:
        if not run.is_there:
            return api.train(
                data,
                recipe,
                run=run.path,
                init_from=initial,
                seed=seed,
                precision=self.options.precision,
                gpus=self.options.gpus,
                cache=self.options.cache,
                reporter=self.reporter,
            )
        own = run.recipe  # the batch is no larger than the training set
        same_batch = edit(recipe, {"training.batch_size": own.training.batch_size})
        if toml.digest_values(own) != toml.digest_values(same_batch):
            raise UsageError(
                f"{run.path} no longer has the recipe that this experiment trains, as after `alexnet train --resume "
                "RUN --epochs N`: move it to another directory, and the same command trains it anew."
            )
        if run.status == "diverged":
            raise DivergedError(f"{run.path} has diverged: to train it anew, remove it and what parts/ holds of it.")
        if run.facts.get("status") != "finished":
            if initial:
                run.update(initial.to_dict())  # version 0.1 did not record the part that is taken
            return api.resume(run, data=data, gpus=self.options.gpus, cache=self.options.cache, reporter=self.reporter)
        self.reporter.note(f"{run.path} is already trained.")
        return run

    def converged(self, names: Iterable[K], train: Callable[[K], T], fewest: int = 1) -> tuple[dict[K, T], str]:
        """Train several networks; a warning is reported for each that diverges.

        Args:
            names: The seeds, or other names, of the networks.
            train: Trains and tests the network of a name.
            fewest: The number that must not diverge.

        Returns:
            What `train` returned for those that did not diverge; and the end of the summary, which names the others.

        Raises:
            DivergedError: Fewer did not.
        """
        found: dict[K, T] = {}
        lost: dict[K, DivergedError] = {}
        for name in names:
            try:
                found[name] = train(name)
            except DivergedError as error:
                self.reporter.warn(str(error))
                lost[name] = error
        if len(found) < fewest:
            raise next(iter(lost.values()))
        return found, f" Left out: {diverged_text(lost)}." if lost else ""

    def predictions(self, run: Run, data: PreparedDataset, split: str, views: str = "ten-crop") -> Predictions:
        """The last model's probabilities for every image of a split, computed once."""
        return predictions_of(run, data, split, views, which="last", reporter=self.reporter)

    def errors(self, run: Run, data: PreparedDataset) -> Evaluation:
        """The last model's errors on val, by ten crops."""
        return self.predictions(run, data, "val").evaluation()


def diverged_text(names: Iterable[Any]) -> str:
    """Names the networks that diverged, seeds by their numbers: "seed 2, seed 3 diverged"; "" if there are none."""
    text = ", ".join(f"seed {name}" if isinstance(name, int) else str(name) for name in names)
    return text and f"{text} diverged"


def _digest(inputs: Any) -> str:
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:6]
