"""Checkpoints that PyTorch saved, read without PyTorch: the zip form (since 1.6) and the legacy form before it.

Either is a pickle that describes tensors as views of storages, and the storages' bytes. The tensors that it describes
are compared with what the network needs, and only then are bytes read. Whatever else a checkpoint holds, such as an
optimizer, options and objects of any class, is neither made nor read.

Reference: torch/serialization.py and torch/_utils.py of github.com/pytorch/pytorch."""

import io
import os
import struct
import zipfile
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from alexnet_keras.weights.conventions import ExpectedArrays, Shape, refusing_damage
from alexnet_keras.weights.pickles import Placeholder, Refused, StandIn, asks_for, load
from alexnet_keras.weights.state_dicts import select_network

MAGIC = 0x1950A86A20F9469CFC6C  # of the legacy form, as its first pickle
PROTOCOL = 1001
MOST_PICKLE = 2**24  # bytes of the pickles; those of AlexNet's state dict are two thousand, the rest is logs
TOO_LONG = f"takes more than {MOST_PICKLE:,} bytes beside its tensors: save its state_dict() alone"
NEGATIVE = {"neg": True}  # metadata of a view whose numbers are those of its storage with the other sign
DEEPEST = 6  # dictionaries and lists around a state dict
FLOAT32_BYTES = 4
READABLE = "float64, float32, float16 and bfloat16"
ZIP = b"PK\x03\x04"


class StorageType(NamedTuple):
    """A kind of numbers: its name, the bytes of a number, and its NumPy type, "bf16", or "" if it is no float."""

    name: str
    bytes: int
    code: str


class Storage(NamedTuple):
    """A row of numbers, as a pickle refers to it."""

    key: str
    type: StorageType
    numbers: int

    @property
    def size(self) -> int:
        """Bytes."""
        if not self.type.bytes:
            raise Refused(f"it has a storage of the kind {self.type.name}, whose size is unknown")
        return self.numbers * self.type.bytes


class Tensor(NamedTuple):
    """A view of a storage. A tuple, because a pickle can change the attributes of what it has made."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    metadata: Any = None

    def check(self) -> None:
        """Refuse a view that no storage has.

        Raises:
            Refused: It is one.
        """
        numbers = (self.offset, *self.shape, *self.strides)
        whole = isinstance(self.storage, Storage) and all(type(n) is int and n >= 0 for n in numbers)
        if not whole or len(self.shape) != len(self.strides):
            raise Refused("it describes a tensor that cannot be")
        reach = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True)) + 1
        if prod(self.shape) == 0 or reach > self.storage.numbers:
            raise Refused("it describes a tensor that is empty or reaches beyond its storage")
        if not self.storage.type.code:
            raise Refused(f"its weights are in a {self.storage.type.name}, which is none of {READABLE}")
        if self.metadata and self.metadata != NEGATIVE:
            raise Refused("it describes a tensor in a form that is not known here")

    def array(self, content: bytes) -> np.ndarray:
        """Return the tensor's numbers, float32, from the bytes of its storage."""
        if self.storage.type.code == "bf16":  # which NumPy lacks: the first half of a float32
            numbers = (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")
        else:
            numbers = np.frombuffer(content, self.storage.type.code)
        numbers = numbers[self.offset :]
        steps = [step * numbers.itemsize for step in self.strides]
        array = np.lib.stride_tricks.as_strided(numbers, self.shape, steps, writeable=False).astype(np.float32)
        return -array if self.metadata else array


Contents = Callable[[list[Storage]], Iterator[tuple[Storage, bytes]]]  # reads the bytes of storages, one at a time


def read_torch(path: Path, expected: ExpectedArrays) -> dict[str, np.ndarray]:
    """Read the arrays of a state dict by name, float32.

    Where a checkpoint holds it in one of its parts, `expected.notes` says which.

    Raises:
        DataError: The file is damaged, would run code, or does not hold exactly the expected arrays, or holds two
            networks that fit.
    """
    with refusing_damage(path), path.open("rb") as file:
        zipped = file.read(len(ZIP)) == ZIP
        file.seek(0)
        saved, contents_of = (_open_zip if zipped else _open_legacy)(file)
        tensors = select_network(path, _parts(saved, expected), _shape_of, expected)
        storages = list(dict.fromkeys(tensor.storage for tensor in tensors.values()))
        stored = sum(storage.size for storage in storages)
        taken = FLOAT32_BYTES * sum(prod(tensor.shape) for tensor in tensors.values())  # strides of 0 repeat numbers
        if max(stored, taken) > expected.most_bytes:
            raise Refused(f"its tensors take more than the {expected.most_bytes:,} bytes that the network can need")
        arrays: dict[str, np.ndarray] = {}
        for storage, content in contents_of(storages):
            arrays |= {name: tensor.array(content) for name, tensor in tensors.items() if tensor.storage == storage}
    return arrays


def _open_zip(file: BinaryIO) -> tuple[Any, Contents]:
    archive = zipfile.ZipFile(file)
    sizes = {member.filename: member.file_size for member in archive.infolist()}
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise Refused("it is compressed, which no file of PyTorch's is")  # and a few bytes may become gigabytes
    pickles = [name for name in sizes if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise Refused("it is a zip file, but not one of PyTorch's with a data.pkl")
    folder = pickles[0].removesuffix("data.pkl")

    def member(name: str, most: int) -> bytes:
        if sizes.get(name, most + 1) > most:
            raise Refused(f"its member {name} is missing or claims {sizes.get(name, 0):,} bytes, above {most:,}")
        with archive.open(name) as opened:
            content = opened.read(most + 1)  # to the end, where its checksum is compared
        if len(content) > most:
            raise Refused(f"its member {name} has more bytes than it claims")
        return content

    def contents_of(storages: list[Storage]) -> Iterator[tuple[Storage, bytes]]:
        for storage in storages:
            content = member(f"{folder}data/{storage.key}", storage.size)
            if len(content) != storage.size:
                raise Refused(f"the storage {storage.key} has {len(content):,} bytes instead of {storage.size:,}")
            yield storage, content

    if f"{folder}byteorder" in sizes and member(f"{folder}byteorder", 16).strip() != b"little":
        raise Refused("its numbers are not little-endian")
    if sizes[pickles[0]] > MOST_PICKLE:
        raise Refused(f"it {TOO_LONG}")
    saved, _ = _load_saved(io.BytesIO(member(pickles[0], MOST_PICKLE)))
    return saved, contents_of


def _open_legacy(file: BinaryIO) -> tuple[Any, Contents]:
    head = io.BytesIO(file.read(MOST_PICKLE))
    if load(head, {}) != MAGIC or load(head, {}) != PROTOCOL:
        raise Refused("it is none of PyTorch's files")
    if not load(head, {}).get("little_endian", True):
        raise Refused("its numbers are not little-endian")
    try:
        saved, described = _load_saved(head)
    except Refused as error:
        if head.tell() == MOST_PICKLE:  # all that was read of it
            raise Refused(f"it is damaged, or {TOO_LONG}") from error
        raise
    keys = load(head, {})

    def contents_of(storages: list[Storage]) -> Iterator[tuple[Storage, bytes]]:
        if not isinstance(keys, list) or not all(storage.key in keys for storage in storages):
            raise Refused("it lacks storages that its tensors need")
        size = file.seek(0, os.SEEK_END)
        file.seek(head.tell())
        for key in keys:
            (numbers,) = struct.unpack("<q", file.read(8))
            storage = described.get(key)
            if storage is None or numbers != storage.numbers:
                raise Refused(f"the storage {key} is not the one that its tensors describe")
            if storage.size > size - file.tell():
                raise Refused("it ends too early")
            if storage in storages:
                yield storage, file.read(storage.size)
            else:
                file.seek(storage.size, os.SEEK_CUR)

    return saved, contents_of


def _load_saved(pickled: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """The value that a pickle describes, and the storages that it refers to, by their keys."""
    storages: dict[str, Storage] = {}

    def referred(reference: Any) -> Any:
        if reference[0] == "module":  # of a whole network in the legacy form: its class, and its source
            return reference[1]
        kind, of, key, _, numbers = reference[:5]
        if isinstance(of, type) and issubclass(of, Placeholder):
            of = StorageType(of.asked, 0, "")
        whole = kind == "storage" and isinstance(of, StorageType) and type(key) is str
        if not whole or type(numbers) is not int or numbers < 0 or any(reference[5:]):
            raise Refused("it refers to something that is no storage of numbers")
        storage = Storage(key, of, numbers)
        if storages.setdefault(key, storage) != storage:
            raise Refused("it describes a storage in two ways")
        return storage

    return load(pickled, ALLOWED, referred, placeholders=True), storages


def _parts(saved: Any, expected: ExpectedArrays) -> dict[str, dict[str, Any]]:
    """The dictionaries with tensors in a saved value, by the path to them: "", "state_dict", "model.state_dict"."""
    parts: dict[str, dict[str, Any]] = {}
    placeholders: list[Placeholder] = []
    queue: deque[tuple[str, int, Any]] = deque([("", 0, saved)])
    seen: set[int] = set()
    while queue:
        place, depth, value = queue.popleft()
        if id(value) in seen or depth > DEEPEST:
            continue
        seen.add(id(value))
        inside: Iterable[tuple[Any, Any]] = ()
        if isinstance(value, Placeholder):
            placeholders.append(value)
        elif isinstance(value, dict):
            inside = [(name, each) for name, each in value.items() if isinstance(name, str | int)]
            tensors = {
                name: each for name, each in inside if isinstance(name, str) and isinstance(each, Tensor | Placeholder)
            }
            if any(isinstance(each, Tensor) for each in tensors.values()):
                parts[place] = tensors
        elif isinstance(value, list | tuple) and not isinstance(value, Tensor | Storage | StorageType):
            inside = enumerate(value)
        around = [(key, each) for key, each in inside if isinstance(each, dict | list | tuple | Placeholder)]
        queue.extend((f"{place}.{key}".lstrip("."), depth + 1, each) for key, each in around)
    networks = [each for each in placeholders if isinstance(each.state, dict) and "_modules" in each.state]
    if networks and not any(name.endswith(tuple(expected.shapes)) for part in parts.values() for name in part):
        raise Refused(f"it is a pickled {networks[0].asked}: save its state_dict() instead")
    if not parts and placeholders:
        raise asks_for(placeholders[0].asked)
    if not parts:
        raise Refused("it holds no state dict, the tensors of a network by name")
    return parts


def _shape_of(tensor: Tensor | Placeholder) -> Shape:
    if isinstance(tensor, Placeholder):
        raise asks_for(tensor.asked)
    tensor.check()
    return tensor.shape


def _rebuild_from_type(function: Any, _: Any, arguments: Iterable, *__: Any) -> Any:
    """Takes the place of `_rebuild_from_type_v2`: a parameter with attributes, which are left out."""
    return function(*arguments) if isinstance(function, StandIn) else Placeholder()


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Iterable, strides: Iterable, _: Any = None, __: Any = None, metadata: Any = None
) -> Tensor:
    return Tensor(storage, offset, tuple(shape), tuple(strides), metadata)


def _rebuild_tensor_v3(
    storage: Any, offset: Any, shape: Iterable, strides: Iterable, _: Any, __: Any, of: Any, metadata: Any = None
) -> Tensor:
    """Takes the place of the function for types that have no kind of storage, such as float8."""
    of = StorageType(of.asked if isinstance(of, type) and issubclass(of, Placeholder) else "storage", 1, "")
    return Tensor(Storage(storage.key, of, storage.numbers), offset, tuple(shape), tuple(strides), metadata)


FLOATS = {
    "FloatStorage": (4, "<f4"),
    "DoubleStorage": (8, "<f8"),
    "HalfStorage": (2, "<f2"),
    "BFloat16Storage": (2, "bf16"),
}
OTHERS = {  # by the bytes of a number, to step over
    1: ("ByteStorage", "CharStorage", "BoolStorage", "QInt8Storage", "QUInt8Storage", "storage.UntypedStorage"),
    2: ("ShortStorage",),
    4: ("IntStorage", "QInt32Storage"),
    8: ("LongStorage", "ComplexFloatStorage"),
    16: ("ComplexDoubleStorage",),
}
ALLOWED = {
    "collections.OrderedDict": StandIn(OrderedDict),
    "collections.defaultdict": StandIn(lambda *_: OrderedDict()),
    "torch._utils._rebuild_tensor": StandIn(_rebuild_tensor),
    "torch._utils._rebuild_tensor_v2": StandIn(_rebuild_tensor),
    "torch._utils._rebuild_tensor_v3": StandIn(_rebuild_tensor_v3),
    "torch._utils._rebuild_parameter": StandIn(lambda tensor, *_: tensor),
    "torch._utils._rebuild_parameter_with_state": StandIn(lambda tensor, *_: tensor),
    "torch._tensor._rebuild_from_type_v2": StandIn(_rebuild_from_type),
    **{f"torch.{name}": StorageType(name, *kind) for name, kind in FLOATS.items()},
    **{f"torch.{name}": StorageType(name, size, "") for size, names in OTHERS.items() for name in names},
}
