"""Where experiments work: parts that are computed once, networks that several experiments share, datasets and scales.

saved_models/reproductions/
    nets/          the networks, each a run that every other command opens
    figure-1-mini/ an experiment at a scale: parts/, result.json, image.png, page.md"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from alexnet_keras.data.dataset import PreparedDataset, latest_prepared, open_prepared
from alexnet_keras.errors import DAMAGED, UsageError
from alexnet_keras.evaluation.errors import Evaluation
from alexnet_keras.evaluation.predictions import Predictions, predictions_of
from alexnet_keras.recipes import toml
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.recipes.toml import load_recipe
from alexnet_keras.runs import Run
from alexnet_keras.storage.files import write_by_rename
from alexnet_keras.storage.places import good_name, reproductions_root
from alexnet_keras.training.devices import choose_placement
from alexnet_keras.training.observer import Observer
from alexnet_keras.training.trainer import Trainer, TrainingOptions

MINI_EPOCHS = 20  # of a few thousand images


Scale = Literal["full", "mini"]


class Watcher(Protocol):
    """Whoever is shown what goes on."""

    def note(self, text: str) -> None:
        """A line about what is going on."""

    def progress(self, what: str, total: int, unit: str = "images") -> AbstractContextManager[Callable[..., None]]:
        """Gives a function that is called with how much was done since its last call."""

    def training(self, recipe: Recipe, validation_images: int) -> AbstractContextManager[Observer]:
        """Gives an observer for a training run."""

    def stages(self, what: str) -> AbstractContextManager[Callable[[str, int, int], None]]:
        """Gives a function that is told a stage's name, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        scale: "full", the paper's networks for as long; "mini", narrow ones for minutes.
        seeds: How many repetitions.
        data: The prepared dataset's, or the source's, name or path; None for the experiment's default.
        pretrain: Prepared datasets to pre-train on, in order.
        only: Parts of the experiment to run, by name; all if empty.
        epochs: Instead of the scale's; None for those.
        precision: A Keras dtype policy.
        gpus: As `alexnet train` takes it.
    """

    scale: Scale = "mini"
    seeds: int = 3
    data: str | None = None
    pretrain: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    epochs: int | None = None
    precision: str = "float32"
    gpus: int | None = None

    def chosen(self, names: list[str]) -> list[str]:
        """Those of `names` that are to be run, in their order.

        Raises:
            UsageError: `only` names something else.
        """
        for name in self.only:
            if name not in names:
                raise UsageError(f"There is no part {name!r} in this experiment: choose {', '.join(names)}.")
        return [name for name in names if not self.only or name in self.only]


@dataclass(frozen=True)
class Start:
    """Another run's weights in the end, from the image up to a layer, to begin with."""

    run: Run
    layer: str


@dataclass(frozen=True)
class Lab:
    """An experiment's folder, and all it needs to train, measure and remember.

    What it holds, its datasets for one, is held until `reproduce` ends.
    """

    request: Request
    folder: Path
    watcher: Watcher
    nets: Path = field(default_factory=lambda: reproductions_root() / "nets")
    holding: ExitStack = field(default_factory=ExitStack, repr=False, compare=False)

    @property
    def seeds(self) -> range:
        return range(1, self.request.seeds + 1)

    def part(self, name: str, about: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `compute` finds, or found when it was last asked with the same `about`; both as JSON has them."""
        path = self.folder / "parts" / f"{name}.json"
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["about"] == about:
                return kept["found"]
        except DAMAGED:
            pass  # it was never done, or not to its end
        found = compute()
        with write_by_rename(path) as partial:
            partial.write_text(json.dumps({"about": about, "found": found}, indent=1) + "\n", encoding="utf-8")
        return found

    def trained(
        self, variant: str, recipe: Recipe, data: PreparedDataset, seed: int, start: Start | None = None
    ) -> Run:
        """A trained network: one that is there already, one that was interrupted and now goes on, or a new one.

        Args:
            variant: what it is, for its name.
            data: a `PreparedDataset`.

        Raises:
            DivergedError: it left the finite numbers.
            KeyboardInterrupt: the state was saved.
        """
        facts = {
            "recipe": recipe.name,
            "data": data.facts,
            "classes": list(data.classes),
            "seed": seed,
            "precision": self.request.precision,
            "deterministic": False,
            "init_from": start and str(start.run.path.resolve()),
            "gpus": self.request.gpus,
        }
        same = [
            toml.digest_values(recipe),
            data.fingerprint,
            self.request.precision,
            start and [start.run.name, start.layer],
        ]
        digest = hashlib.sha256(json.dumps(same).encode()).hexdigest()[:6]
        run = Run(self.nets / f"{variant}-{good_name(data.path.name)}-{digest}-seed-{seed}")
        if (run.path / "run.json").exists() and run.facts.get("status") == "finished":
            self.watcher.note(f"{run.path} is there.")
            return run
        placement = choose_placement(None, self.request.gpus, towers=recipe.network.towers, strict=False)
        if not (run.path / "run.json").exists():
            Run.create(run.path, recipe, {**facts, "strategy": placement.kind, "devices": list(placement.devices)})
        training = recipe.training
        self.watcher.note(f"Training {run.path}: {training.epochs} epochs of {data.examples('train')} images.")
        options = TrainingOptions(seed, self.request.precision, None, partial(_part_of, start) if start else None)
        with self.watcher.training(recipe, data.examples("val")) as observer:
            Trainer(run, recipe, data, placement, options, observer).fit(resume=True)
        return run

    def predictions(self, run: Run, data: PreparedDataset, split: str, views: str = "ten-crop") -> Predictions:
        """What the network says in the end of every image of a split; computed once."""
        images = data.examples(split)
        with self.watcher.progress(f"evaluating {run.name}", images) as advance:
            return predictions_of(run, data, split, views, which="last", on_progress=advance)

    def errors(self, run: Run, data: PreparedDataset, split: str, views: str = "ten-crop") -> Evaluation:
        """The network's errors on a split in the end."""
        return self.predictions(run, data, split, views).evaluation()


class Silent:
    """A watcher that shows nothing."""

    def note(self, text: str) -> None:
        pass

    @contextmanager
    def progress(self, what: str, total: int, unit: str = "images") -> Iterator[Callable[..., None]]:
        yield lambda number=1, text="": None

    @contextmanager
    def training(self, recipe: Recipe, validation_images: int) -> Iterator[Observer]:
        yield _SilentObserver()

    @contextmanager
    def stages(self, what: str) -> Iterator[Callable[[str, int, int], None]]:
        yield lambda stage, done, total: None


class _SilentObserver:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *values: None


def _part_of(start: Start) -> Any:
    import keras

    model = start.run.load_model("last")
    return keras.Model(model.input, model.get_layer(start.layer).output)


def base_recipe(request: Request) -> Recipe:
    """What the variants of an experiment are derived from: `source`, or in miniature the narrow `quickstart`."""
    if request.scale == "full":
        recipe, epochs = load_recipe("source"), request.epochs
    else:
        recipe, epochs = load_recipe("quickstart"), request.epochs or MINI_EPOCHS
    return with_epochs(recipe, epochs) if epochs else recipe


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe for so many epochs, to which its schedule is scaled."""
    return replace(recipe, training=replace(recipe.training, epochs=epochs))


def chosen_data(lab: Lab) -> PreparedDataset:
    """The one that `--data` names, or the latest.

    Raises:
        UsageError: there is none.
        AlexNetError: another process is preparing it anew.
    """
    return opened(lab, latest_prepared() if lab.request.data is None else lab.request.data)


def opened(lab: Lab, name: str | Path) -> PreparedDataset:
    """A dataset, which no other process prepares anew as long as the experiment runs.

    Raises:
        UsageError: there is none of this name.
        AlexNetError: another process is preparing it anew.
    """
    data = open_prepared(name)
    lab.holding.enter_context(data.reading())
    return open_prepared(data.path)
