"""Make a run of another framework's file, which every command uses like one of its own."""

import os
import shutil
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.image_formats import Decoding
from alexnet_keras.data.images import Encoding
from alexnet_keras.interop.class_names import class_names
from alexnet_keras.network.loading import assign_weights
from alexnet_keras.network.model import AlexNet
from alexnet_keras.network.summary import parameters_of
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.recipes.toml import load_recipe
from alexnet_keras.reporter import WARNINGS, Reporter
from alexnet_keras.runs import IMPORTED, LOCK, Run, check_new
from alexnet_keras.storage.file_kinds import refuse_other_kinds
from alexnet_keras.storage.files import sha1_of, sha256_of, write_by_rename, write_directory_by_rename
from alexnet_keras.weights.caffe import read_caffe_mean
from alexnet_keras.weights.conventions import CLASSIFIER
from alexnet_keras.weights.formats import FORMATS, read_weights, warning_of_network
from alexnet_keras.weights.published import known_file

STAGES = 3  # of an import: read, recognised, written
NO_DATA: dict[str, Any] = {  # the data in run.json of a run that has none: how images are read for it
    "path": None,
    "name": "",
    "source": None,
    "fingerprint": None,
    "examples": {},
    "options": {**Decoding(exif=True).options, **Encoding("raw").options},
}


@dataclass(frozen=True, eq=False)
class ImportedNetwork:
    """The network of a file.

    Attributes:
        model: From crops to probabilities, with the preprocessing of its framework.
        recipe: The network's recipe.
        notes: Sentences that say where in the file it was, if that had to be chosen.
        warning: A sentence, if the file's own network computes something else with the weights.
    """

    model: keras.Model
    recipe: Recipe
    notes: tuple[str, ...] = ()
    warning: str | None = None

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.model.output_shape[-1]


def import_network(path: Path, kind: str, *, recipe: Recipe | None = None, mean: Path | None = None) -> ImportedNetwork:
    """Read a file's network as one of ours, which gives the same answers.

    Args:
        path: The file with the weights.
        kind: "caffe", "toronto", "torchvision" or "safetensors": a name in `formats.FORMATS`.
        recipe: The network's recipe; by default the built-in one of the published file.
        mean: Caffe's mean image, a .binaryproto or .npy; by default the mean colour of the format.

    Raises:
        UsageError: The file does not say which recipe's network it has.
        DataError: A file is damaged, would run code, or does not hold exactly the arrays of the recipe's network.
    """
    form = FORMATS[kind]
    refuse_other_kinds(path, *form.kinds)
    warning = warning_of_network(path, kind, recipe) if recipe else None
    recipe = recipe or load_recipe(form.recipe_of(path))
    weights, notes = read_weights(path, kind, recipe)
    mean_image = form.mean if mean is None else read_caffe_mean(mean, recipe.network.input_size)
    _, bias = weights[CLASSIFIER][0]
    model = AlexNet(recipe, classes=len(bias), mean_image=mean_image)
    assign_weights(model, weights)
    return ImportedNetwork(model, recipe, tuple(notes), warning)


def import_run(
    folder: Path,
    path: Path,
    kind: str,
    *,
    recipe: Recipe | None = None,
    mean: Path | None = None,
    labels: Path | None = None,
    data: PreparedDataset | None = None,
    imagenet: bool = False,
    reporter: Reporter = WARNINGS,
) -> Run:
    """Make a run of a file's network: recipe.toml, run.json, model.keras and last.keras.

    Args:
        folder: The directory of the new run.
        path: As for `import_network`.
        kind: As for `import_network`.
        recipe: As for `import_network`.
        mean: As for `import_network`.
        labels: A file with the names of the classes in the network's order, as `read_class_names` takes it; by default
            they are those of `data`, ImageNet's of a published file, or 0000, 0001, ...
        data: A prepared dataset with the same classes in the same order, on which the run is then evaluated.
        imagenet: The network's 1000 classes are ImageNet's in the order of their WordNet ids, as those of every
            published file, whether it is recognised by its checksum or not.
        reporter: Gets the notes on how the file was read, the warning, and the progress.

    Raises:
        UsageError: The run exists; there is no file `labels`.
        DataError: As for `import_network`; or the names are not those of the network's classes.
    """
    check_new(folder)
    with reporter.progress("importing", STAGES, "stages") as advance:
        network = import_network(path, kind, recipe=recipe, mean=mean)
        advance(1, text="read")
        checksums = {"sha1": sha1_of(path), "sha256": sha256_of(path)}
        known = known_file(**checksums)
        classes = class_names(network.classes, labels, data, imagenet=imagenet or known is not None)
        advance(1, text="recognised")
        facts = {
            "recipe": network.recipe.name,
            "overrides": [],
            "data": data.facts if data else {**NO_DATA, "titles": list(classes.titles)},
            "classes": list(classes.names),
            "imported": {
                "from": kind,
                "file": path.name,
                "bytes": path.stat().st_size,
                **checksums,
                "notes": [*network.notes, *([network.warning] if network.warning else [])],
                "mean": mean and mean.name,
                "labels": labels and labels.name,
                "published": asdict(known) if known and not network.warning else None,  # of its network's accuracy
            },
            "parameters": parameters_of(network.model),
            "status": IMPORTED,
        }
        write_run(folder, network, facts)
        advance(1, text="written")
    for note in network.notes:
        reporter.note(note)
    if network.warning:
        reporter.warn(network.warning)
    return Run(folder)


def write_run(folder: Path, network: ImportedNetwork, facts: dict[str, Any]) -> None:
    """Write the directory of a run of an imported network, by rename, in place of a run that never began.

    Raises:
        UsageError: The run exists.
        AlexNetError: Another process is starting it.
    """
    folder = folder.resolve()  # the directory itself, where a link names it
    lock = ExitStack()
    with lock, write_directory_by_rename(folder) as path:
        made = Run.create(path, network.recipe, facts)
        with write_by_rename(made.last_model_path) as file:
            network.model.save(file)
        with write_by_rename(made.model_path) as file:
            shutil.copyfile(made.last_model_path, file)
        lock.enter_context(Run(folder).training_lock())  # until the directory has its name
        check_new(folder)  # another process may have made it meanwhile
        for left in folder.iterdir():
            if left.name != LOCK:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        if os.name == "nt":  # Windows removes no file that is open
            lock.close()
        (folder / LOCK).unlink()
        try:
            folder.rmdir()
        except OSError:  # what another process has written to it stays
            check_new(folder)
            raise
