"""Files as Caffe, TensorFlow's converters and PyTorch write them, written here from their formats alone."""

import json
import pickle
import struct
import zipfile

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


def blob(array, old=False):
    """BlobProto: data = 5, packed; shape = 7, or num, channels, height, width = 1 to 4 before 2015."""
    if old:
        sizes = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(number(place, size) for place, size in enumerate(sizes, start=1))
    else:
        shape = field(7, field(1, b"".join(map(varint, array.shape))))
    return shape + field(5, array.astype("<f4").tobytes())


def caffemodel(arrays, old=False, pool_first=False, name="AlexNet"):
    """NetParameter: name = 1, and layers = 2 (their name = 4, blobs = 6) or layer = 100 (name = 1, blobs = 7)."""
    layer_field, name_field, blobs_field = (2, 4, 6) if old else (100, 1, 7)
    first = ["pool1", "norm1"] if pool_first else ["norm1", "pool1"]
    content = field(1, name) + number(5, 0)
    for layer in ["data", "conv1", "relu1", *first, *(name for name in arrays if name != "conv1"), "prob"]:
        blobs = b"".join(field(blobs_field, blob(array, old)) for array in arrays.get(layer, ()))
        content += field(layer_field, field(name_field, layer) + blobs)
    return content


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


def state_pickle(states, extra_reference=b""):
    """The pickle of an OrderedDict of tensors, each with a storage of its own: "0", "1", ..."""
    out = b"\x80\x02ccollections\nOrderedDict\n)R("
    for key, (name, array) in enumerate(states.items()):
        strides = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
        storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(key)) + text("cpu")
        storage += whole(array.size) + extra_reference + b"tQ"
        view = whole(0) + b"(" + b"".join(map(whole, array.shape)) + b"t(" + b"".join(map(whole, strides)) + b"t"
        view += b"\x89ccollections\nOrderedDict\n)R"
        out += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"tR"
    return out + b"u."


def write_pth(path, states, description=None, compression=zipfile.ZIP_STORED, storages=None):
    """PyTorch's zip form."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", state_pickle(states) if description is None else description)
        archive.writestr("archive/byteorder", "little")
        for key, array in enumerate(states.values()):
            content = array.astype("<f4").tobytes() if storages is None else storages
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", "3\n")
    return path


def write_legacy_pth(path, states):
    """PyTorch's form before 1.6: five pickles, then each storage's length and numbers."""
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    protocol = b"\x80\x02M\xe9\x03."
    system = b"\x80\x02}(" + text("protocol_version") + b"M\xe9\x03" + text("little_endian") + b"\x88u."
    keys = b"\x80\x02](" + b"".join(text(str(key)) for key in range(len(states))) + b"e."
    content = magic + protocol + system + state_pickle(states, b"N") + keys
    for array in states.values():
        content += struct.pack("<q", array.size) + array.astype("<f4").tobytes()
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
