"""Open a source by the name a user gives it."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_keras.data.sources.source import DEFAULT_HOLDOUT, Source, limit_per_class, select_classes
from alexnet_keras.data.sources.tables import parse_tables
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.storage.places import at_home

KINDS = ("folder", "tfds", "ilsvrc", "synsets", "parquet")
PLACES = ("folder", "ilsvrc", "synsets", "parquet")  # those that name a place on disk


@dataclass(frozen=True)
class SourceRequest:
    """A source and every choice about its images; plain values, so that it travels to other processes.

    Attributes:
        given: "demo", a folder of class folders, or "tfds:NAME", "ilsvrc:DIR", "synsets:DIR", "parquet:DIR",
            "folder:DIR". "~" is the home directory.
        seed: Decides which images are held out or taken, and what the demo set looks like.
        holdout: The part of each class to hold out where there is no validation split, 0..1.
        class_order: "wnid" or "ilsvrc"; None for the usual order.
        classes: A file of the classes to take; all by default.
        limit_per_class: Images of each class in each split at most.
        partial: Accept fewer images than an ILSVRC devkit, or a table, counts.
        splits: Which folder is which split, {"train": "Training"}; {} for none; None to tell by their names.
        labels: Tables of file and label, "FILE" or "SPLIT=FILE".
        tfds_dir: Where TFDS keeps its sets.
        demo_folder: Where the demo images are drawn.
        overwrite: Draw the demo images anew where others are.
        cache: A directory to keep indices of archives in.
    """

    given: str
    seed: int = 0
    holdout: float = DEFAULT_HOLDOUT
    class_order: str | None = None
    classes: Path | None = None
    limit_per_class: int | None = None
    partial: bool = False
    splits: Mapping[str, str] | None = None
    labels: tuple[str, ...] = ()
    tfds_dir: Path | None = None
    demo_folder: Path | None = None
    overwrite: bool = False
    cache: Path | None = None

    def absolute(self) -> "SourceRequest":
        """The same for a process that runs in another directory."""
        paths: dict[str, Any] = {name: path.absolute() for name, path in vars(self).items() if isinstance(path, Path)}
        kind = kind_of(self.given)
        if kind in PLACES:
            paths["given"] = f"{kind}:{self.place.absolute()}"
        tables = [(split, path.absolute()) for split, path in parse_tables(self.labels)]
        paths["labels"] = tuple(f"{split}={path}" if split else str(path) for split, path in tables)
        return dataclasses.replace(self, **paths)

    @property
    def place(self) -> Path:
        """Where a source on disk lies."""
        return at_home(self.given.removeprefix(f"{kind_of(self.given)}:"))


def kind_of(given: str) -> str:
    """ "demo" or one of `KINDS`."""
    kind, colon, _ = given.partition(":")
    if given == "demo":
        return "demo"
    return kind if colon and kind in KINDS else "folder"


def default_name(given: str) -> str:
    """The name that its preparation gets unless another is chosen: that of its directory or TFDS set."""
    kind = kind_of(given)
    bare = given.removeprefix(f"{kind}:")
    if kind == "tfds":
        return bare.partition(":")[0].partition("/")[0]
    return "demo" if kind == "demo" else at_home(bare).resolve().name.removesuffix(".tar") or "pictures"


def open_source(request: SourceRequest, on_progress: Callable[[int], None] = lambda images: None) -> Source:
    """List the images of a source.

    Args:
        request: Which.
        on_progress: Called with the number of images found (of the demo: drawn) since the last call.

    Raises:
        UsageError: It does not exist, or an option does not apply to it.
        DataError: It exists and cannot be used.
    """
    kind = kind_of(request.given)
    if kind != "ilsvrc" and request.class_order == "ilsvrc":
        raise UsageError(f"--class-order ilsvrc is for ilsvrc: sources, which have a devkit; {request.given} has none.")
    if request.partial and kind != "ilsvrc" and not request.labels:
        raise UsageError(f"--partial is for ilsvrc: sources and --labels, and {request.given} is neither.")
    if kind != "folder" and (request.labels or request.splits is not None):
        option = "--labels" if request.labels else "--splits"
        raise UsageError(f"{option} is for folders of images, and {request.given} is none.")
    if request.labels and request.splits is not None:
        raise UsageError("--labels and --splits exclude each other: --labels train=FILE --labels val=FILE.")
    source = _OPENERS[kind](request, on_progress)
    if request.classes and kind not in ("ilsvrc", "synsets"):  # those leave the others' archives unread
        source = select_classes(source, request.classes)
    return limit_per_class(source, request.limit_per_class, request.seed) if request.limit_per_class else source


def _demo(request: SourceRequest, on_progress: Callable[[int], None]) -> Source:
    from alexnet_keras.data.sources.demo import demo_source

    if request.demo_folder is None:
        raise UsageError("The demo images are drawn into a directory: demo_folder has to name it.")
    return demo_source(request.demo_folder, seed=request.seed, overwrite=request.overwrite, on_progress=on_progress)


def _folder(request: SourceRequest, on_progress: Callable[[int], None]) -> Source:
    from alexnet_keras.data.sources.folder import folder_source

    try:
        return folder_source(
            request.place,
            holdout=request.holdout,
            seed=request.seed,
            splits=request.splits,
            labels=request.labels,
            partial=request.partial,
            on_progress=on_progress,
        )
    except RecursionError as error:
        raise DataError(
            f"{request.place} has folders hundreds deep. Give the folder that holds the classes."
        ) from error


def _tfds(request: SourceRequest, on_progress: Callable[[int], None]) -> Source:
    from alexnet_keras.data.sources.tfds import tfds_source

    name = request.given.removeprefix("tfds:")
    return tfds_source(
        name, data_dir=request.tfds_dir, holdout=request.holdout, seed=request.seed, on_progress=on_progress
    )


def _ilsvrc(request: SourceRequest, on_progress: Callable[[int], None]) -> Source:
    from alexnet_keras.data.sources.ilsvrc import ilsvrc_source

    return ilsvrc_source(
        request.place,
        class_order=request.class_order or "wnid",
        classes=request.classes,
        partial=request.partial,
        holdout=request.holdout,
        seed=request.seed,
        cache=request.cache,
        on_progress=on_progress,
    )


def _synsets(request: SourceRequest, on_progress: Callable[[int], None]) -> Source:
    from alexnet_keras.data.sources.ilsvrc import synsets_source

    return synsets_source(
        request.place,
        classes=request.classes,
        holdout=request.holdout,
        seed=request.seed,
        cache=request.cache,
        on_progress=on_progress,
    )


def _parquet(request: SourceRequest, on_progress: Callable[[int], None]) -> Source:
    from alexnet_keras.data.sources.parquet import parquet_source

    return parquet_source(request.place, holdout=request.holdout, seed=request.seed, on_progress=on_progress)


_OPENERS = {
    "demo": _demo,
    "folder": _folder,
    "tfds": _tfds,
    "ilsvrc": _ilsvrc,
    "synsets": _synsets,
    "parquet": _parquet,
}
