"""What was saved in place of weights is told, whatever its name says, wherever weights are opened."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import numpy as np
import pytest

from alexnet_keras.errors import DataError
from alexnet_keras.storage.file_kinds import file_kind, refuse_other_kinds


def zipped(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(content):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("net.pth")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 244418560\n"
PAGE = b'\n<!DOCTYPE html>\n<html lang="en"><head><title>Google Drive - Virus scan warning</title></head></html>'
DENIED = b'\xef\xbb\xbf<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>'
TORCH = zipped(**{"archive/data.pkl": b"", "archive/version": "3"})

SOMETHING_ELSE = {
    "lfs": (POINTER, "a Git LFS pointer, not the file that it stands for: fetch that with `git lfs pull`"),
    "html": (PAGE, "a web page (HTML), not the file behind it"),
    "xhtml": (b'<?xml version="1.0"?>\n<html xmlns="x">', "a web page (HTML)"),
    "xml": (DENIED, "a server's answer in XML ('AccessDenied'), not weights: download the file again"),
    "json": (b'{"error": "Repository not found"}', "JSON ('Repository not found'), not weights"),
    "nested": (b'{"error": {"code": 404, "message": "Gone\\u001b[2J"}}', "JSON ('Gone[2J'), not weights"),
    "list": (json.dumps([1] * 99).encode(), "JSON ('[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ...'), not weights"),
    "text": (b"404: Not Found", "a text ('404: Not Found'), not weights"),
    "prototxt": (b'name: "AlexNet"\nlayer {\n}\n', "a text ('name: \"AlexNet\"'), not weights"),
    "empty": (b"", "empty: copy or download it again"),
    "gzip": (gzip.compress(TORCH), "compressed with gzip: unpack it, `gunzip FILE.gz`, and give the file inside"),
    "bzip2": (bz2.compress(TORCH), "compressed with bzip2"),
    "xz": (lzma.compress(TORCH), "compressed with xz"),
    "tar": (tarred(TORCH), "a tar archive: unpack it, `tar -xf FILE`, and give the file inside"),
    "zip": (zipped(**{"nets/": b"", "nets/net.pth": TORCH}), "a zip archive of 'nets/net.pth': unpack it and give"),
    "zip of a zip": (zipped(**{"net.zip": zipped(a=b"a")}), "a zip archive of 'net.zip': unpack it"),
    "cut": (TORCH[:-30], "a zip archive that is damaged or was cut off: copy or download it again"),
    "npz": (zipped(**{"conv1.npy": b""}), "a .npz archive of NumPy's"),
    "torchscript": (zipped(**{"net/data.pkl": b"", "net/constants.pkl": b""}), "a TorchScript program"),
}


@pytest.mark.parametrize("name", SOMETHING_ELSE)
def test_what_is_no_weights_is_told_in_two_lines(name, tmp_path):
    content, told = SOMETHING_ELSE[name]
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        refuse_other_kinds(path, "torch", "keras", "hdf5", "npy", "safetensors")
    sentence = str(caught.value).replace(str(path), "models/checkpoint.pth.tar")
    assert f"models/checkpoint.pth.tar is {told}" in sentence
    assert len(f"Error: {sentence}") <= 160 and sentence.isprintable()


READABLE = {
    "torch": TORCH,
    "keras": zipped(**{"config.json": "{}", "metadata.json": "{}", "model.weights.h5": b""}),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(99),
    "npy": b"\x93NUMPY\1\0",
    "safetensors": b"\2\0\0\0\0\0\0\0{}",
}


@pytest.mark.parametrize("name", READABLE)
def test_weights_are_known_by_their_first_bytes(name, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(READABLE[name])
    assert file_kind(path).name == name
    refuse_other_kinds(path, name)
    with pytest.raises(DataError, match=r"alexnet import|AlexNet\(weights=FILE\)"):
        refuse_other_kinds(path)


def test_what_is_not_recognised_is_left_to_its_reader(tmp_path):
    assert file_kind(tmp_path / "nothing") is None and file_kind(tmp_path) is None
    for content in (b"\x0a\x07AlexNet\xa2\x06\x02", b"\xff" * 100, b"(dp0\nS'a'\np1\nI1\ns.", np.float32(1).tobytes()):
        (tmp_path / "weights").write_bytes(content)
        assert file_kind(tmp_path / "weights") is None


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5"])
def test_models_and_weights_of_keras_are_told_from_other_things(name, tmp_path):
    from alexnet_keras.network.loading import load_weights

    for content, told in (SOMETHING_ELSE["lfs"], SOMETHING_ELSE["html"], (TORCH, "a file of PyTorch's")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as caught:
            load_weights(None, tmp_path / name, None)
        assert f"{name} is {told}" in str(caught.value)
