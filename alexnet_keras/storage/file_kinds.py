"""The kind of a file by its first bytes, whatever its name: for the message where it is not what was expected.

Downloads leave other things in place of weights: a Git LFS pointer, a web page, a server's answer, an archive.
"""

import json
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from alexnet_keras.errors import DAMAGED, DataError

HEAD = 2**16  # bytes that are read
QUOTED = 40  # characters of a text that a message quotes
AGAIN = "download the file again"


class FileKind(NamedTuple):
    """A kind of file.

    Attributes:
        name: One word, which readers compare.
        description: Words that follow "FILE is", with what to do.
    """

    name: str
    description: str


EMPTY = FileKind("empty", "empty: copy or download it again")
LFS = FileKind("lfs", "a Git LFS pointer, not the file that it stands for: fetch that with `git lfs pull`")
HTML = FileKind("html", "a web page (HTML), not the file behind it: download the file itself")
CUT_ZIP = FileKind("cut", "a zip archive that is damaged or was cut off: copy or download it again")
KERAS = FileKind("keras", "a model of Keras's (.keras), which `AlexNet(weights=FILE)` reads")
TORCH = FileKind("torch", "a file of PyTorch's, which `alexnet import --from torchvision` reads")
TORCH_SCRIPT = FileKind("torchscript", "a TorchScript program: save its state_dict() with torch.save instead")
NPZ = FileKind("npz", "a .npz archive of NumPy's, in which nothing here looks for weights")
SAFETENSORS = FileKind("safetensors", "a safetensors file, which `alexnet import --from safetensors` reads")
MAGICS = (  # offset, bytes, kind
    (0, b"\x89HDF\r\n\x1a\n", FileKind("hdf5", "an HDF5 file, which `alexnet import --from caffe` reads if Caffe's")),
    (0, b"\x93NUMPY", FileKind("npy", "a .npy file, of which `alexnet import --from toronto` reads bvlc_alexnet.npy")),
    (4, b"TFL3", FileKind("tflite", "a TFLite model, out of which no weights are read: import the run's model.keras")),
    (0, b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", TORCH),
    *(
        (place, magic, FileKind("archive", f"{what}: unpack it{how} and give the file inside"))
        for place, magic, what, how in (
            (0, b"\x1f\x8b", "compressed with gzip", ", `gunzip FILE.gz`,"),
            (0, b"BZh", "compressed with bzip2", ", `bunzip2 FILE.bz2`,"),
            (0, b"\xfd7zXZ\0", "compressed with xz", ", `unxz FILE.xz`,"),
            (0, b"\x28\xb5\x2f\xfd", "compressed with zstd", ", `unzstd FILE.zst`,"),
            (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", ""),
            (0, b"Rar!", "a RAR archive", ""),
            (257, b"ustar", "a tar archive", ", `tar -xf FILE`,"),
        )
    ),
)
TEXT = bytes({7, 8, 9, 10, 12, 13, 27} | set(range(32, 256)) - {127})


def refuse_other_kinds(path: Path, *readable: str) -> None:
    """Refuse a file that is recognised as of another kind than its reader can read.

    Args:
        path: The file; one that cannot be opened is left to the reader.
        readable: Names of kinds. Files of unknown kind are left to the reader, too.

    Raises:
        DataError: The message says what the file is, and what to do.
    """
    kind = file_kind(path)
    if kind and kind.name not in readable:
        raise DataError(f"{path} is {kind.description}.")


def file_kind(path: Path) -> FileKind | None:
    """The kind of a file; None where its first bytes do not show it, or it cannot be opened."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
            size = path.stat().st_size
    except OSError:
        return None
    if not head:
        return EMPTY
    for place, magic, kind in MAGICS:
        if head.startswith(magic, place):
            return kind
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return SAFETENSORS
    return text_kind(head)


def _zip_kind(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (NotImplementedError, *DAMAGED):
        return CUT_ZIP
    if {"config.json", "model.weights.h5"} <= set(names):
        return KERAS
    last = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in last:
        return TORCH_SCRIPT if "constants.pkl" in last else TORCH
    if last and all(name.endswith(".npy") for name in last):
        return NPZ
    inside = next((name for name in names if not name.endswith("/")), "nothing")
    return FileKind("archive", f"a zip archive of {_quoted(inside)}: unpack it and give the file inside")


def text_kind(head: bytes) -> FileKind | None:
    """The kind of a file by its first bytes, if these are a text; else None."""
    if head.translate(None, TEXT):
        return None
    text = head.decode("utf-8-sig", "replace").strip()
    start = text[:1024].lower()
    if start.startswith("version https://git-lfs"):
        return LFS
    if start.startswith(("<!doctype html", "<html", "<head", "<body", "<script", "<meta")) or "<html" in start:
        return HTML
    if start.startswith("<"):
        reason = re.search(r"<(?:code|message|title)>\s*([^<]+)", text, re.IGNORECASE)
        return FileKind(
            "xml", f"a server's answer in XML ({_quoted(reason[1] if reason else text)}), not weights: {AGAIN}"
        )
    if start.startswith(("{", "[")):
        return FileKind("json", f"JSON ({_quoted(_error_in(text))}), not weights: {AGAIN}")
    if "\ufffd" in start or ("\n" in text and text.endswith(".")):
        return None  # no UTF-8, or a pickle of Python's protocol 0
    return FileKind("text", f"a text ({_quoted(text)}), not weights: {AGAIN}")


def _error_in(text: str) -> str:
    """The error in a server's answer in JSON; the whole text of other JSON."""
    try:
        answer = json.loads(text)
        error = next(answer[key] for key in ("error", "message", "detail", "errors") if answer.get(key))
        return str(error.get("message", error) if isinstance(error, dict) else error)
    except (AttributeError, StopIteration, RecursionError, ValueError):
        return text


def _quoted(text: str) -> str:
    """The beginning of a text's first line, without control characters."""
    line = "".join(letter for letter in next(iter(text.strip().splitlines()), "") if letter.isprintable())
    return f"'{line[:QUOTED]}{'...' if len(line) > QUOTED else ''}'"
