"""Where experiments work: parts that are computed once, networks that several experiments share, datasets and scales.

saved_models/reproductions/
    nets/          the networks, each a run that every other command opens
    figure-1-mini/ an experiment at a scale: parts/, result.json, image.png, page.md"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from alexnet_keras import api
from alexnet_keras.data.dataset import PreparedDataset, latest_prepared, open_prepared
from alexnet_keras.errors import DAMAGED, UsageError
from alexnet_keras.evaluation.errors import Evaluation
from alexnet_keras.evaluation.predictions import Predictions, predictions_of
from alexnet_keras.recipes import toml
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.recipes.toml import load_recipe
from alexnet_keras.reporter import Reporter
from alexnet_keras.runs import Run
from alexnet_keras.storage.files import write_by_rename
from alexnet_keras.storage.places import good_name, reproductions_root
from alexnet_keras.training.start import InitialWeights

MINI_EPOCHS = 20  # of a few thousand images


Scale = Literal["full", "mini"]


class Watcher(Reporter):
    """Reports an experiment: a reporter that also shows stages. By itself it shows nothing."""

    @contextmanager
    def stages(self, what: str) -> Iterator[Callable[[str, int, int], None]]:
        """Gives a function that is called with a stage's name, how much of it is done, and how much there is."""
        yield lambda stage, done, total: None


Silent = Watcher


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
        """Return a trained network: a finished one, an interrupted one that is resumed, or a new one.

        Args:
            variant: The name of the network's variant, for the name of its run.
            recipe: The recipe.
            data: The dataset.
            seed: The seed of weights, order, crops, noise and dropout.
            start: The weights to start from; None for new ones.

        Raises:
            DivergedError: The loss became infinite or NaN.
            KeyboardInterrupt: The training was asked to stop; the state was saved.
        """
        same = [
            toml.chosen(recipe),
            data.fingerprint,
            self.request.precision,
            start and [start.run.name, start.layer],
        ]
        digest = hashlib.sha256(json.dumps(same).encode()).hexdigest()[:6]
        run = Run(self.nets / f"{variant}-{good_name(data.path.name)}-{digest}-seed-{seed}")
        initial = InitialWeights(start.run, "last", start.layer) if start else None
        if not (run.path / "run.json").exists():
            return api.train(
                data,
                recipe,
                run=run.path,
                init_from=initial,
                seed=seed,
                precision=self.request.precision,
                gpus=self.request.gpus,
                reporter=self.watcher,
            )
        if run.facts.get("status") != "finished":
            if initial:
                run.update(initial.to_dict())  # version 0.1 did not record the part that is taken
            return api.resume(run, data=data, gpus=self.request.gpus, reporter=self.watcher)
        self.watcher.note(f"{run.path} is there.")
        return run

    def predictions(self, run: Run, data: PreparedDataset, split: str, views: str = "ten-crop") -> Predictions:
        """What the network says in the end of every image of a split; computed once."""
        images = data.examples(split)
        with self.watcher.progress(f"evaluating {run.name}", images) as advance:
            return predictions_of(run, data, split, views, which="last", on_progress=advance)

    def errors(self, run: Run, data: PreparedDataset, split: str, views: str = "ten-crop") -> Evaluation:
        """The network's errors on a split in the end."""
        return self.predictions(run, data, split, views).evaluation()


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
