"""Open a source by the name a user gives it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_keras.data.sources.source import Source, limit_per_class, select_classes
from alexnet_keras.data.sources.splits import DEFAULT_HOLDOUT
from alexnet_keras.data.sources.tables import parse_tables
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.reporter import SILENT, Advance, Reporter
from alexnet_keras.storage.places import at_home

KINDS = ("folder", "tfds", "ilsvrc", "synsets", "parquet")


@dataclass(frozen=True)
class SourceRequest:
    """A source and every choice about its images; plain values, so that it can be sent to other processes.

    Attributes: As the arguments of `prepare`, and these:
        given: "demo", a folder of class folders, or "tfds:NAME", "ilsvrc:DIR", "synsets:DIR", "parquet:DIR",
            "folder:DIR". "~" is the home directory.
        demo_folder: The folder that the demo images are drawn into.
        overwrite: Replace demo images that were drawn with other options.
        cache: A directory that keeps indices of archives.
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

    def __post_init__(self) -> None:
        if not self.name.strip():  # as of a shell's variable that is not set; it would be the current directory
            raise UsageError(f"The source {self.given!r} is empty: name a folder, or one of the kinds with its place.")

    def absolute(self) -> "SourceRequest":
        """The same request with absolute paths, for a process in another directory."""
        paths: dict[str, Any] = {name: path.absolute() for name, path in vars(self).items() if isinstance(path, Path)}
        kind = kind_of(self.given)
        if kind not in ("demo", "tfds"):
            paths["given"] = f"{kind}:{self.place.absolute()}"
        tables = [(split, path.absolute()) for split, path in parse_tables(self.labels)]
        paths["labels"] = tuple(f"{split}={path}" if split else str(path) for split, path in tables)
        return dataclasses.replace(self, **paths)

    @property
    def name(self) -> str:
        """The source without its kind: the name of a TFDS set, or a path."""
        return self.given.removeprefix(f"{kind_of(self.given)}:")

    @property
    def place(self) -> Path:
        """The path of a source on disk."""
        return at_home(self.name)


def kind_of(given: str) -> str:
    """The kind of a source, "demo" or one of `KINDS`."""
    kind, colon, _ = given.partition(":")
    if given == "demo":
        return "demo"
    return kind if colon and kind in KINDS else "folder"


def default_name(given: str) -> str:
    """The default name of a source's preparation: that of its directory or TFDS set."""
    request, kind = SourceRequest(given), kind_of(given)
    if kind == "tfds":
        return request.name.partition(":")[0].partition("/")[0]
    return "demo" if kind == "demo" else request.place.resolve().name.removesuffix(".tar") or "pictures"


def open_source(request: SourceRequest, *, reporter: Reporter = SILENT) -> Source:
    """List the images of a source.

    Args:
        request: The source and the choices about its images.
        reporter: Receives the progress, in images.

    Raises:
        UsageError: It does not exist, or an option does not apply to it.
        DataError: It exists and cannot be used.
    """
    kind = kind_of(request.given)
    if kind != "ilsvrc" and request.class_order:
        order = f"--class-order {request.class_order}"
        raise UsageError(f"{order} is for ilsvrc: sources, which have a devkit; {request.given} has none.")
    if kind != "tfds" and request.tfds_dir:
        raise UsageError(f"--tfds-dir is for tfds: sources, and {request.given} is none.")
    if request.partial and kind != "ilsvrc" and not request.labels:
        raise UsageError(f"--partial is for ilsvrc: sources and --labels, and {request.given} is neither.")
    if kind != "folder" and (request.labels or request.splits is not None):
        option = "--labels" if request.labels else "--splits"
        raise UsageError(f"{option} is for folders of images, and {request.given} is none.")
    if request.labels and request.splits is not None:
        raise UsageError("--labels and --splits exclude each other: --labels train=FILE --labels val=FILE.")
    if kind == "demo":
        from alexnet_keras.data.sources.demo import demo_images, demo_source

        if request.demo_folder is None:
            raise UsageError("The demo images are drawn into a directory: demo_folder has to name it.")
        with reporter.progress("drawing", demo_images()) as advance:
            source = demo_source(request.demo_folder, seed=request.seed, overwrite=request.overwrite, advance=advance)
    else:
        with reporter.progress("listing", None) as advance:
            source = _listed(kind, request, advance)
    if request.classes and kind not in ("ilsvrc", "synsets"):  # those leave the archives of other classes unread
        source = select_classes(source, request.classes)
    return limit_per_class(source, request.limit_per_class, request.seed) if request.limit_per_class else source


def _listed(kind: str, request: SourceRequest, advance: Advance) -> Source:
    """The source of a request; each kind imports only the libraries it needs."""
    common: dict[str, Any] = {"holdout": request.holdout, "seed": request.seed, "advance": advance}
    if kind == "tfds":
        from alexnet_keras.data.sources.tfds import tfds_source

        return tfds_source(request.name, data_dir=request.tfds_dir, **common)
    if kind == "parquet":
        from alexnet_keras.data.sources.parquet import parquet_source

        return parquet_source(request.place, **common)
    if kind == "folder":
        from alexnet_keras.data.sources.folder import folder_source

        try:
            return folder_source(
                request.place, splits=request.splits, labels=request.labels, partial=request.partial, **common
            )
        except RecursionError as error:
            remedy = "Give the folder that holds the classes."
            raise DataError(f"{request.place} has folders hundreds deep. {remedy}") from error
    common |= {"classes": request.classes, "cache": request.cache}
    if kind == "synsets":
        from alexnet_keras.data.sources.synsets import synsets_source

        return synsets_source(request.place, **common)
    from alexnet_keras.data.sources.ilsvrc import ilsvrc_source

    return ilsvrc_source(request.place, class_order=request.class_order or "wnid", partial=request.partial, **common)
