"""ImageNet's weights that others published, by name: addresses, checksums, and where the files lie on this machine."""

import difflib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.reporter import SILENT, Reporter
from alexnet_keras.storage.files import sha1_of, sha256_of
from alexnet_keras.storage.places import at_home, refuse_url

MOST_BYTES = 2**28  # of a file of unknown length; they have 244 million, four a parameter
SHA1_DIGITS = 40


@dataclass(frozen=True)
class PublishedFile:
    """A published file with ImageNet's 1000 classes, in the order of their WordNet ids.

    Attributes:
        name: Its name.
        recipe: The built-in recipe of its network.
        kind: Its format, a name in `formats.FORMATS`.
        address: Its URL.
        bytes: Its length; None where that is not known.
        sha: The SHA-1 or SHA-256 that was published with it, or its beginning, hex; None where none was.
        top1, top5: Accuracy on the validation images of ImageNet 2012, centre crop, 0..1; None likewise.
        source: Where these are published.
    """

    name: str
    recipe: str
    kind: str
    address: str
    bytes: int | None
    sha: str | None
    top1: float | None
    top5: float | None
    source: str

    def problem_of(self, path: Path) -> str | None:
        """Return how a file differs from the published one in length or checksum; None if it does not.

        Raises:
            OSError: The file cannot be read.
        """
        if self.bytes not in (None, size := path.stat().st_size):
            return f"it has {size:,} bytes instead of {self.bytes:,}"
        if self.sha is None:
            return None
        algorithm, found = ("SHA-1", sha1_of(path)) if len(self.sha) == SHA1_DIGITS else ("SHA-256", sha256_of(path))
        if found.startswith(self.sha):
            return None
        return f"its {algorithm} is {found[: len(self.sha)]} instead of {self.sha}"

    def remedy(self, folder: Path) -> str:
        """What to do where it cannot be downloaded into a directory."""
        said = f"Download {self.name} elsewhere and put it into {folder}, which KERAS_HOME can move, or give its path."
        if self.kind == "caffe":
            said += f" Caffe's server is often down: {self.source} has the SHA-1 of a right copy, {self.sha}."
        return said


PUBLISHED = {
    # torchvision names files after the beginning of their checksum.
    "torchvision": PublishedFile(
        name="alexnet-owt-7be5be79.pth",
        recipe="torchvision",
        kind="torchvision",
        address="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        bytes=244_408_911,
        sha="7be5be79",
        top1=0.56522,
        top5=0.79066,
        source="pytorch.org/vision, AlexNet_Weights",
    ),
    "caffe": PublishedFile(
        name="bvlc_alexnet.caffemodel",
        recipe="caffe",
        kind="caffe",
        address="http://dl.caffe.berkeleyvision.org/bvlc_alexnet.caffemodel",
        bytes=None,
        sha="9116a64c0fbe4459d18f4bb6b56d647b63920377",
        top1=0.571,
        top5=0.802,
        source="github.com/BVLC/caffe, models/bvlc_alexnet/readme.md",
    ),
    "caffenet": PublishedFile(
        name="bvlc_reference_caffenet.caffemodel",
        recipe="caffenet",
        kind="caffe",
        address="http://dl.caffe.berkeleyvision.org/bvlc_reference_caffenet.caffemodel",
        bytes=None,
        sha="4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
        top1=0.574,
        top5=0.804,
        source="github.com/BVLC/caffe, models/bvlc_reference_caffenet/readme.md",
    ),
    # The first of Caffe's, converted. Its length is the one that programs which download it compare.
    "toronto": PublishedFile(
        name="bvlc_alexnet.npy",
        recipe="caffe",
        kind="toronto",
        address="https://www.cs.toronto.edu/~guerzhoy/tf_alexnet/bvlc_alexnet.npy",
        bytes=243_861_814,
        sha=None,
        top1=None,
        top5=None,
        source="www.cs.toronto.edu/~guerzhoy/tf_alexnet",
    ),
}


def known_file(sha1: str, sha256: str) -> PublishedFile | None:
    """Return the published file with one of these checksums (hex), if it is known."""
    for file in PUBLISHED.values():
        if file.sha and (sha1.startswith(file.sha) or sha256.startswith(file.sha)):
            return file
    return None


def published_path(name: str, folder: Path | None = None, reporter: Reporter = SILENT) -> Path:
    """Return the path of a published file on this machine; it is downloaded into Keras's cache if it is nowhere yet.

    Args:
        name: A name in `PUBLISHED`.
        folder: The directory that has to have it, of which nothing is downloaded.
        reporter: Gets notes, warnings and the progress of a download.

    Raises:
        UsageError: `folder` does not have it.
        AlexNetError: It cannot be downloaded.
        DataError: The file in `folder`, or what the server sent, is another one.
    """
    from alexnet_keras.storage.downloads import Download, download  # with urllib, which takes time to import

    file = PUBLISHED[name]
    if folder is not None:
        return _in_folder(file, folder)
    if file.sha is None:
        reporter.note(f"No checksum of {file.name} is published: its length is compared, then its arrays' shapes.")
    for path in _cached(file.name):
        if (problem := _problem_in_cache(file, path)) is None:
            reporter.note(f"Using {path}.")
            return path
        reporter.warn(f"{path} is not the published file and is not used: {problem}.")
    path = _keras_cache() / "models" / file.name
    reporter.note(f"Downloading {file.address} to {path.parent}.")
    most = file.bytes or MOST_BYTES
    download(Download(file.address, path, file.problem_of, file.bytes, most, file.remedy(path.parent)), reporter)
    return path


def refuse_missing(given: str) -> NoReturn:
    """Refuse something that is neither a file nor the name of published weights.

    Raises:
        UsageError: The message says what there is.
    """
    for name, file in PUBLISHED.items():
        if given == file.address:
            raise UsageError(f"{given} is a URL: its file is called {name} here, and is downloaded by that name.")
    refuse_url(given)
    if Path(given).is_dir():
        raise UsageError(f"{given} is a directory, but none that `alexnet publish` wrote: give a file of weights.")
    if Path(given).suffix or Path(given).name != given:
        raise UsageError(f"There is no file {given}.")
    near = difflib.get_close_matches(given.lower(), PUBLISHED, n=1, cutoff=0.75)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(f"There is no file {given}, and the published weights are {', '.join(PUBLISHED)}.{hint}")


def _in_folder(file: PublishedFile, folder: Path) -> Path:
    path = folder / file.name
    if not path.is_file():
        raise UsageError(f"{folder} has no {file.name}: download {file.address} and put it there.")
    if problem := file.problem_of(path):
        raise DataError(f"{path} is not the published file: {problem}.")
    return path


def _cached(name: str) -> Iterator[Path]:
    """The files of this name in the caches of PyTorch's hub and of `keras.utils.get_file`."""
    torch = os.environ.get("TORCH_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/torch"
    keras = _keras_cache()
    for folder in (at_home(torch) / "hub" / "checkpoints", keras / "models", keras / "datasets"):
        with suppress(OSError):  # a directory that may not be searched, or whose name is too long
            if (folder / name).is_file():
                yield folder / name


def _keras_cache() -> Path:
    return at_home(os.environ.get("KERAS_HOME") or "~/.keras")


def _problem_in_cache(file: PublishedFile, path: Path) -> str | None:
    try:
        return file.problem_of(path)
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
