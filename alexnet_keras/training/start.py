"""The start of a training: a new network, the weights of another run, or the run's own last state.

In a cluster the chief reads the files, and every worker gets what it read.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from alexnet_keras.data.class_names import numbered
from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.network.model import AlexNet
from alexnet_keras.recipes.edits import arithmetic_differences, other_arithmetic
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.reporter import SILENT, Reporter
from alexnet_keras.runs import Run
from alexnet_keras.storage.places import argument
from alexnet_keras.training.checkpoint import Position, State, check_same, newest_state, shapes_of, state_variables
from alexnet_keras.training.cluster import Cluster
from alexnet_keras.training.optimizer import AlexNetSGD, new_optimizer


@dataclass(frozen=True)
class InitialWeights:
    """The weights of another run that a run starts from.

    Attributes:
        run: The other run.
        which: Its `"best"` or `"last"` model.
        layer: The last layer that is taken, from the image on; None for all layers.
    """

    run: Run
    which: str = "best"
    layer: str | None = None

    def load(self) -> keras.Model:
        """Load the model, up to `layer`."""
        model = self.run.load_model(self.which)
        return model if self.layer is None else keras.Model(model.input, model.get_layer(self.layer).output)

    def copy_into(self, model: keras.Model, classes: Sequence[str]) -> "list[LayerOrigin]":
        """Copy the weights into a model for these classes, but those of the classifier where the classes are others.

        Classes of an imported run that have no names count as the same.
        """
        theirs = tuple(self.run.facts.get("classes", ()))
        others = theirs not in (tuple(classes), numbered(len(theirs)))
        return copy_layers(model, self.load(), "its classes are others" if others else None)

    def to_dict(self) -> dict[str, Any]:
        """The entries of run.json from which `from_dict` makes the object again."""
        entries: dict[str, Any] = {"init_from": str(self.run.path.resolve())}
        if (self.which, self.layer) != ("best", None):
            entries["init_part"] = {"model": self.which, "layer": self.layer}
        return entries

    @classmethod
    def from_dict(cls, entries: dict[str, Any]) -> "InitialWeights | None":
        """The initial weights that run.json names; None for a run that started from new ones."""
        if not entries.get("init_from"):
            return None
        part = entries.get("init_part", {})
        return cls(Run(Path(entries["init_from"])), part.get("model", "best"), part.get("layer"))


@dataclass(frozen=True)
class LayerOrigin:
    """The origin of a layer's first weights: `outcome` is "copied", "skipped", "new" or "not used"; `why` explains."""

    layer: str
    outcome: str
    why: str = ""


def copy_layers(model: keras.Model, source: keras.Model, why_no_classifier: str | None = None) -> list[LayerOrigin]:
    """Copy into `model` the weights of every layer of `source` that has the same name, variables and shapes.

    Args:
        model: The model.
        source: The other model.
        why_no_classifier: The reason to leave the last layer out; None to copy it as the others.

    Returns:
        One entry for every layer with weights of either model, in the order of `model`; a layer is copied whole or not.
    """
    theirs, ours = weights_by_layer(source), weights_by_layer(model)
    origins = []
    for layer, variables in ours.items():
        if layer not in theirs:
            origins.append(LayerOrigin(layer, "new", "the other run has no such layer"))
            continue
        sources = theirs[layer]
        there, here = ({name: tuple(v.shape) for name, v in side.items()} for side in (sources, variables))
        if there != here:
            name = next(name for name in {**here, **there} if there.get(name) != here.get(name))
            why = f"{_shape_of(name, there)} there, {_shape_of(name, here)} here"
            origins.append(LayerOrigin(layer, "skipped", why))
            continue
        if why_no_classifier and layer == list(ours)[-1]:
            origins.append(LayerOrigin(layer, "skipped", why_no_classifier))
            continue
        for name, variable in variables.items():
            variable.assign(sources[name])
        origins.append(LayerOrigin(layer, "copied"))
    unused = [LayerOrigin(layer, "not used", "this network has no such layer") for layer in theirs if layer not in ours]
    return origins + unused


def weights_by_layer(model: keras.Model) -> dict[str, dict[str, keras.Variable]]:
    """The trainable variables of each layer, by their names in the layer."""
    layers: dict[str, dict[str, keras.Variable]] = {}
    for variable in model.trainable_variables:
        layer, _, name = variable.path.rpartition("/")
        layers.setdefault(layer.rpartition("/")[2], {})[name] = variable
    return layers


def _shape_of(name: str, shapes: dict[str, tuple]) -> str:
    return f"{name} is {'×'.join(map(str, shapes[name]))}" if name in shapes else f"no {name}"


def new_network(recipe: Recipe, data: PreparedDataset, seed: int, precision: str) -> tuple[keras.Model, AlexNetSGD]:
    """Make a model for the classes and colours of a dataset, and its optimizer; under the current scope."""
    model = new_model(recipe, data, seed, precision)
    return model, new_optimizer(recipe, model)


def new_model(recipe: Recipe, data: PreparedDataset, seed: int, precision: str) -> keras.Model:
    """Make a model for the classes and colours of a dataset, under the current scope."""
    statistics = data.statistics
    return AlexNet(
        recipe,
        classes=len(data.classes),
        mean_image=statistics.mean_image,
        color_stds=statistics.standard_deviations,
        color_vectors=statistics.eigenvectors,
        seed=seed,
        dtype=precision,
    )


def restore(
    folder: Path | None,
    model: keras.Model,
    optimizer: AlexNetSGD,
    owner: dict[str, Any],
    cluster: Cluster,
    average: keras.Model | None = None,
    reporter: Reporter = SILENT,
) -> Position | None:
    """Restore weights and velocities from the newest state that the chief can read.

    Args:
        folder: The run's states; None in a worker that is not the chief.
        model: The model whose weights are set.
        optimizer: The optimizer whose velocities are set.
        owner: Properties that the state has to share with the run.
        cluster: The workers.
        average: The running average of the weights, where there is one.
        reporter: Receives a warning for every damaged state.

    Returns:
        The position of the state; None if none was saved.

    Raises:
        DataError: No state can be read, or it is another run's; on every worker.
    """
    variables = state_variables(model, optimizer, average)
    states: list[State] = []

    def read() -> dict[str, Any] | None:
        state = newest_state(folder, shapes_of(variables), reporter) if folder else None
        if state is None:
            return None
        check_same(state, owner)
        states.append(state)
        return asdict(state.position)

    def saved(name: str) -> Callable[[], np.ndarray]:
        return lambda: states[0].arrays[name]  # called on the chief alone, which has the state

    position = cluster.from_chief(read)
    if position is None:
        return None
    for name, variable in variables.items():
        variable.assign(cluster.broadcast(saved(name), tuple(variable.shape)))
    return Position(**position)


def initialize(
    model: keras.Model, copy: Callable[[keras.Model], list[LayerOrigin]], cluster: Cluster
) -> list[LayerOrigin]:
    """Copy the initial weights into a model on the chief, and from it to the workers."""
    origins = cluster.from_chief(lambda: [astuple(origin) for origin in copy(model)])
    if not cluster.is_alone:
        for variable in model.trainable_variables:
            own = partial(keras.ops.convert_to_numpy, variable)
            variable.assign(cluster.broadcast(own, tuple(variable.shape)))
    return [LayerOrigin(*origin) for origin in origins]


def warn_of_other_arithmetic(recipe: Recipe, initial: InitialWeights, reporter: Reporter) -> None:
    """Warn where the network that takes weights computes something else with them than the one that learnt them."""
    if differences := arithmetic_differences(recipe, initial.run.recipe):
        said = other_arithmetic(f"the weights of {initial.run.path}", differences)
        reporter.warn(f"{said}: --recipe {argument(initial.run.path / 'recipe.toml')} is that one.")


def warn_of_untrained(frozen: Sequence[str], origins: Sequence[LayerOrigin], reporter: Reporter) -> None:
    """Warn of frozen layers that took no weights from another run, or of a run that gave none at all."""
    copied = {origin.layer for origin in origins if origin.outcome == "copied"}
    if origins and not copied:
        reporter.warn("no weights were copied: no layer of the other run has the same name and shapes.")
    if untrained := [layer for layer in frozen if layer not in copied]:
        reporter.warn(
            f"{', '.join(untrained)}: frozen with random initial weights, because no other run's were copied into "
            "them; --init-from RUN copies those of a run with the same layers."
        )
