"""Caffe's files, read without Caffe: weights (.caffemodel, .caffemodel.h5) and a mean image (.binaryproto, .npy).

Weights are Protocol Buffers. The messages are described here by the field numbers of Caffe's public schema,
src/caffe/proto/caffe.proto of github.com/BVLC/caffe, as far as weights need them: `NetParameter` name = 1, layers = 2
(before 2015), layer = 100; `V1LayerParameter` name = 4, blobs = 6, or of 2013 layer = 1; `V0LayerParameter` name = 1,
blobs = 50; `LayerParameter` name = 1, blobs = 7; `BlobProto` num, channels, height, width = 1 to 4, data = 5,
shape = 7, double_data = 8; `BlobShape` dim = 1; `SolverState` iter = 1, learned_net = 2. NVIDIA's Caffe adds
raw_data_type = 10 and raw_data = 12 to `BlobProto`.

In HDF5 they are the arrays data/LAYER/NUMBER, whose layers have no order: src/caffe/net.cpp, `Net::ToHDF5`."""

from collections.abc import Iterator
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from alexnet_keras.errors import UsageError
from alexnet_keras.storage.file_kinds import file_kind, refuse_other_kinds
from alexnet_keras.weights.conventions import ExpectedArrays, Shape, refusing_damage, shape_text

OLD_LAYERS, LAYERS = 2, 100  # fields of NetParameter
MESSAGES = {OLD_LAYERS: "V1LayerParameter", LAYERS: "LayerParameter"}
BYTES = 2  # the wire type of everything with a length
OTHER_SIZES = {1: 8, 5: 4}  # bytes of the wire types with a fixed size
MOST_MEAN = 3 * 1024 * 1024  # numbers of a mean image
SOLVER_STATE = "it is a .solverstate, which has the weights' last changes: give the {} saved with it"
SAY_RECIPE = "say --recipe caffe or --recipe caffenet"
RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2"}  # DOUBLE, FLOAT, FLOAT16
KERAS_GROUPS = ("layers", "model_weights", "vars", "_layer_checkpoint_dependencies")  # in the HDF5 files that it writes


def read_caffe(path: Path, expected: ExpectedArrays) -> dict[str, np.ndarray]:
    """Read the arrays of a .caffemodel by layer and number, float32: "conv1[0]" its weights, "conv1[1]" its biases.

    Raises:
        DataError: The file is damaged, or does not hold exactly the expected arrays.
    """
    with refusing_damage(path):
        if _kind(path) == "hdf5":
            return _read_hdf5(path, expected)
        arrays: dict[str, np.ndarray] = {}
        for layer in _layers(path, expected.most_bytes):
            for index, blob in enumerate(layer.blobs):
                name = f"{layer.name}[{index}]"
                arrays[name] = _numbers(blob, _without_ones(_shape(blob), _rank(name, expected)), name)
        names = expected.match(path, {name: array.shape for name, array in arrays.items()})
        return {name: arrays[theirs].astype(np.float32, copy=False) for name, theirs in names.items()}


def recipe_of_caffe(path: Path) -> str:
    """Return the built-in recipe of a .caffemodel: "caffenet" if it pools before it normalises, "caffe" if after.

    Raises:
        UsageError: It is in HDF5, which does not keep the order of layers, or lacks one of these two.
        DataError: The file is damaged.
    """
    with refusing_damage(path):
        if _kind(path) == "hdf5":
            with h5py.File(path, "r") as file:
                _hdf5_layers(file)
            raise UsageError(f"{path} does not keep the order of its layers: {SAY_RECIPE}.")
        names = [layer.name for layer in _layers(path)]
    if not {"pool1", "norm1"} <= set(names):
        raise UsageError(f"{path} has not both layers, pool1 and norm1, whose order shows its network: {SAY_RECIPE}.")
    return "caffenet" if names.index("pool1") < names.index("norm1") else "caffe"


def read_caffe_mean(path: Path, side: int) -> np.ndarray:
    """Read a mean image, float32 `(height, width, 3)`, or a mean colour `(3,)`: RGB, 0..255.

    Args:
        path: A .binaryproto, or a .npy of numbers `(3, height, width)` or `(3,)`, B, G, R, as Caffe has them.
        side: Side of the network's crops, pixels; an image has to be at least as large.

    Raises:
        DataError: The file is damaged, or holds no mean image of this size.
    """
    refuse_other_kinds(path, "npy")
    with refusing_damage(path, "a mean image"):
        if path.stat().st_size > 9 * MOST_MEAN:  # float64, and the shape
            raise ValueError("it is larger than any mean image")
        if _kind(path) == "npy":
            numbers = np.load(path, mmap_mode="r", allow_pickle=False)
            numbers = numbers.reshape(_without_ones(numbers.shape, 3))
        else:
            blob = _parsed("BlobProto", path.read_bytes())
            numbers = _numbers(blob, _without_ones(_shape(blob), 3), "mean")
        is_number = numbers.dtype.kind in "fui"
        if numbers.shape in ((3,), (3, 1, 1)) and is_number:
            mean = numbers.reshape(3)[::-1]
        elif numbers.ndim == 3 and len(numbers) == 3 and min(numbers.shape[1:]) >= side and is_number:
            mean = numbers.transpose(1, 2, 0)[:, :, ::-1]
        else:
            described = shape_text(numbers.shape)
            raise ValueError(f"it is {described}, and no mean image of 3 colours and at least {side}×{side} pixels")
        with np.errstate(over="ignore"):  # what is infinite then is refused
            mean = np.ascontiguousarray(mean, np.float32)
        if not (np.isfinite(mean).all() and mean.min() >= 0 and mean.max() <= 255):
            raise ValueError("its numbers are not all from 0 to 255")
        if 0 < mean.max() <= 1:
            raise ValueError(f"its numbers are 0 to {mean.max():.4g}, and pixels 0 to 255: multiply them by 255")
        return mean


def _kind(path: Path) -> str:
    kind = file_kind(path)
    return kind.name if kind else ""


def _rank(name: str, expected: ExpectedArrays) -> int:
    """The number of axes of an array; an unexpected one is taken for a dense layer's weights, "NAME[0]", or biases."""
    return len(expected.shapes[name]) if name in expected.shapes else 2 if name.endswith("[0]") else 1


def _without_ones(shape: Shape, rank: int) -> Shape:
    """A shape without leading ones, which old files have, as long as it has more than `rank` axes."""
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return shape


def _layers(path: Path, most_bytes: int | None = None) -> Iterator[Any]:
    """The layers of a NetParameter, one at a time: a network whole takes its size in memory several times."""
    with path.open("rb") as file:
        size = path.stat().st_size
        if most_bytes is not None and size > most_bytes + 2**20:
            raise ValueError(f"it has {size:,} bytes, more than the network can need")
        while file.tell() < size:
            tag = _varint(file)
            field, wire = tag >> 3, tag & 7
            if (field, wire) == (1, 0):  # a number, where a NetParameter has its name
                _varint(file)
                is_state = _varint(file) == 2 << 3 | BYTES
                other = "it is no .caffemodel; a mean image goes with --mean"
                raise ValueError(SOLVER_STATE.format(".caffemodel") if is_state else other)
            if wire == 0:
                _varint(file)
                continue
            length = _varint(file) if wire == BYTES else OTHER_SIZES.get(wire, size)
            if field == 0 or length > size - file.tell():
                raise ValueError(f"it ends too early, or is no .caffemodel (at byte {file.tell():,} of {size:,})")
            if wire == BYTES and field in MESSAGES:
                layer = _parsed(MESSAGES[field], file.read(length))
                yield layer.layer if field == OLD_LAYERS and layer.HasField("layer") else layer
            else:
                file.seek(length, 1)


def _varint(file: BinaryIO) -> int:
    """A whole number of seven bits in each byte."""
    value = 0
    for place in range(10):
        byte = file.read(1)
        if not byte:
            raise EOFError("it ends too early")
        value |= (byte[0] & 127) << 7 * place
        if byte[0] < 128:
            return value
    raise ValueError("it is no .caffemodel")


def _shape(blob: Any) -> Shape:
    """A blob's shape, or the four sizes that old files and mean images have in its place."""
    return tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)


def _numbers(blob: Any, shape: Shape, name: str) -> np.ndarray:
    kinds = {"<f4": blob.data, "<f8": blob.double_data}
    if len(blob.raw_data):
        kinds = {RAW_TYPES.get(blob.raw_data_type, ""): [blob.raw_data]}
    for kind, parts in kinds.items():
        content = b"".join(parts)
        if kind and min(shape, default=0) > 0 and len(content) == np.dtype(kind).itemsize * prod(shape):
            return np.frombuffer(content, kind).reshape(shape)
    sizes = " or ".join(f"{sum(map(len, parts)):,} bytes" for parts in kinds.values() if parts) or "no numbers"
    raise ValueError(f"the array {name} has {sizes} and the shape {shape_text(shape)}")


# The fields of each message: number and type.
_FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "BlobShape": {"dim": (1, "int64")},
    "BlobProto": {
        **{size: (place, "int64") for place, size in enumerate(("num", "channels", "height", "width"), start=1)},
        "data": (5, "bytes"),  # packed float32; as bytes they need not become Python's numbers one by one
        "shape": (7, "BlobShape"),
        "double_data": (8, "bytes"),
        "raw_data_type": (10, "int64"),
        "raw_data": (12, "bytes"),
    },
    "V0LayerParameter": {"name": (1, "string"), "blobs": (50, "BlobProto")},
    "V1LayerParameter": {"layer": (1, "V0LayerParameter"), "name": (4, "string"), "blobs": (6, "BlobProto")},
    "LayerParameter": {"name": (1, "string"), "blobs": (7, "BlobProto")},
}
_REPEATED = ("dim", "data", "double_data", "blobs")


def _parsed(message: str, content: bytes) -> Any:
    try:
        return _message(message).FromString(content)
    except DecodeError as error:
        raise ValueError("it is damaged") from error


@cache
def _message(name: str) -> Any:
    """The class of one of Caffe's messages, in a pool of its own: Caffe's may be there, too."""
    package = "weights_of_caffe"
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package)
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for field, (number, kind) in fields.items():
            added = described.field.add(name=field, number=number)
            added.label = added.LABEL_REPEATED if field in _REPEATED else added.LABEL_OPTIONAL
            if kind in _FIELDS:
                added.type, added.type_name = added.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                added.type = getattr(added, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))


def _read_hdf5(path: Path, expected: ExpectedArrays) -> dict[str, np.ndarray]:
    with h5py.File(path, "r") as file:
        arrays = {f"{layer}[{n}]": array for layer, group in _hdf5_layers(file) for n, array in _hdf5_arrays(group)}
        shapes = {name: _without_ones(tuple(array.shape), _rank(name, expected)) for name, array in arrays.items()}
        names = expected.match(path, shapes)
        if sum(arrays[theirs].nbytes for theirs in names.values()) > expected.most_bytes:
            raise ValueError(f"it claims more than the {expected.most_bytes:,} bytes that the network can need")
        for name in names.values():
            if arrays[name].dtype.kind != "f" or arrays[name].dtype.itemsize > 8:
                raise ValueError(f"the array {name} has the type {arrays[name].dtype}, which is no floating point")
        return {name: arrays[theirs][...].reshape(shapes[theirs]).astype(np.float32) for name, theirs in names.items()}


def _hdf5_layers(file: Any) -> list[tuple[str, Any]]:
    """The groups of layers by name; refuses what other programs, or Caffe's solver, write in HDF5."""
    if {"iter", "history"} <= set(file):
        raise ValueError(SOLVER_STATE.format(".caffemodel.h5"))
    data = dict(_members(file, h5py.Group)).get("data")
    if data is None:
        if any(name in file for name in KERAS_GROUPS):
            raise ValueError("it is Keras's, not Caffe's: AlexNet(weights=FILE) reads .weights.h5")
        raise ValueError("it is HDF5 without Caffe's data")
    return list(_members(data, h5py.Group))


def _members(group: Any, kind: type) -> Iterator[tuple[str, Any]]:
    """The members of a kind that lie in a group itself: links may lead to any file of the machine."""
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink) and isinstance(group[name], kind):
            yield name, group[name]


def _hdf5_arrays(group: Any) -> Iterator[tuple[int, Any]]:
    for name, array in _members(group, h5py.Dataset):
        if not name.isdecimal() or array.shape is None or array.is_virtual or array.external:
            raise ValueError(f"the array {array.name} is none of Caffe's")
        yield int(name), array
