"""Published weights by name: found in a cache or fetched, and never taken for what they are not."""

import errno
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
from file_servers import serving
from recorded import Recorded

from alexnet_keras.errors import AlexNetError, DataError, UsageError
from alexnet_keras.recipes.built_in import BUILT_IN
from alexnet_keras.weights.formats import FORMATS
from alexnet_keras.weights.published import PUBLISHED, published_path, refuse_missing

CONTENT = b"PK\3\4\0weights" * 1000
NAME = "alexnet-owt-7be5be79.pth"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A home without caches."""
    for variable in ("TORCH_HOME", "KERAS_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path


@pytest.fixture
def server(monkeypatch):
    """Serves CONTENT as each of the published files, with its real checksum and length."""
    sha256, sha1 = hashlib.sha256(CONTENT).hexdigest(), hashlib.sha1(CONTENT).hexdigest()
    with serving(CONTENT) as server:
        for name, sha in {"torchvision": sha256[:8], "caffe": sha1, "toronto": None}.items():
            length = None if name == "caffe" else len(CONTENT)
            file = replace(PUBLISHED[name], sha=sha, bytes=length, address=f"{server.address}/{name}")
            monkeypatch.setitem(PUBLISHED, name, file)
        yield server


def put(path, content=CONTENT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_each_has_a_recipe_a_reader_and_an_address_that_ends_in_its_name():
    assert list(PUBLISHED) == ["torchvision", "caffe", "caffenet", "toronto"]
    for file in PUBLISHED.values():
        assert file.recipe in BUILT_IN and file.kind in FORMATS and file.address.endswith(f"/{file.name}")
    assert PUBLISHED["torchvision"].bytes == 244_408_911, "as the server announces it"
    assert [file.address.partition("/b")[0] for file in PUBLISHED.values()] == [
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "http://dl.caffe.berkeleyvision.org",
        "http://dl.caffe.berkeleyvision.org",
        "https://www.cs.toronto.edu/~guerzhoy/tf_alexnet",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "place"),
    [
        ("TORCH_HOME", "torch", "torch/hub/checkpoints"),
        ("XDG_CACHE_HOME", "caches", "caches/torch/hub/checkpoints"),
        (None, "", ".cache/torch/hub/checkpoints"),
        ("KERAS_HOME", "keras", "keras/models"),
        ("KERAS_HOME", "keras", "keras/datasets"),
        (None, "", ".keras/models"),
    ],
)
def test_a_file_that_pytorch_or_keras_has_is_used(variable, value, place, folder, server, monkeypatch):
    if variable:
        monkeypatch.setenv(variable, str(folder / value))
    there, reporter = put(folder / place / NAME), Recorded()
    assert published_path("torchvision", reporter=reporter) == there
    assert reporter.notes == [f"Using {there}."] and server.asked == []


def test_a_file_that_is_nowhere_is_fetched_into_the_cache_of_keras_once(folder, server):
    reporter = Recorded()
    path = published_path("torchvision", reporter=reporter)
    assert path == folder / ".keras" / "models" / NAME and path.read_bytes() == CONTENT
    assert reporter.notes == [f"Downloading {server.address}/torchvision to {path.parent}."]
    assert published_path("torchvision") == path and len(server.asked) == 1


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENAMETOOLONG])
def test_a_cache_that_cannot_be_searched_is_passed_over(folder, server, monkeypatch, number):
    real = Path.stat

    def stat(path, **options):
        if folder / "torch" in path.parents:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    there = put(folder / ".keras/models" / NAME)
    assert published_path("torchvision") == there and server.asked == []


def test_another_file_in_a_cache_is_left_alone_and_said(folder, server):
    damaged, half = (
        put(folder / ".cache/torch/hub/checkpoints" / NAME, CONTENT[::-1]),
        put(folder / ".keras/datasets" / NAME, b"half"),
    )
    reporter = Recorded()
    assert published_path("torchvision", reporter=reporter).read_bytes() == CONTENT
    first, second = reporter.warnings
    assert first.startswith(f"{damaged} is not the published file and is not used: its SHA-256 is ")
    assert second == f"{half} is not the published file and is not used: it has 4 bytes instead of 12,000."
    assert damaged.read_bytes() == CONTENT[::-1]


def test_a_damaged_file_in_the_place_of_the_download_is_replaced(folder, server):
    put(folder / ".keras/models" / NAME, b"half")
    assert published_path("torchvision").read_bytes() == CONTENT


def test_a_directory_that_is_named_has_the_file_or_nothing_does(folder, server):
    put(folder / ".keras/models" / NAME)
    with pytest.raises(
        UsageError, match=rf"disk has no {NAME}: download {server.address}/torchvision and put it there"
    ):
        published_path("torchvision", folder / "disk")
    there = put(folder / "disk" / NAME, CONTENT[::-1])
    with pytest.raises(DataError, match=rf"disk/{NAME} is not the published file: its SHA-256 is .{{8}} instead of"):
        published_path("torchvision", folder / "disk")
    put(there)
    assert published_path("torchvision", folder / "disk") == there and server.asked == []


def test_a_file_of_unknown_length_is_known_by_its_sha1(folder, server):
    assert published_path("caffe").read_bytes() == CONTENT
    server.content = CONTENT[::-1]
    (folder / ".keras/models/bvlc_alexnet.caffemodel").unlink()
    with pytest.raises(DataError, match=r"its SHA-1 is .{40} instead of .{40}"):
        published_path("caffe")


def test_that_no_checksum_was_published_is_said(server):
    reporter = Recorded()
    published_path("toronto", reporter=reporter)
    assert reporter.notes[0].startswith("No checksum of bvlc_alexnet.npy is published")


def test_where_it_cannot_be_fetched_the_sentence_says_what_to_do(folder, server):
    server.status = 404
    place = folder / ".keras" / "models"
    with pytest.raises(AlexNetError) as error:
        published_path("torchvision")
    assert str(error.value) == (
        f"{server.address}/torchvision cannot be downloaded: the server answers 404 Not Found. "
        f"Download {NAME} elsewhere and put it into {place}, which KERAS_HOME can move, or give its path."
    )
    with pytest.raises(AlexNetError, match=r"Caffe's server is often down: .*readme.md has the SHA-1 of a right copy"):
        published_path("caffe")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("imagenet", "There is no file imagenet, and the published weights are torchvision, caffe, caffenet, toronto."),
        ("Torchvison", "are torchvision, caffe, caffenet, toronto. Did you mean torchvision?"),
        ("net.pth", "There is no file net.pth."),
        ("models/caffe", "There is no file models/caffe."),
        (str(Path(__file__).parent), "is a directory, but none that `alexnet publish` wrote: give a file of weights."),
        ("https://example.org/a.pth", "is a URL, and nothing is fetched: download it and give the file."),
        (PUBLISHED["caffe"].address, "its file is called caffe here, and is downloaded by that name."),
    ],
)
def test_what_is_neither_a_file_nor_a_name_is_said(given, said):
    with pytest.raises(UsageError) as error:
        refuse_missing(given)
    assert str(error.value).endswith(said)
