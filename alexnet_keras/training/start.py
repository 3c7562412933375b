"""What a run starts with: a new network, another run's weights, or its own last state; the chief's on every worker."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.network.model import AlexNet
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.training.checkpoint import Position, State, check_same, newest_state, shapes_of, state_variables
from alexnet_keras.training.cluster import Cluster
from alexnet_keras.training.optimizer import AlexNetSGD
from alexnet_keras.training.schedule import layer_decays, plan_epoch, rate_factors


@dataclass(frozen=True)
class LayerOrigin:
    """Where a layer's first weights came from: `outcome` is "copied", "skipped", "new" or "not used", and why."""

    layer: str
    outcome: str
    why: str = ""


def copy_layers(model: keras.Model, source: keras.Model) -> list[LayerOrigin]:
    """Copies into `model` the weights of every layer of `source` that has the same name, variables and shapes.

    Returns:
        A line for every layer with weights of either model, in the order of `model`; a layer is copied whole or not.
    """
    theirs, ours = weights_by_layer(source), weights_by_layer(model)
    origins = []
    for layer, variables in ours.items():
        found = theirs.get(layer)
        if found is None:
            origins.append(LayerOrigin(layer, "new", "the other run has no such layer"))
            continue
        shapes, wanted = ({name: tuple(v.shape) for name, v in side.items()} for side in (found, variables))
        if shapes != wanted:
            there, here = _difference(shapes, wanted)
            origins.append(LayerOrigin(layer, "skipped", f"{there} there, {here} here"))
            continue
        for name, variable in variables.items():
            variable.assign(found[name])
        origins.append(LayerOrigin(layer, "copied"))
    unused = [LayerOrigin(layer, "not used", "this network has no such layer") for layer in theirs if layer not in ours]
    return origins + unused


def weights_by_layer(model: keras.Model) -> dict[str, dict[str, keras.Variable]]:
    """The variables of each layer that is trained, by their names in the layer."""
    layers: dict[str, dict[str, keras.Variable]] = {}
    for variable in model.trainable_variables:
        layer, _, name = variable.path.rpartition("/")
        layers.setdefault(layer.rpartition("/")[2], {})[name] = variable
    return layers


def _difference(there: dict[str, tuple], here: dict[str, tuple]) -> tuple[str, str]:
    """The first variable in which two layers differ, on either side."""
    name = next(name for name in {**here, **there} if there.get(name) != here.get(name))

    def told(side: dict[str, tuple]) -> str:
        return f"{name} is {'×'.join(map(str, side[name]))}" if name in side else f"no {name}"

    return told(there), told(here)


def new_network(recipe: Recipe, data: PreparedDataset, seed: int, precision: str) -> tuple[keras.Model, AlexNetSGD]:
    """A model for the classes and colours of a dataset, and the optimizer of its recipe; under the current scope."""
    model = new_model(recipe, data, seed, precision)
    return model, new_optimizer(recipe, model)


def new_model(recipe: Recipe, data: PreparedDataset, seed: int, precision: str) -> keras.Model:
    """A model for the classes and colours of a dataset, under the current scope."""
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


def new_average(recipe: Recipe, data: PreparedDataset, seed: int, precision: str) -> keras.Model | None:
    """The network for the running average of the weights, where the recipe has one; under the current scope."""
    return new_model(recipe, data, seed, precision) if recipe.training.averaging_epochs else None


def new_optimizer(recipe: Recipe, model: keras.Model) -> AlexNetSGD:
    """The optimizer of a recipe, built for a model, with the rates of the first epoch; under the current scope."""
    training = recipe.training
    rates = plan_epoch(training, 0, [], rate_factors(recipe.network)).rates
    optimizer = AlexNetSGD(
        training.weight_rate,
        training.bias_rate,
        training.momentum,
        training.weight_decay,
        training.bias_decay,
        layers=[kind for kind in rates if kind not in ("weights", "biases")],
        layer_decays=layer_decays(recipe.network),
    )
    optimizer.build(model.trainable_variables)
    optimizer.set_rates(rates)
    return optimizer


def restore(
    folder: Path | None,
    model: keras.Model,
    optimizer: AlexNetSGD,
    about: dict[str, Any],
    cluster: Cluster,
    on_warning: Callable[[str], None],
    average: keras.Model | None = None,
) -> Position | None:
    """Weights, velocities and position of the newest state that the chief can read; None if none was saved.

    Args:
        average: The running average of the weights, where there is one.
        folder: The run's states; None in a worker that is not the chief.
        about: What the state has to share with the run.

    Raises:
        DataError: No state can be read, or it is another run's; on every worker.
    """
    variables = state_variables(model, optimizer, average)
    states: list[State] = []

    def read() -> dict[str, Any] | None:
        state = newest_state(folder, shapes_of(variables), on_warning) if folder else None
        if state is None:
            return None
        check_same(state, about)
        states.append(state)
        return asdict(state.position)

    def kept(name: str) -> Callable[[], np.ndarray]:
        return lambda: states[0].arrays[name]  # which the chief alone has

    position = cluster.from_chief(read)
    if position is None:
        return None
    for name, variable in variables.items():
        variable.assign(cluster.broadcast(kept(name), tuple(variable.shape)))
    return Position(**position)


def initialize(model: keras.Model, load: Callable[[], keras.Model], cluster: Cluster) -> list[LayerOrigin]:
    """First weights from another run's model, which the chief loads."""
    told = cluster.from_chief(lambda: [astuple(origin) for origin in copy_layers(model, load())])
    if not cluster.is_alone:
        for variable in model.trainable_variables:
            own = partial(keras.ops.convert_to_numpy, variable)
            variable.assign(cluster.broadcast(own, tuple(variable.shape)))
    return [LayerOrigin(*origin) for origin in told]


def warn_of_untrained(frozen: Sequence[str], origins: Sequence[LayerOrigin], on_warning: Callable[[str], None]) -> None:
    """Tells of frozen layers that have taken no weights from another run: they keep their random ones."""
    copied = {origin.layer for origin in origins if origin.outcome == "copied"}
    if untrained := [layer for layer in frozen if layer not in copied]:
        on_warning(
            f"{', '.join(untrained)}: frozen with random initial weights, because no other run's were copied into "
            "them; --init-from RUN copies those of a run with the same layers."
        )
