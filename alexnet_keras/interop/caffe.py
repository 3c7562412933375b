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

from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.interop.conventions import Shape, WantedArrays
from alexnet_keras.storage.file_kinds import file_kind, refuse_other_kinds

OLD_LAYERS, LAYERS = 2, 100  # fields of NetParameter
MESSAGES = {OLD_LAYERS: "V1LayerParameter", LAYERS: "LayerParameter"}
BYTES = 2  # the wire type of everything with a length
OTHER_SIZES = {1: 8, 5: 4}  # bytes of the wire types with a fixed size
MOST_MEAN = 3 * 1024 * 1024  # numbers of a mean image
SOLVER_STATE = "it is a .solverstate, which has the weights' last changes: give the .caffemodel saved with it"
RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2"}  # DOUBLE, FLOAT, FLOAT16
DAMAGE = (DecodeError, *DAMAGED)


def read_caffe(path: Path, wanted: WantedArrays) -> dict[str, np.ndarray]:
    """The arrays of a .caffemodel by layer and number, float32: "conv1[0]" its weights, "conv1[1]" its biases.

    Raises:
        DataError: the file is damaged, or has not exactly the arrays that are wanted.
    """
    try:
        if _is_hdf5(path):
            return read_caffe_hdf5(path, wanted)
        ranks = {name: len(shape) for name, shape in wanted.shapes.items()}
        arrays: dict[str, np.ndarray] = {}
        for layer in _layers(path, wanted.most_bytes):
            for index, blob in enumerate(layer.blobs):
                name = f"{layer.name}[{index}]"
                arrays[name] = _numbers(blob, _shape(blob, ranks.get(name, rank_of(name))), name)
        names = wanted.find(path, {name: array.shape for name, array in arrays.items()})
        return {name: arrays[theirs].astype(np.float32, copy=False) for name, theirs in names.items()}
    except DataError:
        raise
    except DAMAGE as error:
        raise _cannot(path, error) from error


def recipe_of_caffe(path: Path) -> str:
    """The built-in recipe of a .caffemodel: "caffenet" if it pools before it normalises, else "caffe".

    Raises:
        UsageError: it is in HDF5, which does not keep the order of layers.
        DataError: the file is damaged.
    """
    try:
        if _is_hdf5(path):
            check_caffe_hdf5(path)
            raise UsageError(f"{path} does not keep the order of its layers: say --recipe caffe or --recipe caffenet.")
        names = [layer.name for layer in _layers(path)]
    except DAMAGE as error:
        raise _cannot(path, error) from error
    both = "pool1" in names and "norm1" in names
    return "caffenet" if both and names.index("pool1") < names.index("norm1") else "caffe"


def read_caffe_mean(path: Path, side: int) -> np.ndarray:
    """A mean image, float32 `(height, width, 3)`, or a mean colour `(3,)`: RGB, 0..255.

    Args:
        path: a .binaryproto, or a .npy of numbers `(3, height, width)` or `(3,)`, B, G, R, as Caffe has them.
        side: of the crops that an image is subtracted from, pixels; it has to be as large at least.

    Raises:
        DataError: the file is damaged, or no mean image of this size.
    """
    refuse_other_kinds(path, "npy")
    try:
        if path.stat().st_size > 9 * MOST_MEAN:  # float64, and the shape
            raise ValueError("it is larger than any mean image")
        kind = file_kind(path)
        if kind and kind.name == "npy":
            numbers = np.load(path, mmap_mode="r", allow_pickle=False)
            numbers = numbers.reshape(without_ones(numbers.shape, 3))
        else:
            blob = _message("BlobProto").FromString(path.read_bytes())
            shape = _shape(blob, 3)
            numbers = _numbers(blob, shape, "mean") if 0 < prod(shape) <= MOST_MEAN else np.empty((0,) * len(shape))
        told = "×".join(map(str, numbers.shape))
        if numbers.shape in ((3,), (3, 1, 1)) and numbers.dtype.kind in "fui":
            mean = numbers.reshape(3)[::-1]
        elif numbers.ndim == 3 and len(numbers) == 3 and min(numbers.shape[1:]) >= side and numbers.dtype.kind in "fui":
            mean = numbers.transpose(1, 2, 0)[:, :, ::-1]
        else:
            raise ValueError(f"it is {told}, and no mean image of 3 colours and at least {side}×{side} pixels")
        with np.errstate(over="ignore"):  # what is infinite then is refused
            mean = np.ascontiguousarray(mean, np.float32)
        if not (np.isfinite(mean).all() and mean.min() >= 0 and mean.max() <= 255):
            raise ValueError("its numbers are not all from 0 to 255")
        return mean
    except DAMAGE as error:
        raise DataError(f"{path} cannot be used as a mean image: {_told(error)}.") from error


def _is_hdf5(path: Path) -> bool:
    kind = file_kind(path)
    return kind is not None and kind.name == "hdf5"


def _cannot(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be used as weights: {_told(error)}.")


def _told(error: Exception) -> str:
    return "it is damaged" if isinstance(error, DecodeError) else str(error).rstrip(".") or "it is damaged"


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
                state = _varint(file) == 2 << 3 | BYTES
                raise ValueError(SOLVER_STATE if state else "it is no .caffemodel; a mean image goes with --mean")
            if wire == 0:
                _varint(file)
                continue
            length = _varint(file) if wire == BYTES else OTHER_SIZES.get(wire, size)
            if field == 0 or length > size - file.tell():
                raise ValueError(f"it ends too early, or is no .caffemodel (at byte {file.tell():,} of {size:,})")
            if wire == BYTES and field in MESSAGES:
                layer = _message(MESSAGES[field]).FromString(file.read(length))
                yield layer.layer if field == OLD_LAYERS and layer.HasField("layer") else layer
            else:
                file.seek(length, 1)


def _varint(file: BinaryIO) -> int:
    """A whole number in seven bits a byte."""
    value = 0
    for place in range(10):
        byte = file.read(1)
        if not byte:
            raise EOFError("it ends too early")
        value |= (byte[0] & 127) << 7 * place
        if byte[0] < 128:
            return value
    raise ValueError("it is no .caffemodel")


def _shape(blob: Any, rank: int) -> Shape:
    """A blob's shape; of the four sizes of old files, and of a mean image, leading ones are left out down to `rank`."""
    return without_ones(tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width), rank)


def _numbers(blob: Any, shape: Shape, name: str) -> np.ndarray:
    kinds = {"<f4": blob.data, "<f8": blob.double_data}
    if len(blob.raw_data):
        kinds = {RAW_TYPES.get(blob.raw_data_type, ""): [blob.raw_data]}
    for kind, parts in kinds.items():
        content = b"".join(parts)
        if kind and min(shape, default=0) > 0 and len(content) == np.dtype(kind).itemsize * prod(shape):
            return np.frombuffer(content, kind).reshape(shape)
    sizes = " or ".join(f"{sum(map(len, parts)):,} bytes" for parts in kinds.values() if parts) or "no numbers"
    raise ValueError(f"the array {name} has {sizes} and the shape {'×'.join(map(str, shape))}")


# of each message its fields: number, type, whether it is repeated
_ONE, _MANY = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL, descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
_FIELDS: dict[str, dict[str, tuple[int, str, int]]] = {
    "BlobShape": {"dim": (1, "int64", _MANY)},
    "BlobProto": {
        **{size: (place, "int64", _ONE) for place, size in enumerate(("num", "channels", "height", "width"), start=1)},
        "data": (5, "bytes", _MANY),  # packed float32; as bytes they need not become Python's numbers one by one
        "shape": (7, "BlobShape", _ONE),
        "double_data": (8, "bytes", _MANY),
        "raw_data_type": (10, "int64", _ONE),
        "raw_data": (12, "bytes", _ONE),
    },
    "V0LayerParameter": {"name": (1, "string", _ONE), "blobs": (50, "BlobProto", _MANY)},
    "V1LayerParameter": {
        "layer": (1, "V0LayerParameter", _ONE),
        "name": (4, "string", _ONE),
        "blobs": (6, "BlobProto", _MANY),
    },
    "LayerParameter": {"name": (1, "string", _ONE), "blobs": (7, "BlobProto", _MANY)},
}


@cache
def _message(name: str) -> Any:
    """The class of one of Caffe's messages, in a pool of its own: Caffe's may be there, too."""
    package = "weights_of_caffe"
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package)
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for field, (number, kind, label) in fields.items():
            added = described.field.add(name=field, number=number, label=label)
            if kind in _FIELDS:
                added.type, added.type_name = added.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                added.type = getattr(added, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))


OF_KERAS = ("layers", "model_weights", "vars", "_layer_checkpoint_dependencies")


def read_caffe_hdf5(path: Path, wanted: WantedArrays) -> dict[str, np.ndarray]:
    """The arrays of a file by layer and number, float32: "conv1[0]" its weights, "conv1[1]" its biases.

    Raises:
        DataError: the file has not exactly the arrays that are wanted.
        ValueError: it is no such file, or claims more than the network can need; h5py raises more of damaged files.
    """
    with h5py.File(path, "r") as file:
        data = _data_of(file)
        found = {f"{layer}[{n}]": array for layer, group in _own(data, h5py.Group) for n, array in _arrays(group)}
        shapes = {name: tuple(array.shape) for name, array in found.items()}
        ranks = {name: len(shape) for name, shape in wanted.shapes.items()}
        short = {name: without_ones(shape, ranks.get(name, rank_of(name))) for name, shape in shapes.items()}
        names = wanted.find(path, short)
        if sum(found[theirs].nbytes for theirs in names.values()) > wanted.most_bytes:
            raise ValueError(f"it claims more than the {wanted.most_bytes:,} bytes that the network can need")
        return {name: _hdf5_numbers(theirs, found[theirs], short[theirs]) for name, theirs in names.items()}


def check_caffe_hdf5(path: Path) -> None:
    """Refuses what others, or Caffe's solver, write in HDF5.

    Raises:
        ValueError: the file is none of Caffe's weights; h5py raises more of damaged files.
    """
    with h5py.File(path, "r") as file:
        _data_of(file)


def without_ones(shape: Shape, rank: int) -> Shape:
    """A shape without its leading ones, as long as it has more than `rank` sizes."""
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return shape


def rank_of(name: str) -> int:
    """How many sizes the array of an unknown dense layer has: two if it is "NAME[0]", the weights."""
    return 2 if name.endswith("[0]") else 1


def _data_of(file: Any) -> Any:
    """The group with the layers."""
    if {"iter", "history"} <= set(file):
        raise ValueError("it is a .solverstate: give the .caffemodel.h5 that was saved with it")
    data = dict(_own(file, h5py.Group)).get("data")
    if data is None:
        keras = any(name in file for name in OF_KERAS)
        told = "Keras's, not Caffe's: AlexNet(weights=FILE) reads .weights.h5" if keras else "HDF5 without Caffe's data"
        raise ValueError(f"it is {told}")
    return data


def _own(group: Any, kind: type) -> Iterator[tuple[str, Any]]:
    """What of a kind lies in a group itself: links may lead to any file of the machine."""
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink) and isinstance(group[name], kind):
            yield name, group[name]


def _arrays(group: Any) -> Iterator[tuple[int, Any]]:
    for name, array in _own(group, h5py.Dataset):
        if not name.isdecimal() or array.shape is None or array.is_virtual or array.external:
            raise ValueError(f"the array {array.name} is none of Caffe's")
        yield int(name), array


def _hdf5_numbers(name: str, array: Any, shape: Shape) -> np.ndarray:
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise ValueError(f"the array {name} has the type {array.dtype}, which is no floating point")
    return array[...].reshape(shape).astype(np.float32)
