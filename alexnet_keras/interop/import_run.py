"""From a file of another framework to a run that every command uses like one of its own."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.image_formats import Decoding
from alexnet_keras.data.images import Encoding
from alexnet_keras.errors import DataError
from alexnet_keras.interop.caffe import read_caffe_mean
from alexnet_keras.interop.class_names import ClassNames, class_names
from alexnet_keras.interop.conventions import Weights, fold
from alexnet_keras.interop.formats import FORMATS, checksums, known_file
from alexnet_keras.network.model import AlexNet
from alexnet_keras.network.summary import parameters_of
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.recipes.toml import load_recipe
from alexnet_keras.runs import IMPORTED, Run, check_new
from alexnet_keras.storage.file_kinds import refuse_other_kinds
from alexnet_keras.storage.files import partial_path, replace, write_by_rename

STAGES = ("read", "recognised", "written")  # of an import, in their order


@dataclass(frozen=True, eq=False)
class ImportedNetwork:
    """A network that a file brought.

    Attributes:
        model: From crops to probabilities, with the preprocessing of its framework.
        recipe: Of the network.
        classes: How many it tells apart.
        notes: Where in the file it was found, in sentences, if that had to be chosen.
    """

    model: keras.Model
    recipe: Recipe
    classes: int
    notes: tuple[str, ...] = ()


def import_network(path: Path, kind: str, *, recipe: Recipe | None = None, mean: Path | None = None) -> ImportedNetwork:
    """A file's network as one of ours, which gives the same answers.

    Args:
        path: the file with the weights.
        kind: "caffe", "toronto", "torchvision" or "safetensors": a name in `formats.FORMATS`.
        recipe: of the network; by default the built-in one of the published file.
        mean: Caffe's mean image, a .binaryproto or .npy; without it the mean colour of the format is subtracted.

    Raises:
        UsageError: the file does not say which recipe's network it has.
        DataError: a file is damaged, would run code, or has not exactly the arrays of the recipe's network.
    """
    form = FORMATS[kind]
    refuse_other_kinds(path, *form.kinds)
    recipe = recipe or load_recipe(form.recipe_of(path))
    found, notes = form.weights(path, recipe)
    weights = fold(recipe, form.layout, found)
    for name, towers in weights.items():
        if not all(np.isfinite(array).all() for pair in towers for array in pair):
            raise DataError(f"{path}: the weights of {name} are not all finite numbers.")
    mean_image = form.mean if mean is None else read_caffe_mean(mean, recipe.network.input_size)
    classes = weights["fc8"][0][1].shape[0]
    model = AlexNet(recipe, classes=classes, mean_image=mean_image)
    _assign(model, weights)
    return ImportedNetwork(model, recipe, classes, tuple(notes))


def import_run(
    folder: Path,
    path: Path,
    kind: str,
    *,
    recipe: Recipe | None = None,
    mean: Path | None = None,
    labels: Path | None = None,
    data: PreparedDataset | None = None,
    on_stage: Callable[[str], None] = lambda done: None,
) -> Run:
    """Makes a run of a file's network: recipe.toml, run.json, model.keras and last.keras.

    Args:
        folder: of the new run.
        path: as `import_network` takes it, like the next three.
        kind: where the file comes from.
        recipe: the network's, if not the one that comes with the package.
        mean: a file of Caffe's with the mean image.
        labels: a file with the names of the classes in the network's order, as `read_class_names` takes it; by default
            they are those of `data`, or 0000, 0001, ...
        data: a prepared dataset with the same classes in the same order, which the run then is evaluated on.
        on_stage: called after each of STAGES with its name.

    Raises:
        UsageError: the run exists; there is no file `labels`.
        DataError: what `import_network` raises; or the names are not those of the network's classes.
    """
    check_new(folder)
    network = import_network(path, kind, recipe=recipe, mean=mean)
    classes = class_names(network.classes, labels, data)
    on_stage("read")
    shas = checksums(path)
    known = known_file(**shas)
    on_stage("recognised")
    facts = {
        "recipe": network.recipe.name,
        "overrides": [],
        "data": data.facts if data else _no_data(classes),
        "classes": list(classes.names),
        "imported": {
            "from": kind,
            "file": path.name,
            "bytes": path.stat().st_size,
            **shas,
            "notes": list(network.notes),
            "mean": mean and mean.name,
            "labels": labels and labels.name,
            "published": known and asdict(known),
        },
        "parameters": parameters_of(network.model),
        "status": IMPORTED,
    }
    run = Run(folder)
    partial = Run(partial_path(folder))
    shutil.rmtree(partial.path, ignore_errors=True)  # of an import that was killed
    try:
        Run.create(partial.path, network.recipe, facts)
        with write_by_rename(partial.last_model_path) as path:
            network.model.save(path)
        with write_by_rename(partial.model_path) as path:
            shutil.copyfile(partial.last_model_path, path)
        check_new(folder)  # another process may have made it meanwhile
        replace(partial.path, folder)
    except BaseException:
        shutil.rmtree(partial.path, ignore_errors=True)
        raise
    on_stage("written")
    return run


def _assign(model: keras.Model, weights: dict[str, list[Weights]]) -> None:
    for name, towers in weights.items():
        layer = model.get_layer(name)
        for tower, (kernel, bias) in enumerate(towers):
            layer.kernels[tower].assign(kernel)
            layer.biases[tower].assign(bias)


def _no_data(classes: ClassNames) -> dict[str, Any]:
    """What run.json keeps of the data of a run that has none: how images are read for it, and the classes' titles."""
    return {
        "path": None,
        "name": "",
        "source": None,
        "fingerprint": None,
        "examples": {},
        "options": {**Decoding().options, **Encoding("raw").options},
        "titles": list(classes.titles),
    }
