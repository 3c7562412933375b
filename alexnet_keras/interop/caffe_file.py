"""Files of Caffe: a network's weights (.caffemodel) and a mean image (.binaryproto), read without Caffe.

Both are Protocol Buffers. The messages are described here by the field numbers of Caffe's public schema,
src/caffe/proto/caffe.proto of github.com/BVLC/caffe, as far as weights need them: `NetParameter` name = 1, layers = 2
(before 2015), layer = 100; `V1LayerParameter` name = 4, blobs = 6; `LayerParameter` name = 1, blobs = 7; `BlobProto`
num, channels, height, width = 1 to 4, data = 5, shape = 7; `BlobShape` dim = 1.
"""

from collections.abc import Iterator
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from alexnet_keras.errors import DAMAGED, DataError
from alexnet_keras.interop.wanted import Shape, WantedArrays

OLD_LAYERS, LAYERS = 2, 100  # fields of NetParameter
MESSAGES = {OLD_LAYERS: "V1LayerParameter", LAYERS: "LayerParameter"}
BYTES = 2  # the wire type of everything with a length
OTHER_SIZES = {1: 8, 5: 4}  # bytes of the wire types with a fixed size
MOST_MEAN = 3 * 1024 * 1024  # numbers of a mean image
DAMAGE = (DecodeError, *DAMAGED)


def read_caffe(path: Path, wanted: WantedArrays) -> dict[str, np.ndarray]:
    """The arrays of a .caffemodel by layer and number, float32: "conv1[0]" its weights, "conv1[1]" its biases.

    Raises:
        DataError: the file is damaged, or has not exactly the arrays that are wanted.
    """
    shapes: dict[str, Shape] = {}
    arrays: dict[str, np.ndarray] = {}
    ranks = {name: len(shape) for name, shape in wanted.shapes.items()}
    try:
        for layer in _layers(path, wanted.most_bytes):
            for index, blob in enumerate(layer.blobs):
                name = f"{layer.name}[{index}]"
                shapes[name] = _shape(blob, ranks.get(name, 0))
                if name in ranks:
                    arrays[name] = _numbers(blob, shapes[name], name)
    except DAMAGE as error:
        raise _cannot(path, error) from error
    wanted.check(path, shapes)
    return arrays


def recipe_of_caffe(path: Path) -> str:
    """The built-in recipe of a .caffemodel: "caffenet" if it pools before it normalises, else "caffe".

    Raises:
        DataError: the file is damaged.
    """
    try:
        names = [layer.name for layer in _layers(path)]
    except DAMAGE as error:
        raise _cannot(path, error) from error
    both = "pool1" in names and "norm1" in names
    return "caffenet" if both and names.index("pool1") < names.index("norm1") else "caffe"


def read_caffe_mean(path: Path, side: int) -> np.ndarray:
    """The mean image of a .binaryproto, float32 `(height, width, 3)`, RGB, 0..255.

    Args:
        side: of the crops that it is subtracted from, pixels; the image has to be as large at least.

    Raises:
        DataError: the file is damaged, or no mean image of this size.
    """
    try:
        if path.stat().st_size > 9 * MOST_MEAN:  # float64, and the shape
            raise ValueError("it is larger than any mean image")
        blob = _message("BlobProto").FromString(path.read_bytes())
        shape = _shape(blob, 3)
        if len(shape) != 3 or shape[0] != 3 or min(shape[1:]) < side or prod(shape) > MOST_MEAN:
            told = "×".join(map(str, shape))
            raise ValueError(f"it is {told}, and no mean image of 3 colours and at least {side}×{side} pixels")
        return np.ascontiguousarray(_numbers(blob, shape, "mean").transpose(1, 2, 0)[:, :, ::-1])
    except DAMAGE as error:
        raise DataError(f"{path} cannot be used as a mean image: {_told(error)}.") from error


def _cannot(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be used as weights: {_told(error)}.")


def _told(error: Exception) -> str:
    return "it is damaged" if isinstance(error, DecodeError) else str(error) or "it is damaged"


def _layers(path: Path, most_bytes: int | None = None) -> Iterator[Any]:
    """The layers of a NetParameter, one at a time: a network whole takes its size in memory several times."""
    with path.open("rb") as file:
        size = path.stat().st_size
        if most_bytes is not None and size > most_bytes + 2**20:
            raise ValueError(f"it has {size:,} bytes, more than the network can need")
        while file.tell() < size:
            tag = _varint(file)
            field, wire = tag >> 3, tag & 7
            if wire == 0:
                _varint(file)
                continue
            length = _varint(file) if wire == BYTES else OTHER_SIZES.get(wire, size)
            if field == 0 or length > size - file.tell():
                raise ValueError(f"it ends too early, or is no .caffemodel (at byte {file.tell():,} of {size:,})")
            if wire == BYTES and field in MESSAGES:
                yield _message(MESSAGES[field]).FromString(file.read(length))
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
    shape = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return shape


def _numbers(blob: Any, shape: Shape, name: str) -> np.ndarray:
    content = b"".join(blob.data)
    if min(shape, default=0) < 1 or len(content) != 4 * prod(shape):
        told = "×".join(map(str, shape))
        raise ValueError(f"the array {name} has {len(content):,} bytes of float32 and the shape {told}")
    return np.frombuffer(content, "<f4").reshape(shape)


# of each message its fields: number, type, whether it is repeated
_ONE, _MANY = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL, descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
_FIELDS: dict[str, dict[str, tuple[int, str, int]]] = {
    "BlobShape": {"dim": (1, "int64", _MANY)},
    "BlobProto": {
        **{size: (place, "int64", _ONE) for place, size in enumerate(("num", "channels", "height", "width"), start=1)},
        "data": (5, "bytes", _MANY),  # packed float32; as bytes they need not become Python's numbers one by one
        "shape": (7, "BlobShape", _ONE),
    },
    "V1LayerParameter": {"name": (4, "string", _ONE), "blobs": (6, "BlobProto", _MANY)},
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
