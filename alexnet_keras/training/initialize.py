"""Starting from another run's weights, layer by layer: fine-tuning, and networks that grew a layer."""

from dataclasses import dataclass

import keras


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
