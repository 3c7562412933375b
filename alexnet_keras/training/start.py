"""What a run begins with: a new network, another run's weights, or its own last state; the chief's on every worker."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.model import AlexNet
from alexnet_keras.recipes import Recipe
from alexnet_keras.training.checkpoint import Position, State, check_same, newest_state, shapes_of, state_variables
from alexnet_keras.training.cluster import Cluster
from alexnet_keras.training.initialize import LayerOrigin, copy_layers
from alexnet_keras.training.optimizer import AlexNetSGD
from alexnet_keras.training.schedule import layer_decays, plan_epoch, rate_factors


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
