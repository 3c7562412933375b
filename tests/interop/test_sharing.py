"""Runs on a hub: what is sent, and that it comes back as a model and as a run."""

import errno
import getpass
import json
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import h5py
import keras
import numpy as np
import pytest
from hub import COMMIT, hub_of
from untrained import untrained_run

import alexnet_keras
from alexnet_keras import AlexNet, Classifier, Run
from alexnet_keras.errors import AlexNetError, DataError, UsageError
from alexnet_keras.interop import sharing
from alexnet_keras.interop.sharing import import_published, shared_facts
from alexnet_keras.network.loading import load_model
from alexnet_keras.storage import hub
from alexnet_keras.storage.files import write_by_rename
from alexnet_keras.storage.hub import fetch

pytestmark = pytest.mark.slow  # Keras and whole runs in each test

huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs the extra hub")

CLASSES = ["blue", "green", "red"]
CROPS = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)


@pytest.fixture(scope="module")
def run(prepared, tiny, tmp_path_factory):
    """A run whose run.json holds what is nobody's business."""
    data = {**prepared.facts, "path": "/home/SOMEONE/data", "source": "folder:/home/SOMEONE/photos"}
    data["options"] = {**data["options"], "labels": ["/home/SOMEONE/labels.csv"]}
    facts = {"recipe": tiny.name, "overrides": [], "data": data, "seed": 7}
    facts |= {"init_from": "/home/SOMEONE/run", "command": ["alexnet", "train", "--data", "/home/SOMEONE/data"]}
    return untrained_run(tmp_path_factory.mktemp("runs") / "net", tiny, prepared, **facts)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    """The run, published into a directory."""
    folder = tmp_path_factory.mktemp("published") / "net"
    assert alexnet_keras.publish(run, folder) == str(folder)
    return folder


@pytest.fixture
def online(folder, tmp_path, monkeypatch):
    """A hub with the run at someone/net, and a cache of the test's own."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in hub.MODEL_FILES:
        (bare / name).write_bytes((folder / name).read_bytes())
    with hub_of({"someone/net": folder, "someone/model": bare}) as endpoint:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", endpoint + template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        yield endpoint


def test_what_is_published_is_a_model_of_keras_s_and_the_card(run, folder):
    assert {file.name for file in folder.iterdir()} == {*hub.MODEL_FILES, *hub.RUN_FILES, "README.md"}
    np.testing.assert_array_equal(keras.saving.load_model(str(folder))(CROPS), run.load_model()(CROPS))
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: keras\n") and "recipe.toml" in card.partition("How it was made")[2]


def test_a_full_disk_is_not_taken_for_a_damaged_model(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ZipFile, "extract", full)
        with pytest.raises(OSError, match="No space left"):
            alexnet_keras.publish(run, tmp_path / "there")
    cut = Run.create(tmp_path / "cut", run.recipe, run.facts)
    cut.model_path.write_bytes(run.model_path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"model\.keras is a zip archive that is damaged or was cut off"):
        alexnet_keras.publish(cut, tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["cut"]


def test_no_path_user_host_or_system_goes_along(run, folder):
    private = ["SOMEONE", str(run.path.parent), "init_from", "cpus", run.facts["environment"]["platform"]]
    private += [name for name in (getpass.getuser(), socket.gethostname()) if len(name) > 4]
    for file in folder.iterdir():
        content = file.read_bytes()
        assert not [word for word in private if word.encode() in content], file.name
    facts = json.loads((folder / "run.json").read_text())
    assert facts["data"]["source"] == "folder" and facts["seed"] == 7
    assert facts["data"]["options"].keys() == {"max_pixels", "exif", "encoding", "jpeg_quality"}


@pytest.mark.parametrize(
    ("source", "shared"),
    [
        ("demo", "demo"),
        ("tfds:cifar10", "tfds:cifar10"),
        ("parquet:/home/SOMEONE", "parquet"),
        ("/home/SOMEONE", None),
    ],
)
def test_of_a_source_that_is_a_directory_only_the_kind_is_named(run, tmp_path, source, shared):
    facts = run.facts
    other = Run.create(tmp_path / "other", run.recipe, {**facts, "data": {**facts["data"], "source": source}})
    assert shared_facts(other)["data"]["source"] == shared


@pytest.mark.parametrize(
    ("kind", "file", "named"),
    [
        ("torchvision", "own.pth", False),
        ("toronto", "bvlc_alexnet.npy", True),
        ("hub", "net/model.weights.h5", True),
    ],
)
def test_a_file_of_weights_is_named_only_by_a_name_that_everyone_knows(run, tmp_path, kind, file, named):
    imported = {"from": kind, "file": file, "sha256": "0" * 64, "published": None}
    other = Run.create(tmp_path / "run", run.recipe, {**run.facts, "imported": imported})
    shutil.copyfile(run.model_path, other.model_path)
    folder = Path(alexnet_keras.publish(other, tmp_path / "published"))
    said = [(folder / name).read_text().replace("\\", "") for name in ("run.json", "README.md")]
    assert [file in text for text in said] == [named] * 2


def test_a_published_run_comes_back_as_a_run_and_is_published_again(run, folder, prepared, tmp_path):
    back = import_published(tmp_path / "back", folder)
    assert back.recipe == run.recipe and back.facts["classes"] == CLASSES and back.status == "imported"
    assert back.facts["imported"]["file"] == "net/model.weights.h5" and back.facts["data"]["path"] is None
    np.testing.assert_array_equal(back.load_model()(CROPS), run.load_model()(CROPS))
    np.testing.assert_array_equal(AlexNet(run.recipe, classes=3, weights=folder)(CROPS), run.load_model()(CROPS))
    image = np.full((40, 50, 3), 200, np.uint8)
    assert Classifier(back)(image) == Classifier(run)(image)
    again = alexnet_keras.publish(back, tmp_path / "again")
    assert import_published(tmp_path / "third", again, data=prepared).facts["data"]["path"] == str(prepared.path)
    with pytest.raises(UsageError, match="exists: name a directory to make, or hf://USER/NAME"):
        alexnet_keras.publish(back, tmp_path / "again")


def test_a_run_on_the_hub_serves_keras_the_network_and_the_classifier(online, run, tiny, tmp_path):
    expected = run.load_model()(CROPS)
    np.testing.assert_array_equal(load_model("hf://someone/net")(CROPS), expected)
    np.testing.assert_array_equal(AlexNet(tiny, classes=3, weights="hf://someone/net")(CROPS), expected)
    image = np.full((40, 50, 3), 200, np.uint8)
    assert Classifier("hf://someone/net")(image) == Classifier(run)(image)
    back = import_published(tmp_path / "back", "hf://someone/net")
    assert back.facts["imported"]["revision"] == COMMIT and back.facts["imported"]["from"] == "hub"
    with pytest.warns(UserWarning, match="hf://someone/net has other classes than this network"):
        AlexNet(tiny, classes=4, weights="hf://someone/net")
    with pytest.raises(DataError, match="hf://someone/net is of another network"):
        AlexNet("quickstart", classes=3, weights="hf://someone/net")
    with pytest.raises(UsageError, match="has one model, which is its best"):
        Classifier("hf://someone/net", which="last")
    with pytest.raises(UsageError, match="`alexnet import hf://someone/net` makes a run of it"):
        Run.load("hf://someone/net")


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("hf://someone", "hf://someone is no address of a model: hf://USER/NAME"),
        ("hf://someone/net/model.keras", "is no address of a model"),
        ("hf://someone/none", "There is no model hf://someone/none, or it is private"),
        ("hf://someone/net@v9", "hf://someone/net@v9: the model has no such revision"),
        ("hf://someone/-net", "hf://someone/-net is no name that the hub allows"),
        ("hf://someone/model", "hf://someone/model is no run that `alexnet publish` wrote: it has no recipe.toml"),
    ],
)
def test_an_address_that_has_no_run_is_refused_in_a_sentence(online, tmp_path, address, sentence):
    with pytest.raises(UsageError, match=sentence):
        import_published(tmp_path / "back", address)
    assert not (tmp_path / "back").exists()


def test_without_a_network_what_was_fetched_before_is_there_and_the_rest_is_not(online, folder, monkeypatch):
    fetch("hf://someone/net")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert (fetch("hf://someone/net") / "run.json").read_bytes() == (folder / "run.json").read_bytes()
    with pytest.raises(AlexNetError, match="hf://someone/other: the hub cannot be reached"):
        fetch("hf://someone/other")


def test_a_published_run_that_was_cloned_without_git_lfs_says_so(folder, tmp_path):
    clone = shutil.copytree(folder, tmp_path / "clone")
    (clone / "model.weights.h5").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(DataError, match=r"clone/model\.weights\.h5 is a Git LFS pointer, .*`git lfs pull`"):
        import_published(tmp_path / "back", clone)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda facts: facts.update(classes=["one"]), "has 3 outputs, and run.json names 1 classes"),
        (lambda facts: facts.update(classes=[]), "its run.json has no entry classes"),
        (lambda facts: facts.pop("recipe"), "its run.json has no entry recipe"),
        (lambda facts: facts.pop("data"), "its run.json has no entry data.name"),
        (lambda facts: facts["data"]["options"].pop("exif"), "its run.json has no entry data.options.exif"),
        (lambda facts: facts.update(classes=[0, 1, 2]), "its entry 'classes.0' is not one that a run writes"),
        (lambda facts: facts["data"].update(titles=None), "its entry 'data.titles' is not"),
        (lambda facts: facts["data"].update(examples=[1]), "its entry 'data.examples' is not"),
        (lambda facts: facts["data"]["options"].update(max_pixels="9"), "its entry 'data.options.max_pixels' is not"),
        (lambda facts: facts["data"]["options"].update(encoding="gif"), "its entry 'data.options.encoding' is not"),
        (lambda facts: facts.update(best={"epoch": 0}), "its entry 'best.val_top1_error' is not"),
        (None, "damaged: it has 4 bytes instead of"),
        (lambda facts: facts.update(files={"model.weights.h5": 1}), "its entry 'files.model.weights.h5' is not"),
        (lambda facts: facts["files"]["config.json"].update(sha256="0" * 64), "its checksum is not the one"),
    ],
)
def test_a_damaged_published_run_is_refused_and_nothing_is_left(folder, tmp_path, change, sentence):
    bad = shutil.copytree(folder, tmp_path / "bad")
    if change is None:
        (bad / "model.weights.h5").write_bytes(b"\x89HDF")
    else:
        facts = json.loads((bad / "run.json").read_text())
        change(facts)
        (bad / "run.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match=rf"{bad}.*{sentence}"):
        import_published(tmp_path / "runs" / "back", bad)
    assert not (tmp_path / "runs" / "back").exists()


def test_a_published_network_with_a_number_changed_is_refused_also_where_keras_can_load_it(folder, tmp_path):
    bad = shutil.copytree(folder, tmp_path / "bad")
    with h5py.File(bad / "model.weights.h5", "r+") as file:
        kernel = next(each for each in _datasets(file) if each.ndim == 4)
        kernel[0, 0, 0, 0] += 1
    keras.saving.load_model(str(bad))
    with pytest.raises(DataError, match=r"bad/model\.weights\.h5 is damaged: its checksum .* Publish or copy it again"):
        import_published(tmp_path / "back", bad)
    facts = json.loads((bad / "run.json").read_text())
    del facts["files"]  # as 0.1 published it
    (bad / "run.json").write_text(json.dumps(facts))
    import_published(tmp_path / "back", bad)


def _datasets(group):
    for each in group.values():
        if isinstance(each, h5py.Dataset):
            yield each
        else:
            yield from _datasets(each)


def test_what_is_published_is_of_one_moment_while_the_run_is_trained(run, tiny, tmp_path, monkeypatch):
    training = Run(shutil.copytree(run.path, tmp_path / "training"))
    better, extract, seen = AlexNet(tiny, classes=3, seed=7), ZipFile.extract, []

    def extract_and_replace(self, *names):
        if not seen:
            with write_by_rename(training.model_path) as path:
                better.save(path)
            training.update({"best": {"epoch": 8, "val_top1_error": 0.5}})
        seen.append(names)
        return extract(self, *names)

    monkeypatch.setattr(ZipFile, "extract", extract_and_replace)
    published = Path(alexnet_keras.publish(training, tmp_path / "published"))
    np.testing.assert_array_equal(keras.saving.load_model(str(published))(CROPS), better(CROPS))
    assert json.loads((published / "run.json").read_text())["best"]["epoch"] == 8


class Api:
    """The part of HfApi that sends, to nowhere."""

    def __init__(self, public=False):
        self.public, self.sent = public, {}

    def __call__(self, **_):
        return self

    def create_repo(self, repository, private, exist_ok):
        assert exist_ok
        self.repository, self.private = repository, private

    def repo_info(self, repository):
        return SimpleNamespace(private=self.private and not self.public)

    def upload_folder(self, repo_id, folder_path, revision, commit_message):
        assert repo_id == self.repository and not self.sent, "one commit"
        self.sent = {file.name: file.read_bytes() for file in folder_path.iterdir()}
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/{COMMIT}")


@pytest.mark.parametrize("private", [False, True])
def test_a_run_is_sent_as_one_commit_with_a_card_of_its_address(run, folder, monkeypatch, private):
    api = Api()
    monkeypatch.setattr(huggingface_hub, "HfApi", api)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_token")
    assert alexnet_keras.publish(run, "hf://someone/net", private=private).endswith(f"someone/net/commit/{COMMIT}")
    assert api.private is (private or None)
    assert api.sent.keys() == {file.name for file in folder.iterdir()}
    assert b"Classifier('hf://someone/net')" in api.sent["README.md"]
    assert all(api.sent[name] == (folder / name).read_bytes() for name in api.sent if name != "README.md")


def test_without_a_token_or_where_it_would_be_public_nothing_is_sent(run, monkeypatch):
    api = Api(public=True)
    monkeypatch.setattr(huggingface_hub, "HfApi", api)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(UsageError, match="`hf auth login`, or set HF_TOKEN"):
        alexnet_keras.publish(run, "hf://someone/net")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_token")
    with pytest.raises(UsageError, match="hf://someone/net exists and is public"):
        alexnet_keras.publish(run, "hf://someone/net", private=True)
    assert not api.sent


@pytest.mark.parametrize(
    ("status", "error", "sentence"), [(403, UsageError, "your token may not do this"), (500, AlexNetError, "refuses")]
)
def test_a_hub_that_refuses_says_so(run, monkeypatch, status, error, sentence):
    with hub_of({}, status) as endpoint:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        with pytest.raises(error, match=f"hf://someone/net: the hub .*{sentence}"):
            fetch("hf://someone/net")


def test_what_an_import_would_refuse_is_not_published(run, tmp_path):
    broken = Run(Path(shutil.copytree(run.path, tmp_path / "broken")))
    broken.update({"classes": ["blue", "green"]})
    with pytest.raises(DataError, match=r"model.keras has 3 outputs, and run.json names 2 classes"):
        alexnet_keras.publish(broken, tmp_path / "published")
    assert not (tmp_path / "published").exists()


def test_of_a_run_that_does_not_record_how_its_images_were_prepared_the_dataset_tells(prepared, tiny, tmp_path):
    data = {name: value for name, value in prepared.facts.items() if name != "options"}
    old = untrained_run(tmp_path / "old", tiny, prepared, recipe=tiny.name, data=data)
    options = prepared.manifest["options"]
    shared = shared_facts(old)["data"]["options"]
    assert shared == {name: options[name] for name in shared} and shared["encoding"] == "jpeg"
    old.update({"data": {**data, "path": str(tmp_path / "gone")}})
    with pytest.raises(UsageError, match="gone"):
        alexnet_keras.publish(old, tmp_path / "published")


def test_of_two_processes_that_publish_into_one_directory_the_second_is_refused(run, folder, tmp_path, monkeypatch):
    place, write = tmp_path / "net", sharing._write

    def and_meanwhile(*arguments):
        write(*arguments)
        shutil.copytree(folder, place)

    monkeypatch.setattr(sharing, "_write", and_meanwhile)
    with pytest.raises(UsageError, match=rf"^{place} exists, which it did not before: choose another name"):
        alexnet_keras.publish(run, place)
    assert [each.name for each in tmp_path.iterdir()] == ["net"]
