"""bvlc_alexnet.npy of the University of Toronto: Caffe's AlexNet as a pickled {layer: [weights, biases]}.

Caffe's weights, converted by caffe-tensorflow for Guerzhoy and Frossard's page "AlexNet implementation + weights in
TensorFlow" (2016). The reader builds the pickle's arrays itself, so that none can claim memory for numbers that are not
there.
"""

import io
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.weights.conventions import ExpectedArrays, refusing_damage
from alexnet_keras.weights.pickles import Refused, StandIn, load

TYPES = ("f2", "f4", "f8")
ROOM = 2**16  # bytes of a pickle besides its numbers


def read_toronto(path: Path, expected: ExpectedArrays) -> dict[str, np.ndarray]:
    """Read the arrays of a file by layer and number, float32: "conv1[0]" its weights, "conv1[1]" its biases.

    Raises:
        DataError: The file is damaged, would run code, or does not hold exactly the expected arrays.
    """
    with refusing_damage(path):
        size = path.stat().st_size
        if size > expected.most_bytes + ROOM:
            raise Refused(f"it has {size:,} bytes, more than the network can need")
        layers = _layers(path)
        arrays = {f"{name}[{index}]": array for name, pair in layers.items() for index, array in enumerate(pair)}
        if not all(isinstance(array, PickledArray) and array.numbers is not None for array in arrays.values()):
            raise Refused("it holds something else than arrays")
        names = expected.match(path, {name: array.numbers.shape for name, array in arrays.items()})
        return {name: arrays[theirs].numbers.astype(np.float32) for name, theirs in names.items()}


def _layers(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise Refused(f"it is in the version {version} of NumPy's format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if shape != () or dtype != np.dtype(object):
            raise Refused("it is an array of numbers, not a dictionary of layers; a mean image goes with --mean")
        outer = load(io.BytesIO(file.read()), ALLOWED, encoding="latin1")  # Python 2 wrote it
    layers = outer.inside if isinstance(outer, PickledArray) else outer
    if not isinstance(layers, dict):
        raise Refused("it holds no dictionary of layers")
    return {name.decode("latin1") if isinstance(name, bytes) else str(name): pair for name, pair in layers.items()}


class PickledType:
    """Takes the place of `numpy.dtype`."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else str(code)
        self.order = "="

    def __setstate__(self, state: tuple) -> None:
        self.order = str(state[1])


class PickledArray:
    """Takes the place of `numpy.ndarray`: has `numbers`, or the one object `inside`."""

    numbers: np.ndarray | None = None
    inside: Any = None

    def __setstate__(self, state: tuple) -> None:
        shape, kind, fortran, content = state[-4:]
        if not isinstance(kind, PickledType):
            raise Refused("it holds an array without a type")
        if kind.code[:1] == "O" and tuple(shape) == () and len(content) == 1:
            self.inside = content[0]
            return
        if kind.code not in TYPES or kind.order not in ("<", ">", "=", "|") or not all(n > 0 for n in shape):
            raise Refused(f"it holds an array of the type {kind.code!r}, which is none of {', '.join(TYPES)}")
        raw = content.encode("latin1") if isinstance(content, str) else bytes(content) if content else b""
        dtype = np.dtype(kind.order.replace("|", "=") + kind.code)
        if len(raw) != prod(shape) * dtype.itemsize:
            raise Refused(f"it holds an array of {len(raw):,} bytes with room for {prod(shape) * dtype.itemsize:,}")
        self.numbers = np.frombuffer(raw, dtype).reshape(tuple(shape), order="F" if fortran else "C")


def _encode(text: str, encoding: str) -> bytes:
    """Takes the place of `_codecs.encode`, with which Python 3 writes bytes in a pickle that Python 2 can read."""
    if not isinstance(text, str) or encoding != "latin1":
        raise Refused("it encodes something that is no bytes")
    return text.encode("latin1")


ALLOWED = {
    **{f"numpy.{core}.multiarray._reconstruct": StandIn(lambda *_: PickledArray()) for core in ("core", "_core")},
    "numpy.ndarray": "numpy.ndarray",  # an argument of _reconstruct
    "numpy.dtype": StandIn(PickledType),
    "_codecs.encode": StandIn(_encode),
}
