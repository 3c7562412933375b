"""Directories of datasets and runs, the names they may have, and commands that name them, quoted for a shell."""

import errno
import os
import re
import shlex
from pathlib import Path, PurePath

from alexnet_keras.errors import UsageError

HOME = "ALEXNET_HOME"  # the environment variable
MOST_BYTES = 100  # of a name, so that file names derived from it stay under the 255 bytes that file systems allow
URL = re.compile(r"[a-z][a-z0-9+.-]+:/|data:[a-z]+/", re.IGNORECASE)  # in a Path, // is one
SHOWN = 20  # characters of a refused name that are printed


def home() -> Path:
    """The directory of data/ and saved_models/: the one that ALEXNET_HOME names, or the current one.

    Raises:
        UsageError: ALEXNET_HOME names something else.
    """
    given = os.environ.get(HOME, "")
    try:
        path = Path(given).expanduser()
        if path.is_dir() or not path.exists():
            return path
    except PermissionError as error:
        remedy = "make it readable, or name another directory."
        raise UsageError(f"{HOME} is {_shown(given)!r}, which cannot be looked into: {remedy}") from error
    except (OSError, RuntimeError):  # of a name that is too long; of ~ and no user
        pass
    raise UsageError(f"{HOME} is {_shown(given)!r}, which is no directory: let it name one, or unset it.")


def data_root() -> Path:
    """The directory in which datasets are written and found by name."""
    return home() / "data"


def runs_root() -> Path:
    """The directory in which runs are written and found by name."""
    return home() / "saved_models"


def reproductions_root() -> Path:
    """The directory of the experiments' results and networks."""
    return runs_root() / "reproductions"


def good_name(name: str, most: int = MOST_BYTES) -> str:
    """The nearest valid name of a run or dataset, of at most `most` bytes: the name itself where it is valid."""
    plain = "".join("-" if letter in "/\\" or not letter.isprintable() else letter for letter in name.strip())
    plain = re.sub("^hf:", "hf-", plain.lstrip("-. "), flags=re.IGNORECASE)  # an address on the hub
    stem, suffix = PurePath(plain).stem, PurePath(plain).suffix
    if len(suffix.encode()) > most // 2:
        stem, suffix = stem + suffix, ""
    cut = stem.encode()[: most - len(suffix.encode())].decode(errors="ignore")
    return (cut + suffix).strip() or "unnamed"


def check_name(name: str, option: str) -> str:
    """The name, checked: other commands have to find a directory of this name.

    Raises:
        UsageError: The name is not valid; the message proposes the nearest valid one.
    """
    if name == good_name(name):
        return name
    good = good_name(name, SHOWN if len(os.fsencode(name)) > MOST_BYTES else MOST_BYTES)
    raise UsageError(
        f"{option} {_shown(name)!r} is no name: up to {MOST_BYTES} bytes, no slash or control character, no space, -, "
        f"dot or hf: first. Try {shell(option, good)}."
    )


def check_new_path(path: Path, option: str) -> Path:
    """A path to write to, checked: each part of it that does not exist yet must have a valid name.

    Raises:
        UsageError: A part is not valid; the message proposes the nearest valid path.
    """
    parts = list(path.parts)
    for index, part in enumerate(parts):
        bare = part.lstrip(".")  # hidden files are allowed
        if bare and part != path.anchor and not os.path.lexists(Path(*parts[: index + 1])):
            parts[index] = part[: len(part) - len(bare)] + good_name(bare)
    if parts == list(path.parts):
        return path
    wrong = next(part for part, good in zip(path.parts, parts, strict=True) if part != good)
    raise UsageError(
        f"{option}: {_shown(wrong)!r} is no name for a file: up to {MOST_BYTES} bytes, no control character, and no "
        f"space or - at the start. Try {shell(option, Path(*parts))}."
    )


def exists(path: Path) -> bool:
    """True if the path exists; a path with a name too long for the file system does not."""
    try:
        return path.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def at_home(place: str) -> Path:
    """A path with "~" expanded to the home directory.

    Raises:
        UsageError: There is no such user.
    """
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{_shown(place)} names the home of a user that this machine does not know.") from error


def refuse_url(place: str | Path, remedy: str = "nothing is fetched: download it and give the file") -> None:
    """Refuse a URL where a file or directory is expected.

    Raises:
        UsageError: It is a URL; the message says what to do.
    """
    if URL.match(str(place)):
        address = re.sub(":/(?!/)", "://", str(place), count=1)[:60]
        raise UsageError(f"{address} is a URL, and {remedy}.")


def shell(*words: str | Path) -> str:
    """Words to copy into a shell, quoted where necessary."""
    return shlex.join(map(str, words))


def command(*words: str | Path) -> str:
    """An `alexnet` command to copy into a shell."""
    return shell("alexnet", *words)


def argument(path: Path) -> str:
    """A path as an argument of a command, which does not look like an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def _shown(name: str) -> str:
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}…"
