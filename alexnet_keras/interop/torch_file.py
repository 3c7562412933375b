"""State dicts that PyTorch saved, read without PyTorch: the zip form (since 1.6) and the legacy form before it.

Either is a pickle that describes tensors as views of storages, and the storages' bytes. The pickle is read with a
handful of stand-ins, what it describes is compared with what the network needs, and only then bytes are read.

Reference: torch/serialization.py and torch/_utils.py of github.com/pytorch/pytorch.
"""

import io
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from alexnet_keras.errors import DAMAGED, DataError
from alexnet_keras.interop.safe_pickle import Refused, StandIn, load
from alexnet_keras.interop.wanted import WantedArrays

MAGIC = 0x1950A86A20F9469CFC6C  # of the legacy form, as its first pickle
PROTOCOL = 1001
MOST_PICKLE = 2**22  # bytes of the pickles of a state dict; AlexNet's are two thousand
TYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2"}
ZIP = b"PK\x03\x04"


class Storage(NamedTuple):
    """Numbers in a row, as a pickle refers to them."""

    key: str
    type: "StorageType"
    numbers: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.numbers * np.dtype(self.type.code).itemsize


class StorageType(NamedTuple):
    """A kind of numbers, as NumPy writes it."""

    code: str


class Tensor(NamedTuple):
    """A view of a storage. A tuple, because a pickle can change the attributes of what it has made."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def check(self) -> None:
        """Refuses what no storage holds."""
        numbers = (self.offset, *self.shape, *self.strides)
        whole = isinstance(self.storage, Storage) and all(type(n) is int and n >= 0 for n in numbers)
        if not whole or len(self.shape) != len(self.strides):
            raise Refused("it describes a tensor that cannot be")
        reach = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True)) + 1
        if prod(self.shape) == 0 or reach > self.storage.numbers:
            raise Refused("it describes a tensor that is empty or reaches beyond its storage")

    def of(self, content: bytes) -> np.ndarray:
        """The tensor's numbers, float32, from the bytes of its storage."""
        numbers = np.frombuffer(content, self.storage.type.code)[self.offset :]
        steps = [step * numbers.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(numbers, self.shape, steps, writeable=False).astype(np.float32)


def read_torch(path: Path, wanted: WantedArrays) -> dict[str, np.ndarray]:
    """The arrays of a state dict by name, float32; a file with the dict under "state_dict" is read as well.

    Raises:
        DataError: the file is damaged, would run code, or has not exactly the arrays that are wanted.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(len(ZIP)) == ZIP
            file.seek(0)
            return (_read_zip if zipped else _read_legacy)(path, file, wanted)
    except DataError:
        raise
    except DAMAGED as error:
        raise DataError(f"{path} cannot be used as weights: {str(error).strip() or 'it is damaged'}.") from error


def _read_zip(path: Path, file: BinaryIO, wanted: WantedArrays) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise Refused("it is compressed, which no file of PyTorch's is")  # and a few bytes may become gigabytes
        described = [name for name in sizes if name.rpartition("/")[2] == "data.pkl"]
        if len(described) != 1:
            raise Refused("it is a zip file, but not one of PyTorch's with a data.pkl")
        folder = described[0].removesuffix("data.pkl")

        def member(name: str, most: int) -> bytes:
            if sizes.get(name, most + 1) > most:
                raise Refused(f"its member {name} is missing or claims {sizes.get(name, 0):,} bytes, above {most:,}")
            with archive.open(name) as opened:
                content = opened.read(most + 1)  # to the end, where its checksum is looked at
            if len(content) > most:
                raise Refused(f"its member {name} has more bytes than it claims")
            return content

        if f"{folder}byteorder" in sizes and member(f"{folder}byteorder", 16).strip() != b"little":
            raise Refused("its numbers are not little-endian")
        tensors = _tensors(load(io.BytesIO(member(described[0], MOST_PICKLE)), ALLOWED, _storage))
        storages = _checked(path, tensors, wanted)
        arrays: dict[str, np.ndarray] = {}
        for storage in storages:
            content = member(f"{folder}data/{storage.key}", storage.size)
            if len(content) != storage.size:
                raise Refused(f"the storage {storage.key} has {len(content):,} bytes instead of {storage.size:,}")
            arrays |= {name: tensor.of(content) for name, tensor in tensors.items() if tensor.storage == storage}
    return arrays


def _read_legacy(path: Path, file: BinaryIO, wanted: WantedArrays) -> dict[str, np.ndarray]:
    head = io.BytesIO(file.read(MOST_PICKLE))
    if load(head, {}) != MAGIC or load(head, {}) != PROTOCOL:
        raise Refused("it is none of PyTorch's files")
    if not load(head, {}).get("little_endian", True):
        raise Refused("its numbers are not little-endian")
    tensors = _tensors(load(head, ALLOWED, _storage))
    keys = load(head, {})
    storages = {storage.key: storage for storage in _checked(path, tensors, wanted)}
    file.seek(head.tell())
    arrays: dict[str, np.ndarray] = {}
    for key in keys:
        (numbers,) = struct.unpack("<q", file.read(8))
        storage = storages.get(key)
        if storage is None or numbers != storage.numbers:
            raise Refused(f"the storage {key} is not the one that its tensors describe")
        content = file.read(storage.size)
        if len(content) < storage.size:
            raise Refused("it ends too early")
        arrays |= {name: tensor.of(content) for name, tensor in tensors.items() if tensor.storage == storage}
    wanted.check_names(path, arrays)
    return arrays


def _checked(path: Path, tensors: dict[str, Tensor], wanted: WantedArrays) -> list[Storage]:
    """The storages of tensors that are those of the network, and no larger than they have to be."""
    wanted.check(path, {name: tensor.shape for name, tensor in tensors.items()})
    storages = list(dict.fromkeys(tensor.storage for tensor in tensors.values()))
    needed = sum(prod(tensor.shape) for tensor in tensors.values())
    if sum(storage.numbers for storage in storages) > needed:
        raise Refused(f"its storages hold more than the {needed:,} numbers of the network")
    if len({storage.key for storage in storages}) < len(storages):
        raise Refused("it describes a storage in two ways")
    return storages


def _tensors(found: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, which may lie in a checkpoint's "state_dict"."""
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise Refused("it holds no state dict, the tensors of a network by name")
    for tensor in found.values():
        tensor.check()
    return found


def _storage(reference: Any) -> Storage:
    kind, of, key, _, numbers = reference[:5]
    whole = kind == "storage" and isinstance(of, StorageType) and type(key) is str
    if not whole or type(numbers) is not int or numbers < 0 or any(reference[5:]):
        raise Refused("it refers to something that is no storage of numbers")
    return Storage(key, of, numbers)


def _rebuild_tensor(storage: Any, offset: Any, shape: Iterable, strides: Iterable, *_: Any) -> Tensor:
    return Tensor(storage, offset, tuple(shape), tuple(strides))


ALLOWED = {
    "collections.OrderedDict": StandIn(OrderedDict),
    "torch._utils._rebuild_tensor": StandIn(_rebuild_tensor),
    "torch._utils._rebuild_tensor_v2": StandIn(_rebuild_tensor),
    "torch._utils._rebuild_parameter": StandIn(lambda tensor, *_: tensor),
    **{f"torch.{name}": StorageType(code) for name, code in TYPES.items()},
}
