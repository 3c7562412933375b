"""A run: one directory under saved_models/ (`places.runs_root`), opened and written in one place.

docs/architecture.md says what each file in it is.
"""

import csv
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet_keras.data.class_names import renewed_titles
from alexnet_keras.errors import DAMAGED, AlexNetError, DataError, UsageError, check_choice
from alexnet_keras.machine import PACKAGES, environment
from alexnet_keras.recipes import toml
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.runs.facts import Entries, read_facts
from alexnet_keras.storage import hub
from alexnet_keras.storage.documents import write_json
from alexnet_keras.storage.files import PARTIAL, known_sha256, write_by_rename
from alexnet_keras.storage.locks import is_locked, locked
from alexnet_keras.storage.places import argument, command, exists, runs_root
from alexnet_keras.weights.published import PUBLISHED

if TYPE_CHECKING:
    import keras


LOCK = "lock"
RESUMED_WITH = ("strategy", "devices", "environment")  # what a run records again where it has changed
IMPORTED = "imported"  # the status of a run whose weights another framework trained


class _Inside:
    """A file or directory inside a run, as an attribute of `Run`: its path."""

    def __init__(self, *parts: str) -> None:
        self.parts = parts

    def __get__(self, run: "Run", owner: type) -> Path:
        return run.path.joinpath(*self.parts)


@dataclass(frozen=True)
class Run:
    """A run's directory. `Run.create` starts a new one, `Run.load` opens one that exists.

    Attributes:
        path: The directory. The other paths are those of its files and directories, which need not exist.
        waiting_model_path: The new best model, until a state that knows it is saved.
    """

    path: Path

    model_path = _Inside("model.keras")
    last_model_path = _Inside("last.keras")
    states_path = _Inside("state")
    waiting_model_path = _Inside("state", "best.keras")
    history_path = _Inside("history.csv")
    steps_path = _Inside("steps.csv")
    layers_path = _Inside("layers.csv")
    kernels_path = _Inside("kernels")
    events_path = _Inside("events")
    features_path = _Inside("features")
    search_path = _Inside("search")
    exports_path = _Inside("exports")
    report_path = _Inside("report.html")
    model_card_path = _Inside("MODEL_CARD.md")

    @classmethod
    def create(cls, path: Path, recipe: Recipe, entries: dict[str, Any]) -> "Run":
        """Start a run in a new directory.

        Args:
            path: The directory.
            recipe: The recipe, which goes into recipe.toml.
            entries: The entries of run.json, to which the environment is added.

        Raises:
            UsageError: The directory exists and is not empty.
            AlexNetError: Another process is starting the run.
        """
        run = cls(path)
        with run.training_lock():
            check_new(path)
            run.write_recipe(recipe)
            run.update({**entries, "environment": environment(), "started": _now()})
        return run

    @classmethod
    def load(cls, name_or_path: str | Path, root: Path | None = None) -> "Run":
        """Open a run.

        Args:
            name_or_path: Its name under `root`, or its path; "./my-run" is a path before it is a name.
            root: The directory of runs; None for saved_models/.

        Raises:
            UsageError: There is no such run; the message lists those there are.
        """
        if hub.is_address(name_or_path):
            address = hub.written(name_or_path)
            raise UsageError(f"{address} is on the hub: `{command('import', address)}` makes a run of it.")
        root = root or runs_root()
        places = (root / name_or_path, Path(name_or_path))
        for path in places if Path(name_or_path).name == str(name_or_path) else places[::-1]:
            if exists(path / "run.json"):
                return cls(path if path.name not in ("", "..") else path.resolve())  # `.` is no name
        if str(name_or_path) in PUBLISHED:
            raise UsageError(f"There is no run {name_or_path!r} yet: `alexnet import {name_or_path}` makes it.")
        names = [run.name for run in all_runs(root)]
        there = f"{root} has {', '.join(names)}" if names else f"there are none under {root}, `alexnet train` makes one"
        raise UsageError(f"There is no run {str(name_or_path)!r}: {there}.")

    @property
    def name(self) -> str:
        """The name of its directory."""
        return self.path.name

    @property
    def called(self) -> str:
        """The argument by which other commands find the run: its name, or its path outside saved_models/."""
        among = (runs_root() / self.name).absolute() == self.path.absolute() and not self.name.startswith("-")
        if among:
            return self.name
        return f"./{self.name}" if str(self.path) == self.name else argument(self.path)  # a bare name is one of a run

    @property
    def is_there(self) -> bool:
        """True if its directory holds a run; False before one is begun, and after it was moved or removed."""
        return (self.path / "run.json").exists()

    @property
    def is_writable(self) -> bool:
        """False on a read-only disk, where nothing can be added to the run."""
        return os.access(self.path, os.W_OK)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe, with every change applied."""
        return toml.load_recipe(self.path / "recipe.toml")

    def write_recipe(self, recipe: Recipe) -> None:
        """Write recipe.toml."""
        with write_by_rename(self.path / "recipe.toml") as file:
            file.write_text(toml.to_toml(recipe), encoding="utf-8")
        self.__dict__.pop("recipe", None)  # read again when it is asked for

    @property
    def facts(self) -> dict[str, Any]:
        """The entries of run.json.

        Raises:
            DataError: The file is damaged.
        """
        return read_facts(self.path / "run.json")

    @property
    def titles(self) -> tuple[str, ...]:
        """The title of each class in figures and tables, no two alike."""
        facts = self.facts
        return renewed_titles(facts.get("classes", ()), facts.get("data", {}).get("titles", ()))

    def update(self, entries: dict[str, Any]) -> None:
        """Add entries to run.json; a dataset's get its place relative to the run and to the root."""
        from alexnet_keras.data.dataset import places_of

        if (data := entries.get("data")) and data.get("path"):
            entries = {**entries, "data": {**data, **places_of(Path(data["path"]), self.path)}}
        before = self.facts if self.is_there else {}
        write_json(self.path / "run.json", {**before, **entries, "updated": _now()})

    def record_resumption(self, step: int, now: dict[str, Any], goes_on: bool) -> None:
        """Add to run.json how a run goes on after a step: other data that were accepted, other devices or versions.

        Args:
            step: The steps trained before.
            now: "data", "strategy", "devices" and "environment".
            goes_on: There is something left to train; else only the data are recorded.
        """
        facts, entries = self.facts, {}
        changes = facts.get("resumed", [])
        last = changes[-1] if changes else facts
        differ = any(now[name] != last.get(name) for name in ("strategy", "devices"))
        if goes_on and (differ or _versions(now["environment"]) != _versions(last.get("environment", {}))):
            entries["resumed"] = [*changes, {"step": step, **{name: now[name] for name in RESUMED_WITH}}]
        if now["data"] != facts["data"]:
            entries["data"] = now["data"]
        if entries:
            self.update(entries)

    def training_lock(self) -> AbstractContextManager[None]:
        """Lock the run while it is trained; the lock ends with the process, however that ends.

        Raises:
            AlexNetError: A live process holds the lock.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        return locked(
            self.path / LOCK,
            f"The run {self.path} is being trained by another process{{holder}}: wait for it, stop it, or choose "
            "another name with --run.",
        )

    @property
    def data_path(self) -> Path:
        """The path of the dataset that the run was trained on; its old path if it is no longer there.

        Raises:
            UsageError: The run was imported, or published, and has no data of its own.
        """
        from alexnet_keras.data.dataset import find_prepared

        data = self.facts["data"]
        if data.get("path") is None:
            how = "imported" if self.facts.get("status") == IMPORTED else "published"
            raise UsageError(f"The run {self.path} was {how} and has no data of its own: name the data with --data.")
        return find_prepared(data, self.path)

    @property
    def status(self) -> str:
        """The status: running, finished, interrupted, diverged, failed, imported; or killed, known from the lock."""
        status = self.facts.get("status", "unknown")
        if status == "running" and not is_locked(self.path / LOCK):
            status = self.facts["status"]  # it may have ended meanwhile
            return "killed" if status == "running" else status
        return status

    @property
    def history(self) -> list[dict[str, float]]:
        """The rows of history.csv, numbers as floats; empty before the first epoch ends.

        Raises:
            DataError: The file is damaged, or lacks epochs.
        """
        numbers: list[dict[str, float]] = []
        try:
            if self.history_path.exists():
                with self.history_path.open(encoding="utf-8", newline="") as file:
                    numbers = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
            if not all(isfinite(number) for row in numbers for number in row.values()):
                raise ValueError("it has a number that is not finite")
            if any(row.get("epoch", place) != place for place, row in enumerate(numbers)):
                raise ValueError("its epochs are not 0, 1, 2 and so on")
        except DAMAGED as error:
            raise DataError(f"{self.history_path} is damaged: {error}.") from error
        facts = self.facts if self.is_there else {}
        if facts.get("status") == "finished" and (epochs := facts.get("last_epochs", 0)) > len(numbers):
            raise DataError(
                f"{self.history_path} is damaged: {self.last_model_path.name} is of {epochs} epochs, and it has "
                f"{len(numbers)}. `{command('train', '--resume', self.called)}` writes it again."
            )
        return [Entries(row, self.history_path, "column") for row in numbers]

    @property
    def validation_errors(self) -> list[float]:
        """The validation top-1 error after each epoch so far, 0..1."""
        return [row["val_top1_error"] for row in self.history]

    @property
    def best_row(self) -> dict[str, float] | None:
        """The row of the epoch whose model was kept as the best; None before the first epoch ends."""
        rows, kept = self.history, self.facts.get("best", {}).get("epoch")
        return next((row for row in rows if row["epoch"] == kept), None) or best_epoch(rows)

    def row_of(self, which: str) -> dict[str, float] | None:
        """The row of the epoch after which the `"best"` or the `"last"` model was kept; None before the first ends."""
        return self.best_row if which == "best" else next(iter(self.history[-1:]), None)

    def write_history(self, rows: list[dict[str, float]]) -> None:
        """Write history.csv."""
        with write_by_rename(self.history_path) as path, path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def path_of_model(self, which: str = "best") -> Path:
        """Return the file of the trained model: `"best"` or `"last"`.

        Raises:
            UsageError: The run has no such model yet, or has trained more epochs since; or `which` is neither.
            DataError: history.csv lacks epochs.
        """
        check_choice("which", which, ("best", "last"))
        path = self.model_path if which == "best" else self.last_model_path
        if not path.exists() and all((self.path / name).exists() for name in hub.MODEL_FILES):
            its_import = command("import", self.path)
            raise UsageError(f"{self.path} is a published run: `{its_import}` makes a run of it.")
        if not path.exists():
            raise UsageError(f"The run {self.path} has no {path.name} yet: train it for at least one epoch.")
        epochs = self.facts.get("last_epochs")
        if which == "best" or epochs is None or epochs == (trained := len(self.history)):
            return path
        if epochs > trained:
            raise DataError(f"{self.history_path} is damaged: {path.name} is of {epochs} epochs, and it has {trained}.")
        raise UsageError(
            f"{path} is the model after {epochs} epochs, and the run has gone on to {trained}: resume it to its "
            f"end with `{command('train', '--resume', self.called)}`, or take the best model."
        )

    def load_model(self, which: str = "best") -> "keras.Model":
        """Load the trained model: `"best"` or `"last"`.

        Raises:
            UsageError: The run has no such model yet, or has trained more epochs since.
            DataError: The file is damaged, or the model has not the run's classes.
            NotFiniteError: A weight is not finite.
        """
        from alexnet_keras.network.loading import load_model

        file = self.path_of_model(which)
        return self.with_its_classes(load_model(file), str(file))

    def with_its_classes(self, model: "keras.Model", named: str) -> "keras.Model":
        """Return a model, read from what `named` says, if it has as many outputs as run.json names classes.

        Raises:
            DataError: It has not, so that its classes would have wrong names.
        """
        outputs, classes = model.output_shape[-1], self.facts.get("classes")
        if classes is not None and outputs != len(classes):
            raise DataError(
                f"{named} has {outputs} outputs, and run.json names {len(classes)} classes: one of them is of another "
                "run."
            )
        return model

    def load_model_with_sha256(self, which: str = "best") -> "tuple[keras.Model, str]":
        """Load the trained model, and return it with the SHA-256 of its file, hex.

        Both are of the same file, also where the run's training writes a better one meanwhile.

        Raises:
            UsageError: The run has no such model yet, or has trained more epochs since.
            DataError: The file is damaged.
        """
        path = self.path_of_model(which)
        while True:
            checksum, model = known_sha256(path), self.load_model(which)
            if known_sha256(path) == checksum:
                return model, checksum

    def write_evaluation(self, name: str, result: dict[str, Any]) -> Path:
        """Write evaluations/NAME.json; return its path."""
        path = self.path / "evaluations" / f"{name}.json"
        write_json(path, result)
        return path

    def predictions_path(self, name: str) -> Path:
        """Return the directory of an evaluation's predictions."""
        return self.path / "evaluations" / name

    def figure_path(self, name: str, out: Path | None = None) -> Path:
        """Return `out`, or where it is None the path of a figure of this run, as `place` does."""
        return self.place(out, self.path / "figures" / name)

    def place(self, out: Path | None, inside: Path) -> Path:
        """Return where to write: `out`, or where it is None a path inside the run.

        Raises:
            AlexNetError: The path inside would be taken, and nothing can be written there.
        """
        if out is None and not self.is_writable:
            raise AlexNetError(f"Nothing can be written into the run {self.path}: say with --out where to write.")
        return out or inside


def best_epoch(rows: Sequence[dict[str, float]]) -> dict[str, float] | None:
    """Return the row with the lowest validation error, and among equal ones the lowest loss; None without rows."""
    return min(rows, key=lambda row: (row["val_top1_error"], row.get("val_loss", 0.0)), default=None)


def all_runs(root: Path | None = None) -> list[Run]:
    """List every run under a directory, by name."""
    files = sorted((root or runs_root()).glob("*/run.json"))
    return [Run(file.parent) for file in files if not file.parent.name.startswith(PARTIAL)]


def _versions(environment: dict[str, Any]) -> list[Any]:
    return [environment.get(name) for name in ("python", *PACKAGES)]


def check_new(path: Path) -> None:
    """Refuse the directory of a run that exists.

    Raises:
        UsageError: The directory holds more than the files of a run that never began, or is a file.
    """
    if path.is_file():
        raise UsageError(f"{path} is a file: choose another name with --run.")
    never_began = ("recipe.toml", LOCK)
    names = [file.name for file in path.iterdir()] if path.exists() else []
    if any(name not in never_began and not name.startswith(PARTIAL) for name in names):
        raise UsageError(
            f"The run {path} exists: choose another name with --run, or resume it with "
            f"`{command('train', '--resume', Run(path).called)}`."
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
