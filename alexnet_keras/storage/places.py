"""Where datasets and runs lie, what they may be called, and the commands that name them, to be copied into a shell."""

import errno
import os
import re
import shlex
from pathlib import Path, PurePath

from alexnet_keras.errors import UsageError

HOME = "ALEXNET_HOME"  # the environment variable
MOST_BYTES = 100  # of a name, so that file names made of it stay under the 255 that file systems take
URL = re.compile(r"[a-z][a-z0-9+.-]+:/|data:[a-z]+/", re.IGNORECASE)  # in a Path, // is one
SHOWN = 20  # characters of a name that is refused


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
    except (OSError, RuntimeError):  # of a name that is too long; of ~ and no user
        pass
    raise UsageError(f"{HOME} is {_shown(given)!r}, which is no directory: let it name one, or unset it.")


def data_root() -> Path:
    """Where datasets go and are found by name."""
    return home() / "data"


def runs_root() -> Path:
    """Where runs go and are found by name."""
    return home() / "saved_models"


def reproductions_root() -> Path:
    """Where the results of experiments and their networks go."""
    return runs_root() / "reproductions"


def good_name(name: str, most: int = MOST_BYTES) -> str:
    """The nearest name that a run or a dataset may have: the name itself, if it may. At most `most` bytes."""
    plain = "".join("-" if letter in "/\\" or not letter.isprintable() else letter for letter in name.strip())
    plain = plain.lstrip("-. ")
    stem, suffix = PurePath(plain).stem, PurePath(plain).suffix
    if len(suffix.encode()) > most // 2:
        stem, suffix = stem + suffix, ""
    cut = stem.encode()[: most - len(suffix.encode())].decode(errors="ignore")
    return (cut + suffix).strip() or "unnamed"


def check_name(name: str, option: str) -> str:
    """The name, if it may be that of a directory that other commands find.

    Raises:
        UsageError: it may not; the sentence proposes the nearest that may.
    """
    if name == good_name(name):
        return name
    good = good_name(name, SHOWN if len(os.fsencode(name)) > MOST_BYTES else MOST_BYTES)
    raise UsageError(
        f"{option} {_shown(name)!r} is no name: up to {MOST_BYTES} bytes, no slash or control character, and no space, "
        f"- or dot first. Try {shell(option, good)}."
    )


def check_new_path(path: Path, option: str) -> Path:
    """A path to write to, if each part of it that does not exist yet has a name that a file can be found by.

    Raises:
        UsageError: one has not; the sentence proposes the nearest path whose parts have.
    """
    parts = list(path.parts)
    for index, part in enumerate(parts):
        bare = part.lstrip(".")  # a hidden file is as good as another
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
    """Whether something is there; nothing is where no file system takes a name so long."""
    try:
        return path.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def at_home(place: str) -> Path:
    """A path, in which "~" is the home directory.

    Raises:
        UsageError: it is of a user that there is not.
    """
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{_shown(place)} names the home of a user that this machine does not know.") from error


def refuse_url(place: str | Path) -> None:
    """Refuses an address where a file or directory is wanted.

    Raises:
        UsageError: it is one; the sentence says what to do.
    """
    if URL.match(str(place)):
        address = re.sub(":/(?!/)", "://", str(place), count=1)[:60]
        raise UsageError(f"{address} is a URL, and nothing is fetched: download it and give the file.")


def shell(*words: str | Path) -> str:
    """Words to copy into a shell, quoted where it needs that."""
    return shlex.join(map(str, words))


def command(*words: str | Path) -> str:
    """An `alexnet` command to copy into a shell."""
    return shell("alexnet", *words)


def argument(path: Path) -> str:
    """A path as an argument of a command: one that begins with - would be taken for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def _shown(name: str) -> str:
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}…"
