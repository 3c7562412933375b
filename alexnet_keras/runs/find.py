"""Which run, and which data: what a command or a function names, and what it means where it names nothing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.reporter import SILENT, Reporter
from alexnet_keras.runs.run import IMPORTED, Run, all_runs
from alexnet_keras.storage import hub
from alexnet_keras.storage.documents import check_bytes
from alexnet_keras.storage.file_kinds import refuse_other_kinds
from alexnet_keras.storage.places import good_name, runs_root

if TYPE_CHECKING:
    from alexnet_keras.data.dataset import PreparedDataset

OPTIONS = ("max_pixels", "exif", "encoding", "jpeg_quality")  # of the preparation of images
NEEDED = ("recipe", "classes", "data.name", *(f"data.options.{name}" for name in OPTIONS))  # of a published run


def latest_run() -> Run:
    """Open the run that was written to last, by what its run.json says.

    Raises:
        UsageError: There is none.
    """
    runs = all_runs()
    if not runs:
        raise UsageError(f"There is no run under {runs_root()}: `alexnet train` makes one.")
    return max(runs, key=_written)


def _written(run: Run) -> tuple[str, float]:
    """When a run was written to: what run.json says, which a copy keeps, and of two in one second the file's time."""
    try:
        updated = str(run.facts.get("updated", ""))
    except DataError:
        updated = ""
    return updated, (run.path / "run.json").stat().st_mtime


def as_run(run: Run | str | Path | None, reporter: Reporter = SILENT) -> Run:
    """Open a run that is given as such, by its name or by its path; None is the latest, which a note names.

    Raises:
        UsageError: There is no such run.
    """
    if run is None:
        run = latest_run()
        reporter.note(f"Using the latest run: {run.path}")
    return run if isinstance(run, Run) else Run.load(run)


def published_run(place: str | Path) -> Run:
    """Open a run that `alexnet publish` wrote, to be read only: its model is `load_model(run.path)`.

    Args:
        place: Its address on the hub, `hf://USER/NAME`, which is downloaded unless the hub's cache has it; or a
            directory.

    Raises:
        UsageError: There is no such run.
        DataError: It is damaged.
        AlexNetError: The hub cannot be reached.
    """
    run = Run(hub.fetch(place) if hub.is_address(place) else Path(place))
    for name in (*hub.MODEL_FILES, *hub.RUN_FILES):
        if not (run.path / name).is_file():
            raise UsageError(f"{hub.written(place)} is no run that `alexnet publish` wrote: it has no {name}.")
    facts = run.facts
    if lacking := [name for name in NEEDED if not _has(facts, name)]:
        raise DataError(f"{hub.written(place)} is damaged: its run.json has no entry {lacking[0]}.")
    refuse_other_kinds(run.path / hub.WEIGHTS, "hdf5")
    for name in hub.MODEL_FILES:
        if seal := facts.get("files", {}).get(name):  # which 0.1 did not write
            check_bytes(run.path / name, seal, "Publish or copy it again.")
    return run


def _has(entries: Any, name: str) -> bool:
    """True if there is an entry of a name, "data.options.exif", that is no empty list."""
    first, _, rest = name.partition(".")
    if not isinstance(entries, dict) or first not in entries:
        return False
    return _has(entries[first], rest) if rest else entries[first] != []


def new_run_path(recipe: str, data: str) -> Path:
    """Make the directory recipe-data, or recipe-data-2, ...: the first name that is free is this process's alone."""
    root, name, number = runs_root(), good_name(f"{recipe}-{data}"), 1
    path = root / name
    root.mkdir(parents=True, exist_ok=True)
    while True:
        with suppress(FileExistsError):
            path.mkdir()
            return path
        number += 1
        path = root / f"{name}-{number}"


def check_classes(run: Run, trained: Sequence[str], classes: Sequence[str], data: Path) -> None:
    """Refuse data whose classes are not those that a run was trained on.

    Args:
        run: The run.
        trained: The names of its classes, in order.
        classes: The names of the data's classes, in order.
        data: The path of the data.

    Raises:
        DataError: The classes differ; the message says how.
    """
    if list(trained) == list(classes):
        return
    differences = []
    for ours, others, place in ((classes, trained, "data"), (trained, classes, "run")):
        if only := sorted(set(ours) - set(others)):
            differences.append(f"{', '.join(only[:3])}{' and others' if len(only) > 3 else ''} only in the {place}")
    raise DataError(
        f"The run {run.path} has {len(trained)} classes and the dataset {data} has {len(classes)}: "
        f"{'; '.join(differences) or 'the same ones in another order'}. Use data with the classes it was trained on."
    )


def names_of(runs: Sequence[Run]) -> dict[Path, str]:
    """Name each of several runs, by path: as its directory is called, or where two are called alike, by its path."""
    called = Counter(path.name for path in {run.path for run in runs})
    return {run.path: run.name if called[run.name] == 1 else str(run.path) for run in runs}


@contextmanager
def data_of(
    run: Run, data: "PreparedDataset | str | Path | None" = None, reporter: Reporter = SILENT
) -> "Iterator[PreparedDataset]":
    """Open the dataset to use a run on, which no other process prepares again meanwhile.

    Args:
        run: The run.
        data: A prepared dataset, its name under data/, or its path; None for the one the run was trained on.
        reporter: Receives a warning where that is another one, or has been prepared again since.

    Raises:
        UsageError: There is no such dataset, or none is given and the run was imported and has none.
        DataError: The dataset has other classes than the run.
    """
    from alexnet_keras.data.dataset import open_locked

    with open_locked(run.data_path if data is None else data) as opened:
        check_classes(run, run.facts["classes"], opened.classes, opened.path)
        if run.status != IMPORTED and run.facts["data"].get("fingerprint") not in (None, opened.fingerprint):
            reporter.warn(
                f"the run {run.path} was not trained on {opened.path} as it is now: errors on images that it was "
                "trained on are too low."
            )
        yield opened
