"""Weights of Caffe in HDF5, .caffemodel.h5: the arrays data/LAYER/NUMBER, whose layers have no order.

Reference: src/caffe/net.cpp of github.com/BVLC/caffe, `Net::ToHDF5`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from alexnet_keras.interop.wanted import Shape, WantedArrays

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
        return {name: _numbers(theirs, found[theirs], short[theirs]) for name, theirs in names.items()}


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


def _numbers(name: str, array: Any, shape: Shape) -> np.ndarray:
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise ValueError(f"the array {name} has the type {array.dtype}, which is no floating point")
    return array[...].reshape(shape).astype(np.float32)
