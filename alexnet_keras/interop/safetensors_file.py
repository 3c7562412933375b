"""safetensors files: eight bytes, a JSON header, and the numbers.

Reference: github.com/huggingface/safetensors, README, "Format".
"""

import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.errors import DAMAGED, DataError
from alexnet_keras.interop.state_dicts import floats_of, the_networks
from alexnet_keras.interop.wanted import WantedArrays

MOST_HEADER = 2**20  # bytes; the format allows a hundred times that, AlexNet's takes two thousand
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "bf16"}
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


def read_safetensors(path: Path, wanted: WantedArrays) -> dict[str, np.ndarray]:
    """The arrays of a file by name, float32.

    Raises:
        DataError: the file is damaged, or has not exactly the arrays that are wanted.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MOST_HEADER):
                raise ValueError(f"its header claims {length:,} bytes")
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            entries = the_networks(path, {"": header}, lambda entry: tuple(entry["shape"]), wanted)
            places = {name: _place(name, entry, size - 8 - length) for name, entry in entries.items()}
            arrays = {}
            for name, (start, stop, kind) in places.items():
                file.seek(8 + length + start)
                numbers = floats_of(file.read(stop - start), kind)
                arrays[name] = numbers.reshape(entries[name]["shape"]).astype(np.float32)
    except DataError:
        raise
    except DAMAGED as error:
        raise DataError(f"{path} cannot be used as weights: {str(error) or 'it is damaged'}.") from error
    return arrays


def _place(name: str, entry: dict[str, Any], size: int) -> tuple[int, int, str]:
    """Where an array begins and ends, and its numbers' kind."""
    start, stop = entry["data_offsets"]
    kind = TYPES.get(entry["dtype"])
    if kind is None:
        raise ValueError(f"the array {name} has the type {entry['dtype']}, which is none of {', '.join(TYPES)}")
    if not 0 <= start <= stop <= size or stop - start != prod(entry["shape"]) * BYTES[entry["dtype"]]:
        raise ValueError(f"the array {name} lies where it cannot, from byte {start} to {stop} of {size}")
    return start, stop, kind
