"""Files as Caffe, TensorFlow's converters and PyTorch write them, written here from their formats alone."""

import json
import pickle
import struct
import zipfile
from typing import NamedTuple

import h5py
import numpy as np


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number, content):
    """A field with a length: bytes, text, or a message."""
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def number(place, value):
    return varint(place << 3) + varint(value)


def blob(array, old=False, numbers="data"):
    """BlobProto: data = 5, packed; shape = 7, or num, channels, height, width = 1 to 4 before 2015.

    `numbers` may also be double_data = 8, or "raw TYPE": NVIDIA's raw_data_type = 10 and raw_data = 12.
    """
    if old:
        sizes = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(number(place, size) for place, size in enumerate(sizes, start=1))
    else:
        shape = field(7, field(1, b"".join(map(varint, array.shape))))
    if numbers == "double_data":
        return shape + field(8, array.astype("<f8").tobytes())
    if numbers.startswith("raw"):
        kind = int(numbers[-1])
        return (
            shape + (number(10, kind) if kind else b"") + field(12, array.astype(("<f8", "<f4", "<f2")[kind]).tobytes())
        )
    return shape + field(5, array.astype("<f4").tobytes())


def caffemodel(arrays, old=False, pool_first=False, name="AlexNet", numbers="data"):
    """NetParameter: name = 1, and layers = 2 (their name = 4, blobs = 6) or layer = 100 (name = 1, blobs = 7).

    `old` may be 2013: layers = 2 with a layer = 1 inside (its name = 1, blobs = 50).
    """
    layer_field, name_field, blobs_field = (2, 4, 6) if old else (100, 1, 7)
    if old == 2013:
        name_field, blobs_field = 1, 50
    first = ["pool1", "norm1"] if pool_first else ["norm1", "pool1"]
    content = field(1, name) + number(5, 0)
    for layer in ["data", "conv1", "relu1", *first, *(name for name in arrays if name != "conv1"), "prob"]:
        blobs = b"".join(field(blobs_field, blob(array, old, numbers)) for array in arrays.get(layer, ()))
        told = field(name_field, layer) + blobs
        content += field(layer_field, field(1, told) + field(2, "below") if old == 2013 else told)
    return content


def write_caffemodel(path, arrays):
    path.write_bytes(caffemodel(arrays))


def write_old_caffemodel(path, arrays):
    path.write_bytes(caffemodel(arrays, old=True))


def write_caffe_hdf5(path, arrays, legacy_shapes=False):
    """A .caffemodel.h5: data/LAYER/NUMBER, a group for each layer, with arrays or without."""
    with h5py.File(path, "w") as file:
        for layer in ["data", "norm1", "pool1", *arrays]:
            group = file.create_group(f"data/{layer}")
            for index, array in enumerate(arrays.get(layer, ())):
                ones = (1,) * (4 - array.ndim) * legacy_shapes
                group[str(index)] = array.reshape(ones + array.shape)
    return path


def binaryproto(mean, old=True):
    """The mean image (3, height, width), B, G, R."""
    return blob(mean[None], old)


def state_names(arrays):
    """torchvision's names for the layers' arrays."""
    places = dict(zip(("conv1", "conv2", "conv3", "conv4", "conv5"), (0, 3, 6, 8, 10), strict=True))
    heads = {"fc6": 1, "fc7": 4, "fc8": 6}
    return {
        f"{'features' if layer in places else 'classifier'}.{(places | heads)[layer]}.{kind}": array
        for layer, pair in arrays.items()
        for kind, array in zip(("weight", "bias"), pair, strict=True)
    }


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def whole(value):
    return b"J" + struct.pack("<i", value)


STORAGES = {
    "<f4": "Float",
    "<f8": "Double",
    "<f2": "Half",
    "<u2": "BFloat16",
    "<i8": "Long",
    "|i1": "Char",
    "<c8": "ComplexFloat",
}


class View(NamedTuple):
    """A tensor that is a part of an array's storage; its metadata are a piece of a pickle."""

    of: np.ndarray
    offset: int
    shape: tuple
    strides: tuple
    metadata: bytes = b""


class Opcodes(bytes):
    """A piece of a pickle, as it stands."""


def state_pickle(value, extra_reference=b""):
    """The pickle of dictionaries, lists and tensors as PyTorch writes it, with the storages "0", "1", ..."""
    return b"\x80\x02" + _pickled(value, storages_of(value), extra_reference) + b"."


def storages_of(value):
    """The arrays whose numbers a value's tensors have."""
    if isinstance(value, View | np.ndarray):
        return [value.of if isinstance(value, View) else value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [array for each in inside for array in storages_of(each)]
    return [array for index, array in enumerate(found) if not any(array is other for other in found[:index])]


def _pickled(value, storages, extra_reference):
    match value:
        case Opcodes():
            return value
        case str():
            return text(value)
        case int():
            return whole(value)
        case dict():
            items = b"".join(_pickled(each, storages, extra_reference) for pair in value.items() for each in pair)
            return b"ccollections\nOrderedDict\n)R(" + items + b"u"
        case list():
            return b"](" + b"".join(_pickled(each, storages, extra_reference) for each in value) + b"e"
        case np.ndarray():
            strides = tuple(int(np.prod(value.shape[axis + 1 :])) for axis in range(value.ndim))
            value = View(value, 0, value.shape, strides)
    of = value.of
    kind = STORAGES.get(of.dtype.str, "Float")
    key = next(index for index, array in enumerate(storages) if array is of)
    storage = b"(" + text("storage") + f"ctorch\n{kind}Storage\n".encode() + text(str(key)) + text("cpu")
    storage += whole(of.size) + extra_reference + b"tQ"
    sizes, steps = (b"(" + b"".join(map(whole, numbers)) + b"t" for numbers in (value.shape, value.strides))
    view = whole(value.offset) + sizes + steps + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + value.metadata + b"tR"


def _stored(array):
    return array.astype("<f4" if STORAGES.get(array.dtype.str) is None else array.dtype).tobytes()


def write_pth(path, states, description=None, compression=zipfile.ZIP_STORED, storages=None):
    """PyTorch's zip form."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", state_pickle(states) if description is None else description)
        archive.writestr("archive/byteorder", "little")
        for key, array in enumerate(storages_of(states)):
            archive.writestr(f"archive/data/{key}", _stored(array) if storages is None else storages)
        archive.writestr("archive/version", "3\n")
    return path


def write_legacy_pth(path, states):
    """PyTorch's form before 1.6: five pickles, then each storage's length and numbers."""
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    protocol = b"\x80\x02M\xe9\x03."
    system = b"\x80\x02}(" + text("protocol_version") + b"M\xe9\x03" + text("little_endian") + b"\x88u."
    storages = storages_of(states)
    keys = b"\x80\x02](" + b"".join(text(str(key)) for key in range(len(storages))) + b"e."
    content = magic + protocol + system + state_pickle(states, b"N") + keys
    for array in storages:
        content += struct.pack("<q", array.size) + _stored(array)
    path.write_bytes(content)
    return path


def write_safetensors(path, states):
    header, content = {"__metadata__": {"format": "pt"}}, b""
    for name, array in states.items():
        raw = array.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(content), len(content) + len(raw)]}
        content += raw
    told = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(told)) + told + content)
    return path


def torontos_layers(arrays, side=6):
    """The dictionary in bvlc_alexnet.npy: (height, width, in, out) and (in, out), fc6 reading (height, width, maps)."""
    layers = {}
    for layer, (kernel, bias) in arrays.items():
        if kernel.ndim == 4:
            layers[layer] = [kernel.transpose(2, 3, 1, 0).copy(), bias]
        elif layer == "fc6":
            maps = kernel.reshape(len(kernel), -1, side, side).transpose(2, 3, 1, 0)
            layers[layer] = [maps.reshape(-1, len(kernel)), bias]
        else:
            layers[layer] = [kernel.T, bias]  # in Fortran's order
    return layers


def write_toronto(path, arrays, protocol=2):
    """bvlc_alexnet.npy as Python 3 writes it."""
    return write_npy(path, pickle.dumps(np.array(torontos_layers(arrays), dtype=object), protocol))


def python_2_pickle(layers):
    """The pickle of the same as NumPy under Python 2 wrote it: bytes are its strings."""

    def string(value):
        return b"T" + struct.pack("<i", len(value)) + value

    def array(shape, code, order, fortran, content):
        made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + whole(0) + b"\x85" + string(b"b") + b"\x87R"
        kind = b"cnumpy\ndtype\n" + string(code) + whole(0) + whole(1) + b"\x87R("
        kind += whole(3) + string(order) + b"NNN" + whole(-1) + whole(-1) + whole(0) + b"tb"
        sizes = b"(" + b"".join(map(whole, shape)) + b"t"
        return made + b"(" + whole(1) + sizes + kind + (b"\x88" if fortran else b"\x89") + content + b"tb"

    pairs = b""
    for name, pair in layers.items():
        pairs += string(name.encode()) + b"]("
        for each in pair:
            content = string(np.ascontiguousarray(each, "<f4").tobytes())
            pairs += array(each.shape, b"f4", b"<", False, content)
        pairs += b"e"
    return b"\x80\x02" + array((), b"O8", b"|", False, b"]}(" + pairs + b"ua") + b"."


def write_npy(path, described):
    """A .npy file of one object, given its pickle."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    header = header.ljust(-(len(header) + 11) % 16 + len(header)) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + described)
    return path
