"""A run as model hubs have it: a directory that Keras opens as a model, and that comes back as a run.

The model's files are those of its .keras archive, unpacked, as `keras.saving.load_model("hf://USER/NAME")` reads them;
README.md is the model card. recipe.toml and run.json make a run of it again. What they say of the run is chosen here
entry by entry, so that no path, host or user goes along; images, their names and predictions stay behind.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.sources.open import KINDS
from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation.image_inputs import options_of
from alexnet_keras.interop.import_run import NO_DATA, ImportedNetwork, write_run
from alexnet_keras.network.loading import load_model
from alexnet_keras.network.summary import parameters_of
from alexnet_keras.recipes.toml import to_toml
from alexnet_keras.runs import IMPORTED, Run, check_classes, check_new, published_run
from alexnet_keras.storage.documents import seal_of, write_json
from alexnet_keras.storage.files import known_sha256, sha256_of, write_directory_by_rename
from alexnet_keras.storage.hub import MODEL_FILES, WEIGHTS, is_address, parts_of, send, written
from alexnet_keras.storage.places import at_home, refuse_url
from alexnet_keras.weights.published import PUBLISHED

SHARED = ("recipe", "overrides", "classes", "seed", "precision", "deterministic", "parameters", "status", "best")
PUBLIC_SOURCES = ("demo", "tfds")  # others name a directory
VERSIONS = ("python", "alexnet-keras", "keras", "tensorflow", "numpy")
IMPORTED_OF = ("from", "file", "bytes", "sha1", "sha256", "published")


def shared_facts(run: Run, which: str = "best") -> dict[str, Any]:
    """Return the entries of run.json that everyone may read; the best epoch is that of the best model alone."""
    facts = run.facts
    data: dict[str, Any] = {**NO_DATA, **facts.get("data", {})}
    options = options_of(run) if "data" in facts else data["options"]
    kind, _, _ = (data["source"] or "").partition(":")
    shared = {key: facts[key] for key in SHARED if key in facts and (key, which) != ("best", "last")}
    shared["data"] = {
        "name": data["name"],
        "source": data["source"] if kind in PUBLIC_SOURCES else kind if kind in KINDS else None,
        "fingerprint": data["fingerprint"],
        "examples": data["examples"],
        "options": {key: options.get(key) for key in NO_DATA["options"]},
        "titles": list(run.titles),
    }
    shared["environment"] = {key: value for key, value in facts.get("environment", {}).items() if key in VERSIONS}
    if imported := facts.get("imported"):
        shared["imported"] = {key: imported.get(key) for key in IMPORTED_OF}
        public = imported.get("from") == "hub" or imported.get("file") in {file.name for file in PUBLISHED.values()}
        if not public:
            shared["imported"]["file"] = None  # a name of the user's own
    return shared


def publish(
    run: Run, to: str | Path, card: Callable[[dict[str, Any]], str], *, private: bool = False, which: str = "best"
) -> str:
    """Write a run with its card to the hub or into a new directory, as `alexnet_keras.publish` does.

    Model, card and run.json are of one moment, also where the run is trained meanwhile.

    Args:
        run: The run.
        to: The address or the directory.
        card: Returns the card, Markdown, for the entries of run.json that it may show.
        private: Make the repository on the hub private.
        which: The `"best"` or the `"last"` model.

    Raises:
        UsageError: The run has no model yet, the directory exists or is a URL, or as `storage.hub.send`.
        DataError: The model is damaged, has not the run's classes, or weights that are not finite.
        AlexNetError: The hub cannot be reached or refuses.
    """
    if is_address(to):
        parts_of(to)
        with tempfile.TemporaryDirectory() as folder:
            _write(run, Path(folder), card, which)
            return send(Path(folder), to, private=private)
    refuse_url(to, "the hub's addresses are hf://USER/NAME")
    folder = at_home(str(to))
    if folder.exists():
        raise UsageError(f"{folder} exists: name a directory to make, or hf://USER/NAME.")
    with write_directory_by_rename(folder) as made:
        _write(run, made, card, which)
    return str(folder)


def _write(run: Run, folder: Path, card: Callable[[dict[str, Any]], str], which: str) -> None:
    """Write the files of a published run into a directory, again as long as its training changes them meanwhile."""
    moment = None
    while moment != (moment := _moment(run, which)):
        _write_now(run, folder, card, which)


def _moment(run: Run, which: str) -> tuple[Any, ...]:
    """The files that a training changes."""
    return known_sha256(run.path_of_model(which)), run.facts, run.history


def _write_now(run: Run, folder: Path, card: Callable[[dict[str, Any]], str], which: str) -> None:
    file, facts = run.path_of_model(which), shared_facts(run, which)
    run.load_model(which)  # which checks it: what nobody can open is not published
    with ZipFile(file) as model:
        for name in MODEL_FILES:
            model.extract(name, folder)
    (folder / "recipe.toml").write_text(to_toml(run.recipe), encoding="utf-8")
    facts["files"] = {name: seal_of(folder / name) for name in MODEL_FILES}
    write_json(folder / "run.json", facts)
    (folder / "README.md").write_text(card(facts), encoding="utf-8", errors="backslashreplace")


def import_published(folder: Path, place: str | Path, *, data: PreparedDataset | None = None) -> Run:
    """Make a run of a published one: recipe.toml, run.json, model.keras and last.keras.

    Args:
        folder: The directory of the new run.
        place: An address on the hub, `hf://USER/NAME`, or a directory that `publish` wrote.
        data: A prepared dataset with the same classes in the same order, on which the run is then evaluated.

    Raises:
        UsageError: The run exists, or there is no published run.
        DataError: It is damaged, or the dataset has other classes.
        AlexNetError: The hub cannot be reached.
    """
    check_new(folder)
    published = published_run(place)
    facts, model = published.facts, published.with_its_classes(load_model(published.path), written(place))
    if data:
        check_classes(published, facts["classes"], data.classes, data.path)
    weights = published.path / WEIGHTS
    imported: dict[str, Any] = {
        "from": "hub" if is_address(place) else "directory",
        "file": f"{parts_of(place)[0]}/{WEIGHTS}" if is_address(place) else f"{published.name}/{WEIGHTS}",
        "bytes": weights.stat().st_size,
        "sha256": sha256_of(weights),
        "revision": published.name if is_address(place) else None,
        "notes": [],
        "published": None,
    }
    entries = {
        **{key: facts[key] for key in SHARED if key in facts},
        "data": data.facts if data else {**NO_DATA, **facts["data"], "path": None},
        "imported": imported,
        "parameters": parameters_of(model),
        "status": IMPORTED,
    }
    write_run(folder, ImportedNetwork(model, published.recipe), entries)
    return Run(folder)
