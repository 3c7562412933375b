"""A run: one directory under saved_models/ (`places.runs_root`), opened and written in one place.

An imported run has the first four files alone, and what `alexnet eval` and others add.

recipe.toml      the recipe, with every override applied
run.json         options, seed, classes, dataset fingerprint, environment, status, best epoch
model.keras      the model with the lowest validation error so far
last.keras       the model at the end of training
state/           what --resume continues from: the last few states
history.csv      a line an epoch;  steps.csv: a line a step;  layers.csv: a line an epoch and variable
kernels/         the first layer's kernels before training and after every epoch
lock             held by the process that trains the run
events/          the same for TensorBoard
evaluations/     a JSON file an evaluation, and a directory with its predictions
figures/         figures
report.html      all of it on one page
MODEL_CARD.md    what it is and is good for, as model hubs show it
features/        a directory a layer and split, with the layer's output on every image
search/          a directory a layer and split, to search in
exports/         the model for other programs, each with how far it agrees"""

import csv
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet_keras.data.class_names import renewed_titles
from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.recipes import toml
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.storage.files import PARTIAL, is_locked, locked, write_by_rename
from alexnet_keras.storage.places import argument, command, exists, good_name, runs_root

if TYPE_CHECKING:
    import keras

    from alexnet_keras.data.dataset import PreparedDataset

LOCK = "lock"
IMPORTED = "imported"  # the status of a run whose weights another framework trained


class _HistoryRow(dict[str, float]):
    """A row of history.csv; a column that it should have and has not is damage of the file."""

    def __init__(self, row: dict[str, float], path: Path) -> None:
        super().__init__(row)
        self._path = path

    def __missing__(self, column: str) -> float:
        raise DataError(f"{self._path} is damaged: it has no column {column}.")


@dataclass(frozen=True)
class Run:
    """A run's directory and what is in it. `Run.create` starts one, `open_run` finds one."""

    path: Path

    @classmethod
    def create(cls, path: Path, recipe: Recipe, facts: dict[str, Any]) -> "Run":
        """Starts a run in a new directory; `facts` go into run.json beside the environment.

        Raises:
            UsageError: the directory exists and is not empty.
            AlexNetError: another process is starting it.
        """
        run = cls(path)
        with run.training_lock():
            check_new(path)
            with write_by_rename(path / "recipe.toml") as file:
                file.write_text(toml.to_toml(recipe), encoding="utf-8")
            run.update({**facts, "environment": environment(), "started": _now()})
        return run

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def called(self) -> str:
        """What other commands find the run by: its name, or its path where it does not lie among the others."""
        among = (runs_root() / self.name).absolute() == self.path.absolute() and not self.name.startswith("-")
        return self.name if among else argument(self.path)

    @property
    def is_writable(self) -> bool:
        """Whether anything can be added to it: not on a read-only disk."""
        return os.access(self.path, os.W_OK)

    @property
    def model_path(self) -> Path:
        return self.path / "model.keras"

    @property
    def waiting_model_path(self) -> Path:
        """The best model until a state knows that it is."""
        return self.states_path / "best.keras"

    @property
    def last_model_path(self) -> Path:
        return self.path / "last.keras"

    @property
    def states_path(self) -> Path:
        return self.path / "state"

    @property
    def layers_path(self) -> Path:
        return self.path / "layers.csv"

    @property
    def history_path(self) -> Path:
        return self.path / "history.csv"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def model_card_path(self) -> Path:
        return self.path / "MODEL_CARD.md"

    @property
    def steps_path(self) -> Path:
        return self.path / "steps.csv"

    @property
    def kernels_path(self) -> Path:
        return self.path / "kernels"

    @property
    def events_path(self) -> Path:
        return self.path / "events"

    @property
    def features_path(self) -> Path:
        return self.path / "features"

    @property
    def search_path(self) -> Path:
        return self.path / "search"

    @property
    def exports_path(self) -> Path:
        return self.path / "exports"

    @cached_property
    def recipe(self) -> Recipe:
        return toml.load_recipe(self.path / "recipe.toml")

    @property
    def facts(self) -> dict[str, Any]:
        """What run.json holds.

        Raises:
            DataError: it is damaged.
        """
        try:
            found = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except DAMAGED as error:
            raise DataError(f"{self.path / 'run.json'} cannot be read: {error}.") from error
        kinds = {"data": dict, "best": dict, "classes": list, "environment": dict, "status": str, "updated": str}
        if not isinstance(found, dict) or any(not isinstance(found[key], kinds[key]) for key in kinds if key in found):
            raise DataError(f"{self.path / 'run.json'} is damaged: it does not hold what a run writes there.")
        return found

    @property
    def titles(self) -> tuple[str, ...]:
        """What each class is called in figures and tables, no two alike."""
        facts = self.facts
        return renewed_titles(facts.get("classes", ()), facts.get("data", {}).get("titles", ()))

    def update(self, facts: dict[str, Any]) -> None:
        """Adds facts to run.json, and to those of a dataset where it lies, from the run and from the root."""
        from alexnet_keras.data.dataset import places_of

        if (data := facts.get("data")) and data.get("path"):
            facts = {**facts, "data": {**data, **places_of(Path(data["path"]), self.path)}}
        known = self.facts if (self.path / "run.json").exists() else {}
        with write_by_rename(self.path / "run.json") as file:
            file.write_text(json.dumps({**known, **facts, "updated": _now()}, indent=2) + "\n", encoding="utf-8")

    def training_lock(self) -> AbstractContextManager[None]:
        """Held while the run is trained, and by nobody once that process has ended, however it ended.

        Raises:
            AlexNetError: a live process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        return locked(
            self.path / LOCK,
            f"The run {self.path} is being trained by another process{{holder}}: wait for it, stop it, or choose "
            "another name with --run.",
        )

    @property
    def data_path(self) -> Path:
        """Where the data is that the run was trained on, or was if it is nowhere any more.

        Raises:
            UsageError: the run was imported and has no data of its own.
        """
        from alexnet_keras.data.dataset import find_prepared

        data = self.facts["data"]
        if data["path"] is None:
            raise UsageError(f"The run {self.path} was imported and has no data of its own: name the data with --data.")
        return find_prepared(data, self.path)

    @property
    def status(self) -> str:
        """Where the run stands: running, finished, interrupted, diverged, failed, imported, or killed, which no
        process tells.
        """
        status = self.facts.get("status", "unknown")
        return "killed" if status == "running" and not is_locked(self.path / LOCK) else status

    @property
    def history(self) -> list[dict[str, float]]:
        """The rows of history.csv, numbers as floats; empty before the first epoch ends.

        Raises:
            DataError: it is damaged.
        """
        if not self.history_path.exists():
            return []
        try:
            with self.history_path.open(encoding="utf-8", newline="") as file:
                numbers = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
            if any(not isfinite(row["epoch"]) for row in numbers):
                raise ValueError("its rows are not those of epochs")
        except DAMAGED as error:
            raise DataError(f"{self.history_path} is damaged: {error}.") from error
        return [_HistoryRow(row, self.history_path) for row in numbers]

    @property
    def best_row(self) -> dict[str, float] | None:
        """The row of the epoch whose model was kept as the best; None before the first epoch ends."""
        rows, kept = self.history, self.facts.get("best", {}).get("epoch")
        return next((row for row in rows if row["epoch"] == kept), None) or best_epoch(rows)

    def write_history(self, rows: list[dict[str, float]]) -> None:
        """Writes history.csv anew."""
        with write_by_rename(self.history_path) as path, path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def path_of_model(self, which: str = "best") -> Path:
        """The file of the trained model: `"best"` or `"last"`.

        Raises:
            UsageError: the run has no such model yet.
        """
        path = {"best": self.model_path, "last": self.last_model_path}[which]
        if not path.exists():
            raise UsageError(f"The run {self.path} has no {path.name} yet: train it for at least one epoch.")
        return path

    def load_model(self, which: str = "best") -> "keras.Model":
        """The trained `keras.Model`: `"best"` or `"last"`.

        Raises:
            UsageError: the run has no such model yet.
            DataError: the file is damaged.
        """
        from alexnet_keras.network.model import load_model

        return load_model(self.path_of_model(which))

    def write_evaluation(self, name: str, result: dict[str, Any]) -> Path:
        """Writes evaluations/NAME.json and returns its path."""
        path = self.path / "evaluations" / f"{name}.json"
        with write_by_rename(path) as file:
            file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        return path

    def predictions_path(self, name: str) -> Path:
        """Where the predictions of an evaluation go."""
        return self.path / "evaluations" / name

    def figure_path(self, name: str) -> Path:
        """Where a figure of this run goes."""
        return self.path / "figures" / name


def best_epoch(rows: Sequence[dict[str, float]]) -> dict[str, float] | None:
    """The row with the least validation error, of equal errors with the least validation loss; None of no rows."""
    return min(rows, key=lambda row: (row["val_top1_error"], row.get("val_loss", 0.0)), default=None)


def open_run(name_or_path: str | Path, root: Path | None = None) -> Run:
    """A run by its name under `root`, by default the directory of all runs, or by its path.

    Raises:
        UsageError: there is no such run; the sentence lists those there are.
    """
    root = root or runs_root()
    for path in (root / name_or_path, Path(name_or_path)):
        if exists(path / "run.json"):
            return Run(path if path.name not in ("", "..") else path.resolve())  # `.` is no name
    raise UsageError(f"There is no run {str(name_or_path)!r}: {_those_in(root)}.")


def latest_run(root: Path | None = None) -> Run:
    """The run written to last.

    Raises:
        UsageError: there is none.
    """
    runs = all_runs(root)
    if not runs:
        raise UsageError(f"There is no run under {root or runs_root()}: `alexnet train` makes one.")
    return max(runs, key=lambda run: (run.path / "run.json").stat().st_mtime)


def as_run(run: Run | str | Path | None) -> Run:
    """Open a run that is given as such, by its name or by its path; None is the latest.

    Raises:
        UsageError: There is no such run.
    """
    if run is None:
        return latest_run()
    return run if isinstance(run, Run) else open_run(run)


def all_runs(root: Path | None = None) -> list[Run]:
    """Every run under a directory, by name."""
    files = sorted((root or runs_root()).glob("*/run.json"))
    return [Run(file.parent) for file in files if not file.parent.name.startswith(PARTIAL)]


def new_run_path(recipe: str, data: str) -> Path:
    """A free name, recipe-data, recipe-data-2, ..., taken for this process alone by making the directory."""
    root, name, number = runs_root(), good_name(f"{recipe}-{data}"), 1
    path = root / name
    root.mkdir(parents=True, exist_ok=True)
    while True:
        with suppress(FileExistsError):
            path.mkdir()
            return path
        number += 1
        path = root / f"{name}-{number}"


def environment() -> dict[str, Any]:
    """Versions and machine, for whoever reads the run later."""
    packages = ("alexnet-keras", "keras", "tensorflow", "numpy")
    return {
        "python": sys.version.split()[0],
        **{package: version(package) for package in packages},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }


def check_new(path: Path) -> None:
    """Refuses the directory of a run that exists.

    Raises:
        UsageError: it does, and has more in it than the start of one that never began.
    """
    if path.exists() and any(found.name not in ("recipe.toml", LOCK) for found in path.iterdir()):
        raise UsageError(
            f"The run {path} exists: choose another name with --run, or go on with "
            f"`{command('train', '--resume', Run(path).called)}`."
        )


def check_classes(run: Run, trained: Sequence[str], classes: Sequence[str], data: Path) -> None:
    """Refuses data whose classes are not those that a run was trained to tell apart.

    Raises:
        DataError: the sentence says how they differ.
    """
    if list(trained) == list(classes):
        return
    strange, missing = (sorted(set(a) - set(b)) for a, b in ((classes, trained), (trained, classes)))
    how = [f"{', '.join(strange[:3])}{' and others' if len(strange) > 3 else ''} only in the data"] if strange else []
    how += [f"{', '.join(missing[:3])}{' and others' if len(missing) > 3 else ''} only in the run"] if missing else []
    raise DataError(
        f"The run {run.path} tells {len(trained)} classes apart and the dataset {data} has {len(classes)}: "
        f"{'; '.join(how) or 'the same ones in another order'}. Use data with the classes it was trained on."
    )


@contextmanager
def data_of(run: Run, data: "PreparedDataset | str | Path | None" = None) -> "Iterator[PreparedDataset]":
    """Open the dataset to use a run on, which no other process prepares again meanwhile.

    Args:
        run: The run.
        data: A prepared dataset, its name under data/, or its path; None for the one the run was trained on.

    Raises:
        UsageError: There is no such dataset, or none is given and the run was imported and has none.
        DataError: The dataset has other classes than the run.
    """
    from alexnet_keras.data.dataset import PreparedDataset, open_prepared

    opened = data if isinstance(data, PreparedDataset) else open_prepared(run.data_path if data is None else data)
    with opened.reading():
        if not isinstance(data, PreparedDataset):
            opened = open_prepared(opened.path)  # it may have been another until now
        check_classes(run, run.facts["classes"], opened.classes, opened.path)
        yield opened


def _those_in(root: Path) -> str:
    names = [run.name for run in all_runs(root)]
    return f"{root} has {', '.join(names)}" if names else f"there are none under {root}, `alexnet train` makes one"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
