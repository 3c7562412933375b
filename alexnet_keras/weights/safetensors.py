"""safetensors files that other programs wrote: the arrays of a state dict by name.

Reference: github.com/huggingface/safetensors, README, "Format"."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from alexnet_keras.errors import DataError
from alexnet_keras.weights.conventions import ExpectedArrays, refusing_damage
from alexnet_keras.weights.state_dicts import select_network

MOST_HEADER = 2**20  # bytes; the format allows a hundred times that, AlexNet's takes two thousand
OURS = "alexnet-keras"  # the start of the format that the metadata of our own exports name
TYPES = ("F64", "F32", "F16", "BF16")


def read_safetensors_arrays(path: Path, expected: ExpectedArrays) -> dict[str, np.ndarray]:
    """Read the arrays of a file by name, float32.

    Raises:
        DataError: The file is damaged, or does not hold exactly the expected arrays.
    """
    with refusing_damage(path, "weights", SafetensorError):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > MOST_HEADER:
            raise ValueError(f"its header claims {length:,} bytes")
        with safe_open(str(path), framework="np") as opened:
            if (opened.metadata() or {}).get("format", "").startswith(OURS):
                raise DataError(
                    f"{path} is an export of this program's, of which read_safetensors in alexnet_keras.interop makes "
                    "a Keras model: to have a run again, import what `alexnet publish` writes."
                )
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            chosen = select_network(path, {"": slices}, lambda each: tuple(each.get_shape()), expected)
            for name, each in chosen.items():
                if each.get_dtype() not in TYPES:
                    raise ValueError(f"the array {name} has the type {each.get_dtype()}, none of {', '.join(TYPES)}")
            # bfloat16 is among NumPy's types since Keras imported ml_dtypes
            return {name: each[:].astype(np.float32) for name, each in chosen.items()}
