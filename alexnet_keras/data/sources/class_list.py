"""Lists of classes in text files: one a line, with or without the class's name in words.

ImageNet's own lists are read as they come: `words.txt` (id, tab, words), `synset_words.txt` and
`LOC_synset_mapping.txt` (id, space, words), or bare ids.
"""

import codecs
from collections.abc import Container
from pathlib import Path

from alexnet_keras.data.sources.names import some
from alexnet_keras.errors import DataError, UsageError

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # what PowerShell's > writes
LIMIT = 64 * 2**20  # bytes; ImageNet's longest list has 4 MB


def read_class_list(path: Path, known: Container[str]) -> dict[str, str]:
    """The classes of a file, in its order, each with its name in words ("" where the file has none).

    Args:
        path: The file.
        known: Every class there is. A line is a class of these, or begins with one.

    Raises:
        UsageError: There is no such file.
        DataError: It is no text, names a class that is not there or one twice, or names none.
    """
    found: dict[str, str] = {}
    unknown = []
    for line in lines_of(path):
        name, words = _parted(line, known)
        if name in found:
            raise DataError(f"{path} names the class {name!r} twice.")
        found[name] = words
        if name not in known:
            unknown.append(name)
    if unknown:
        raise DataError(f"{path} names classes that the source does not have: {some(unknown)}.")
    if not found:
        raise DataError(f"{path} names no class.")
    return found


def read_words(path: Path) -> dict[str, str]:
    """Every synset of one of ImageNet's lists with its name in words.

    Raises:
        UsageError: There is no such file.
        DataError: It is no text.
    """
    return dict(_parted(line, ()) for line in lines_of(path))


def lines_of(path: Path, limit: int = LIMIT) -> list[str]:
    """The lines of a text file of at most `limit` bytes that have something on them.

    Raises:
        UsageError: There is no such file.
        DataError: It is no text, or larger than any such list.
    """
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    if path.stat().st_size > limit:
        raise DataError(f"{path} has {path.stat().st_size:,} bytes: too large for a list of classes or labels.")
    written = path.read_bytes()
    try:
        text = written.decode("utf-16" if written.startswith(UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file, or not in UTF-8: save it as UTF-8.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _parted(line: str, known: Container[str]) -> tuple[str, str]:
    if line in known:
        return line, ""
    name, _, words = line.partition("\t") if "\t" in line else line.partition(" ")
    return name.strip(), words.strip()
