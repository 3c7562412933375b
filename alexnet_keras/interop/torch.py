"""Checkpoints that PyTorch saved, read without PyTorch: the zip form (since 1.6) and the legacy form before it.

Either is a pickle that describes tensors as views of storages, and the storages' bytes. A pickle is a program: its
names are looked up in a table of stand-ins, which only put data together; any other name ends the reading, or becomes
an `Unlisted`, which does nothing, where something else than weights may stand. Before that its instructions are walked
through without being followed, because Python's reader takes memory for as many bytes or places as a pickle claims to
have. What a pickle describes is compared with what the network needs, and only then bytes are read. Whatever
else a checkpoint keeps, such as an optimizer, options and objects of any class, is neither made nor read.

Reference: torch/serialization.py and torch/_utils.py of github.com/pytorch/pytorch."""

import io
import os
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from alexnet_keras.errors import DAMAGED, DataError
from alexnet_keras.interop.conventions import Shape, WantedArrays
from alexnet_keras.interop.state_dicts import floats_of, the_networks

MAKES_PLACES = ("PUT", "BINPUT", "LONG_BINPUT")
MOST_UNLISTED = 1000  # names, each of which takes a class of Python's


class Refused(ValueError):
    """A pickle that is damaged, or asks for what its reader does not allow; the message says which."""


class StandIn(NamedTuple):
    """What a name in a pickle becomes: a function of ours with the same arguments, which a pickle cannot change."""

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class Unlisted:
    """What stands for a name that is not allowed and all that a pickle makes with it: it does nothing.

    Attributes:
        asked: The name.
        state: What the pickle gave the object, as data.
    """

    asked = ""
    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> "Unlisted":
        """An object, whatever its arguments."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> "Unlisted":
        return type(self)()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Takes what a pickle puts into a list, like the next two."""

    extend = add = append


def asks_for(unlisted: Unlisted | type[Unlisted]) -> Refused:
    """Where weights should be: that a pickle asks for something else."""
    return Refused(f"it asks for {unlisted.asked}, which weights have no need of; nothing was run")


def load(
    stream: io.BytesIO,
    allowed: Mapping[str, Any],
    persistent: Callable[[Any], Any] | None = None,
    encoding: str = "ASCII",
    unlisted: bool = False,
) -> Any:
    """The object that the pickle at a stream's position describes; the stream is left behind it.

    Args:
        allowed: what each allowed name, such as "collections.OrderedDict", becomes.
        persistent: what the pickle's references to things outside it become.
        encoding: of the strings of Python 2.
        unlisted: whether any other name becomes an `Unlisted`, rather than the end of the reading.

    Raises:
        Refused: the pickle is damaged, or names something else.
    """
    start = stream.tell()
    try:
        for instruction, argument, _ in pickletools.genops(stream):
            if instruction.name in MAKES_PLACES and (argument or 0) > len(stream.getbuffer()):
                raise Refused("it is damaged")
        end = stream.tell()
        stream.seek(start)
        found = _Unpickler(stream, allowed, persistent, encoding, unlisted).load()
    except Refused:
        raise
    except Exception as error:  # a damaged pickle may fail in any way at all
        raise Refused(f"it is damaged ({str(error).strip() or type(error).__name__})") from error
    stream.seek(end)
    return found


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, stream: io.BytesIO, allowed: Mapping[str, Any], persistent: Any, encoding: str, unlisted: bool
    ) -> None:
        super().__init__(stream, encoding=encoding)
        self._allowed, self._persistent = allowed, persistent
        self._unlisted: dict[str, type[Unlisted]] | None = {} if unlisted else None

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        if asked in self._allowed:
            return self._allowed[asked]
        printed = "".join(letter for letter in asked if letter.isprintable())[:80]
        if self._unlisted is None:
            raise asks_for(type("Unlisted", (Unlisted,), {"asked": printed}))
        if asked not in self._unlisted:
            if len(self._unlisted) == MOST_UNLISTED:
                raise Refused(f"it asks for more than {MOST_UNLISTED:,} names that weights have no need of")
            self._unlisted[asked] = type("Unlisted", (Unlisted,), {"asked": printed})
        return self._unlisted[asked]

    def persistent_load(self, reference: Any) -> Any:
        if self._persistent is None:
            raise Refused("it refers to something outside itself")
        return self._persistent(reference)


MAGIC = 0x1950A86A20F9469CFC6C  # of the legacy form, as its first pickle
PROTOCOL = 1001
MOST_PICKLE = 2**22  # bytes of the pickles of a state dict; AlexNet's are two thousand
DEEPEST = 6  # dictionaries and lists around a state dict
FLOATS = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "bf16"}
OTHERS = {  # bytes of a number, to step over
    **dict.fromkeys(("torch.ByteStorage", "torch.CharStorage", "torch.BoolStorage", "torch.storage.UntypedStorage"), 1),
    **dict.fromkeys(("torch.QInt8Storage", "torch.QUInt8Storage"), 1),
    "torch.ShortStorage": 2,
    "torch.IntStorage": 4,
    "torch.QInt32Storage": 4,
    "torch.LongStorage": 8,
    "torch.ComplexFloatStorage": 8,
    "torch.ComplexDoubleStorage": 16,
}
BYTES = {"<f4": 4, "<f8": 8, "<f2": 2, "bf16": 2}
ZIP = b"PK\x03\x04"


class StorageType(NamedTuple):
    """A kind of numbers: its name, its bytes, and what `floats_of` calls it, "" if they are no floats."""

    name: str
    bytes: int
    code: str


class Storage(NamedTuple):
    """Numbers in a row, as a pickle refers to them."""

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

    def check(self) -> None:
        """Refuses what no storage holds."""
        numbers = (self.offset, *self.shape, *self.strides)
        whole = isinstance(self.storage, Storage) and all(type(n) is int and n >= 0 for n in numbers)
        if not whole or len(self.shape) != len(self.strides):
            raise Refused("it describes a tensor that cannot be")
        reach = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True)) + 1
        if prod(self.shape) == 0 or reach > self.storage.numbers:
            raise Refused("it describes a tensor that is empty or reaches beyond its storage")
        if not self.storage.type.code:
            raise Refused(f"its weights are in a {self.storage.type.name}, which is no floating point")

    def of(self, content: bytes) -> np.ndarray:
        """The tensor's numbers, float32, from the bytes of its storage."""
        numbers = floats_of(content, self.storage.type.code)[self.offset :]
        steps = [step * numbers.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(numbers, self.shape, steps, writeable=False).astype(np.float32)


def read_torch(path: Path, wanted: WantedArrays) -> dict[str, np.ndarray]:
    """The arrays of a state dict by name, float32; where a checkpoint has it in one of its parts, they are told.

    Raises:
        DataError: the file is damaged, would run code, or has not exactly the arrays that are wanted, or twice.
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
        found, _ = _loaded(io.BytesIO(member(described[0], MOST_PICKLE)))
        tensors = the_networks(path, _parts(found, wanted), _shape_of, wanted)
        arrays: dict[str, np.ndarray] = {}
        for storage in _storages(tensors, wanted):
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
    found, described = _loaded(head)
    keys = load(head, {})
    tensors = the_networks(path, _parts(found, wanted), _shape_of, wanted)
    needed = _storages(tensors, wanted)
    if not isinstance(keys, list) or not all(storage.key in keys for storage in needed):
        raise Refused("it lacks storages that its tensors need")
    size = file.seek(0, os.SEEK_END)
    file.seek(head.tell())
    arrays: dict[str, np.ndarray] = {}
    for key in keys:
        (numbers,) = struct.unpack("<q", file.read(8))
        storage = described.get(key)
        if storage is None or numbers != storage.numbers:
            raise Refused(f"the storage {key} is not the one that its tensors describe")
        if storage.size > size - file.tell():
            raise Refused("it ends too early")
        if storage not in needed:
            file.seek(storage.size, os.SEEK_CUR)
            continue
        content = file.read(storage.size)
        arrays |= {name: tensor.of(content) for name, tensor in tensors.items() if tensor.storage == storage}
    return arrays


def _loaded(pickled: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """What a pickle describes, and the storages that it refers to, by their keys."""
    storages: dict[str, Storage] = {}

    def referred(reference: Any) -> Any:
        if reference[0] == "module":  # of a whole network in the legacy form: its class, and its source
            return reference[1]
        kind, of, key, _, numbers = reference[:5]
        if isinstance(of, type) and issubclass(of, Unlisted):
            of = StorageType(of.asked, 0, "")
        whole = kind == "storage" and isinstance(of, StorageType) and type(key) is str
        if not whole or type(numbers) is not int or numbers < 0 or any(reference[5:]):
            raise Refused("it refers to something that is no storage of numbers")
        storage = Storage(key, of, numbers)
        if storages.setdefault(key, storage) != storage:
            raise Refused("it describes a storage in two ways")
        return storage

    return load(pickled, ALLOWED, referred, unlisted=True), storages


def _parts(found: Any, wanted: WantedArrays) -> dict[str, dict[str, Any]]:
    """The dictionaries with tensors in what was saved, by the way to them: "", "state_dict", "model.state_dict"."""
    parts: dict[str, dict[str, Any]] = {}
    others: list[Unlisted] = []
    waiting: deque[tuple[str, int, Any]] = deque([("", 0, found)])
    seen: set[int] = set()
    while waiting:
        place, depth, value = waiting.popleft()
        if id(value) in seen or depth > DEEPEST:
            continue
        seen.add(id(value))
        if isinstance(value, Unlisted):
            others.append(value)
        elif isinstance(value, dict):
            held = {name: each for name, each in value.items() if isinstance(name, str)}
            tensors = {name: each for name, each in held.items() if isinstance(each, Tensor | Unlisted)}
            parts |= {place: tensors} if any(isinstance(each, Tensor) for each in tensors.values()) else {}
            waiting.extend((f"{place}.{name}".lstrip("."), depth + 1, each) for name, each in held.items())
        elif isinstance(value, list | tuple) and not isinstance(value, Tensor | Storage | StorageType):
            waiting.extend((f"{place}.{index}".lstrip("."), depth + 1, each) for index, each in enumerate(value))
    networks = [each for each in others if isinstance(each.state, dict) and "_modules" in each.state]
    if networks and not any(name.endswith(tuple(wanted.shapes)) for part in parts.values() for name in part):
        raise Refused(f"it is a pickled {networks[0].asked}: save its state_dict() instead")
    if not parts:
        raise asks_for(others[0]) if others else Refused("it holds no state dict, the tensors of a network by name")
    return parts


def _shape_of(tensor: Any) -> Shape:
    """The shape of what has to be a tensor of floats."""
    if not isinstance(tensor, Tensor):
        raise asks_for(tensor)
    tensor.check()
    return tensor.shape


def _storages(tensors: dict[str, Tensor], wanted: WantedArrays) -> list[Storage]:
    """The storages of tensors that are those of the network, and no larger than they may have to be."""
    storages = list(dict.fromkeys(tensor.storage for tensor in tensors.values()))
    if sum(storage.size for storage in storages) > wanted.most_bytes:
        raise Refused(f"its storages hold more than the {wanted.most_bytes:,} bytes that the network can need")
    return storages


def _rebuild_from_type(function: Any, _: Any, arguments: Iterable, *__: Any) -> Any:
    """What `_rebuild_from_type_v2` becomes: a parameter with attributes, which are left out."""
    return function(*arguments) if isinstance(function, StandIn) else Unlisted()


def _rebuild_tensor(storage: Any, offset: Any, shape: Iterable, strides: Iterable, *_: Any) -> Tensor:
    return Tensor(storage, offset, tuple(shape), tuple(strides))


ALLOWED = {
    "collections.OrderedDict": StandIn(OrderedDict),
    "torch._utils._rebuild_tensor": StandIn(_rebuild_tensor),
    "torch._utils._rebuild_tensor_v2": StandIn(_rebuild_tensor),
    "torch._utils._rebuild_parameter": StandIn(lambda tensor, *_: tensor),
    "torch._utils._rebuild_parameter_with_state": StandIn(lambda tensor, *_: tensor),
    "torch._tensor._rebuild_from_type_v2": StandIn(_rebuild_from_type),
    **{f"torch.{name}": StorageType(name, BYTES[code], code) for name, code in FLOATS.items()},
    **{name: StorageType(name.rpartition(".")[2], size, "") for name, size in OTHERS.items()},
}
