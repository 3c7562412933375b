"""Files that cannot be used: one sentence that names the file and what is wrong, and nothing is run."""

import json
import pickle
import struct
import zipfile

import h5py
import numpy as np
import pytest
from plain_networks import random_arrays
from small_networks import DENSE, FILTERS, small
from written_files import (
    View,
    binaryproto,
    blob,
    caffemodel,
    field,
    number,
    state_names,
    state_pickle,
    text,
    varint,
    whole,
    write_caffe_hdf5,
    write_legacy_pth,
    write_npy,
    write_pth,
    write_safetensors,
    write_toronto,
)

from alexnet_keras.errors import DataError
from alexnet_keras.interop.import_run import import_network
from alexnet_keras.weights.conventions import refusing_damage

COMMAND = b"cposix\nsystem\n" + text("touch was-run") + b"\x85R."


@pytest.fixture(scope="module")
def arrays():
    return random_arrays(FILTERS["torchvision"], DENSE, groups=1)


@pytest.fixture(scope="module")
def caffes():
    return random_arrays(FILTERS["caffe"], DENSE)


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Importing a file has to fail with a DataError of one sentence; returns the sentence."""
    monkeypatch.chdir(tmp_path)

    def refuse(path, kind, mean=None):
        recipe = small("caffe" if kind in ("caffe", "toronto") else "torchvision")
        with pytest.raises(DataError) as caught:
            import_network(path, kind, recipe=recipe, mean=mean)
        sentence = str(caught.value)
        assert (mean or path).name in sentence and "\n" not in sentence
        assert not (tmp_path / "was-run").exists()
        return sentence

    return refuse


class Command:
    def __reduce__(self):
        import os

        return os.system, ("touch was-run",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_that_runs_a_command_runs_nothing(protocol, arrays, refused, tmp_path):
    harm = pickle.dumps({"features.0.weight": Command()}, protocol)
    zipped = write_pth(tmp_path / "a.pth", state_names(arrays), harm)
    assert "posix.system" in refused(zipped, "torchvision")
    legacy = tmp_path / "b.pth"
    legacy.write_bytes(harm)
    assert "posix.system" in refused(legacy, "torchvision")
    assert "posix.system" in refused(write_npy(tmp_path / "c.npy", harm), "toronto")


@pytest.mark.parametrize(
    "name",
    [
        "builtins\neval",
        "builtins\ngetattr",
        "numpy\nload",
        "torch\nload",
        "numpy.core.multiarray\nscalar",
        "os\nsystem",
    ],
)
def test_no_other_name_is_looked_up(name, arrays, refused, tmp_path):
    asks = b"\x80\x02c" + name.encode() + b"\n" + text("1") + b"\x85R."
    assert name.replace("\n", ".") in refused(write_pth(tmp_path / "a.pth", state_names(arrays), asks), "torchvision")


def test_a_pickle_cannot_change_what_reads_it(arrays, refused, tmp_path):
    stand_in = b"ctorch._utils\n_rebuild_tensor_v2\n"
    for state in (b"}" + text("function") + b"csys\nexit\ns", b"N}" + text("function") + whole(1) + b"s\x86"):
        harm = b"\x80\x02" + stand_in + state + b"b."
        refused(write_pth(tmp_path / "a.pth", state_names(arrays), harm), "torchvision")
    good = write_pth(tmp_path / "b.pth", state_names(arrays))
    assert import_network(good, "torchvision", recipe=small("torchvision")).classes == DENSE[-1]


@pytest.mark.parametrize(
    "claim",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",  # so many bytes
        b"\x80\x02Nr\xff\xff\xff\xff.",  # so many places
        b"\x80\x02T" + struct.pack("<i", 2**31 - 1) + b"x.",
        b"\x80\x02(((((",
        b"",
        b"not a pickle",
    ],
)
def test_a_damaged_pickle_takes_no_memory(claim, arrays, refused, tmp_path):
    assert "damaged" in refused(write_pth(tmp_path / "a.pth", state_names(arrays), claim), "torchvision")
    assert "damaged" in refused(write_npy(tmp_path / "a.npy", claim), "toronto")


def test_zip_bombs_are_not_unpacked(arrays, refused, tmp_path):
    states = state_names(arrays)
    bomb = write_pth(tmp_path / "a.pth", states, compression=zipfile.ZIP_DEFLATED, storages=b"\0" * 10_000_000)
    assert bomb.stat().st_size < 1_000_000 and "compressed" in refused(bomb, "torchvision")
    large = write_pth(tmp_path / "b.pth", states, storages=b"\0" * 1_000_000)
    assert "archive/data/0" in refused(large, "torchvision")
    assert "beside its tensors" in refused(write_pth(tmp_path / "c.pth", states, b"\0" * 20_000_000), "torchvision")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda states: states.pop("features.3.bias"), "lacks the array 'features.3.bias'"),
        (lambda states: states.update({"features.20.bias": np.zeros(3)}), "has the array 'features.20.bias'"),
        (lambda states: states.update({"features.6.bias": np.zeros(9)}), "features.6.bias is 9 .* has 10 there"),
        (lambda states: states.update({"classifier.6.bias": np.zeros(9)}), "classifier.6.bias is 9 .* has 7 there"),
        (lambda states: states.update({"classifier.1.weight": np.zeros((20, 9))}), "classifier.1.weight is 20×9"),
        (lambda states: states.update({"features.0.bias": np.full(8, np.nan)}), "conv1 are not all finite"),
    ],
)
@pytest.mark.parametrize("write", [write_pth, write_legacy_pth, write_safetensors])
def test_arrays_that_are_missing_strange_or_of_another_shape_are_named(write, change, said, arrays, refused, tmp_path):
    import re

    states = state_names(arrays)
    change(states)
    kind = "safetensors" if write is write_safetensors else "torchvision"
    assert re.search(said, refused(write(tmp_path / "weights", states), kind))


@pytest.mark.parametrize("write", [write_pth, write_legacy_pth, write_safetensors])
def test_a_file_that_was_cut_off_is_refused_wherever_it_was_cut(write, arrays, refused, tmp_path):
    content = write(tmp_path / "whole", state_names(arrays)).read_bytes()
    path = tmp_path / "cut"
    for length in {0, 3, 8, 100, len(content) // 2, len(content) - 1}:
        path.write_bytes(content[:length])
        refused(path, "safetensors" if write is write_safetensors else "torchvision")


def test_a_tensor_may_not_reach_beyond_its_storage(arrays, refused, tmp_path):
    states = state_names(arrays)
    honest = state_pickle(states)
    beyond = honest.replace(
        whole(0) + b"(" + whole(8) + b"t(" + whole(1), whole(0) + b"(" + whole(8) + b"t(" + whole(2)
    )
    assert beyond != honest
    assert "beyond its storage" in refused(write_pth(tmp_path / "a.pth", states, beyond), "torchvision")


def test_a_few_numbers_repeated_without_end_take_no_memory(arrays, refused, tmp_path):
    states = state_names(arrays)
    one = np.zeros(1, np.float32)
    states["classifier.6.weight"] = View(one, 0, (900_000, 14), (0, 0))
    states["classifier.6.bias"] = View(one, 0, (900_000,), (0,))
    for write in (write_pth, write_legacy_pth):
        path = write(tmp_path / "a.pth", states)
        assert "bytes that the network can need" in refused(path, "torchvision")


@pytest.mark.parametrize("old", [True, False])
def test_a_caffemodel_that_was_cut_off_or_claims_too_much_is_refused(old, caffes, refused, tmp_path):
    content = caffemodel(caffes, old)
    path = tmp_path / "net.caffemodel"
    for length in {0, 1, 9, 50, 1000, len(content) // 2, len(content) - 1}:
        path.write_bytes(content[:length])
        refused(path, "caffe")
    path.write_bytes(content + varint(100 << 3 | 2) + varint(2**60))
    assert "ends too early" in refused(path, "caffe")
    path.write_bytes(b"\xff" * 100)
    refused(path, "caffe")


@pytest.mark.parametrize("write", [lambda path, arrays: path.write_bytes(caffemodel(arrays)), write_toronto])
def test_caffes_arrays_are_named(write, caffes, refused, tmp_path):
    kind = "toronto" if write is write_toronto else "caffe"
    path = tmp_path / "weights"
    write(path, {name: pair for name, pair in caffes.items() if name != "conv4"})
    assert "lacks the arrays 'conv4[0]', 'conv4[1]'" in refused(path, kind)
    write(path, {**caffes, "conv9": caffes["conv4"]})
    assert "has the arrays 'conv9[0]', 'conv9[1]'" in refused(path, kind)
    write(path, {**caffes, "conv4": (caffes["conv4"][0], np.zeros(3, np.float32))})
    assert "conv4[1] is 3 and the recipe caffe has 8" in refused(path, kind)


def test_a_blob_whose_numbers_are_not_its_shapes_is_named(caffes, refused, tmp_path):
    path = tmp_path / "net.caffemodel"
    shape = b"\x0a" + varint(1) + varint(8)
    content = caffemodel({"conv4": caffes["conv4"]})
    assert shape in content
    path.write_bytes(content.replace(shape, b"\x0a" + varint(1) + varint(9)))
    assert "conv4[1]" in refused(path, "caffe")


def test_a_mean_image_of_another_size_or_a_cut_one_is_refused(caffes, refused, tmp_path):
    path, mean = tmp_path / "net.caffemodel", tmp_path / "mean.binaryproto"
    path.write_bytes(caffemodel(caffes))
    mean.write_bytes(binaryproto(np.zeros((3, 200, 200), np.float32)))
    assert "3×200×200" in refused(path, "caffe", mean)
    mean.write_bytes(binaryproto(np.zeros((3, 256, 256), np.float32))[:-5])
    refused(path, "caffe", mean)


@pytest.mark.parametrize(
    "change",
    [
        {"data_offsets": [0, 10**12]},
        {"data_offsets": [-4, 28]},
        {"data_offsets": "ab"},
        {"dtype": "I64"},
        {"shape": None},
    ],
)
def test_a_header_of_safetensors_that_cannot_be_is_refused(change, arrays, refused, tmp_path):
    content = write_safetensors(tmp_path / "a", state_names(arrays)).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["features.0.bias"] |= change
    told = json.dumps(header).encode()
    path = tmp_path / "b"
    path.write_bytes(struct.pack("<Q", len(told)) + told + content[8 + length :])
    refused(path, "safetensors")
    path.write_bytes(struct.pack("<Q", 2**62) + content[8:])
    assert "header" in refused(path, "safetensors")


def test_other_files_of_caffes_are_named(caffes, refused, tmp_path):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(number(1, 5000) + field(2, "net_iter_5000.caffemodel") + field(3, blob(caffes["fc8"][0])))
    assert "it is a .solverstate" in refused(path, "caffe")
    path.write_bytes(binaryproto(np.zeros((3, 256, 256), np.float32)))
    assert "goes with --mean" in refused(path, "caffe")


def test_hdf5_files_without_caffes_weights_are_named(caffes, refused, tmp_path):
    secret = tmp_path / "secret.h5"
    write_caffe_hdf5(secret, caffes)

    def changed(change):
        path = write_caffe_hdf5(tmp_path / "net.caffemodel.h5", caffes)
        with h5py.File(path, "r+") as file:
            change(file)
        return refused(path, "caffe")

    def link(file):
        del file["data/conv4"]
        file["data/conv4"] = h5py.ExternalLink("secret.h5", "/data/conv4")

    def replace(**options):
        def change(file):
            del file["data/fc8/0"]
            file["data/fc8"].create_dataset("0", **options)

        return change

    assert "lacks the arrays 'conv4[0]', 'conv4[1]'" in changed(link)
    assert "is a .solverstate" in changed(
        lambda file: (file.create_group("history"), file.create_dataset("iter", data=3))
    )
    assert "AlexNet(weights=FILE)" in changed(lambda file: file.move("data", "layers"))
    with pytest.raises(DataError, match="it is Keras's, not Caffe's"):  # also where no recipe is given
        import_network(tmp_path / "net.caffemodel.h5", "caffe")
    assert "HDF5 without Caffe's data" in changed(lambda file: file.move("data", "weights"))
    assert "no floating point" in changed(replace(shape=(7, 14), dtype="i4"))
    assert "none of Caffe's" in changed(replace(shape=(7, 14), external=[("secret.h5", 0, 7 * 14 * 4)]))
    bomb = replace(shape=(900_000, 14), chunks=(900_000, 14), compression="gzip", dtype="f8")
    assert "fc8[1] is 7 and the recipe caffe has 900000" in changed(bomb)

    def both(file):
        bomb(file)
        del file["data/fc8/1"]
        file["data/fc8"].create_dataset("1", (900_000,), "f4", chunks=True)

    assert "bytes that the network can need" in changed(both)
    cut = tmp_path / "cut.h5"
    cut.write_bytes(secret.read_bytes()[:3000])
    refused(cut, "caffe")


def test_what_a_library_says_of_a_damaged_file_is_cut_short():
    with pytest.raises(DataError) as caught, refusing_damage("net.pth"):
        raise ValueError("9" * 1000)
    assert str(caught.value) == f"net.pth cannot be used as weights: {'9' * 160}."
