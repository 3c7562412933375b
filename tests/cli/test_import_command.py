"""`alexnet import`, and the other commands on a run that it made."""

import json
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
from plain_networks import random_arrays
from published_files import publish_torchvision
from small_networks import CLASSES, DENSE, FILTERS, small
from written_files import binaryproto, caffemodel, state_names, write_caffe_hdf5, write_legacy_pth, write_pth

from alexnet_keras.cli.main import cli
from alexnet_keras.recipes.built_in import BUILT_IN
from alexnet_keras.recipes.toml import to_toml, with_overrides
from alexnet_keras.storage.files import sha1_of, sha256_of
from alexnet_keras.weights.formats import FORMATS
from alexnet_keras.weights.published import PUBLISHED

COLORS = (*DENSE[:2], 3)  # as many classes as the prepared dataset of the tests has


@pytest.fixture
def imported(alexnet, tmp_path):
    """A run "net" of Caffe's weights in the command's folder, with three classes; and the command."""
    write_net(tmp_path, COLORS)
    result = alexnet("import", "net.caffemodel", "--recipe", "small.toml", "--mean", "mean.binaryproto")
    assert result.exit_code == 0, result.stderr
    return alexnet


def write_net(folder, dense):
    (folder / "net.caffemodel").write_bytes(caffemodel(random_arrays(FILTERS["caffe"], dense)))
    (folder / "mean.binaryproto").write_bytes(binaryproto(np.full((3, 256, 256), 110, np.float32)))
    (folder / "small.toml").write_text(to_toml(small("caffe")))


def test_a_run_is_made_and_what_it_is_of_is_kept(imported, tmp_path):
    run = tmp_path / "saved_models" / "net"
    facts = json.loads((run / "run.json").read_text())
    assert facts["classes"] == ["0000", "0001", "0002"] and facts["status"] == "imported"
    assert facts["imported"]["file"] == "net.caffemodel" and facts["imported"]["published"] is None
    assert (run / "model.keras").read_bytes() == (run / "last.keras").read_bytes()
    assert (run / "recipe.toml").exists() and (run / "MODEL_CARD.md").exists()
    assert facts["command"] == [
        "alexnet", "import", "net.caffemodel", "--from", "caffe", "--run", "net",
        "--recipe", "small.toml", "--mean", "mean.binaryproto",
    ]  # fmt: skip


def test_without_data_commands_say_that_it_has_none(imported):
    commands = (
        ["eval", "net"], ["visualize", "predictions", "net"], ["features", "net"], ["visualize", "confusion", "net"],
        ["eval"],
    )  # fmt: skip
    for arguments in commands:
        result = imported(*arguments)
        assert result.exit_code == 2, (arguments, result.output)
        assert "was imported and has no data of its own: name the data with --data" in result.stderr


def test_with_data_of_other_names_the_classes_are_said_to_differ(imported, prepared):
    result = imported("eval", "net", "--data", prepared.path)
    assert result.exit_code == 3 and "0000" in result.stderr


@pytest.mark.parametrize("named", ["labels", pytest.param("data", marks=pytest.mark.slow)])
def test_with_its_classes_named_it_is_evaluated_like_any_run(named, alexnet, prepared, tmp_path):
    write_net(tmp_path, COLORS)
    (tmp_path / "labels.txt").write_text("\n".join(prepared.classes))
    given = ["--labels", "labels.txt"] if named == "labels" else ["--data", prepared.path]
    assert alexnet("import", "net.caffemodel", "--recipe", "small.toml", *given).exit_code == 0
    data = ["--data", prepared.path] if named == "labels" else []
    result = alexnet("eval", "net", "--ten-crop", "--json", *data)
    assert result.exit_code == 0, result.stderr
    assert [found["views"] for found in json.loads(result.stdout)] == ["centre", "ten-crop"]
    result = alexnet("report", "net", "--without", "neighbors", *data)
    assert result.exit_code == 0, result.stderr
    page = (tmp_path / "saved_models" / "net" / "report.html").read_text()
    page = re.sub(r'base64,[^"]*', "", page)
    assert "wrong for" in page and "is not the one that" not in page
    assert "None" not in page, page[page.index("None") - 300 :][:400]


@pytest.mark.slow
def test_what_needs_no_data_works(imported, images, tmp_path):
    image = next((images / "val").rglob("*.jpg"))
    result = imported("predict", image, "--run", "net", "--json")
    assert result.exit_code == 0, result.stderr
    assert {guess["class"] for guess in json.loads(result.stdout)["predictions"]} == {"0000", "0001", "0002"}
    for what in (["kernels"], ["towers"], ["architecture"], ["activations", "--image", image]):
        result = imported("visualize", what[0], "net", *what[1:])
        assert result.exit_code == 0, result.stderr
    listed = json.loads(imported("runs", "--json").stdout)
    assert [(row["run"], row["state"], row["data"]) for row in listed] == [("net", "imported", "")]
    assert "imported" in imported("runs").stdout
    result = imported("report", "net")
    assert result.exit_code == 0, result.stderr
    page = (tmp_path / "saved_models" / "net" / "report.html").read_text()
    assert "net.caffemodel" in page and "None" not in re.sub(r'base64,[^"]*', "", page)
    assert "alexnet import net.caffemodel" in page


def test_curves_of_a_run_without_training_are_refused(imported):
    result = imported("visualize", "curves", "net")
    assert result.exit_code in (2, 3) and result.exception.__class__ is SystemExit


@pytest.mark.slow
def test_it_has_no_training_to_resume_and_new_runs_start_from_it(imported, prepared, tmp_path):
    result = imported("train", "--resume", "net")
    assert result.exit_code == 2 and "--init-from net" in result.stderr
    arguments = ["--data", prepared.path, "--recipe", "small.toml", "--init-from", "net", "--run", "tuned"]
    result = imported("train", *arguments, "--epochs", 1, "--set", "training.batch_size=12")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "saved_models" / "tuned" / "model.keras").exists()


def test_lists_of_classes_are_read_as_imagenet_has_them(alexnet, tmp_path):
    write_net(tmp_path, DENSE)
    (tmp_path / "synsets.txt").write_text("".join(f"n0000000{i} thing {i}, item\n" for i in range(CLASSES)))
    result = alexnet("import", "net.caffemodel", "--recipe", "small.toml", "--labels", "synsets.txt", "--run", "named")
    assert result.exit_code == 0, result.stderr
    facts = json.loads((tmp_path / "saved_models" / "named" / "run.json").read_text())
    assert facts["classes"][2] == "n00000002" and facts["data"]["titles"][2] == "thing 2"


def test_a_known_file_is_recognised_and_its_published_accuracy_shown(alexnet, tmp_path, monkeypatch):
    arrays = random_arrays(FILTERS["torchvision"], DENSE, groups=1)
    path = write_pth(tmp_path / "net.pth", state_names(arrays))
    (tmp_path / "small.toml").write_text(to_toml(small("torchvision")))
    monkeypatch.setitem(PUBLISHED, "torchvision", replace(PUBLISHED["torchvision"], sha=sha256_of(path)[:8]))
    result = alexnet("import", path, "--recipe", "small.toml")
    assert result.exit_code == 0, result.stderr
    assert "56.5% top-1 and 79.1% top-5" in result.stdout
    facts = json.loads((tmp_path / "saved_models" / "net" / "run.json").read_text())
    assert facts["imported"]["published"]["top1"] == 0.56522


def test_with_the_recipe_of_another_network_a_warning_takes_the_place_of_the_accuracy(alexnet, tmp_path, monkeypatch):
    write_net(tmp_path, DENSE)
    monkeypatch.setitem(PUBLISHED, "caffe", replace(PUBLISHED["caffe"], sha=sha1_of(tmp_path / "net.caffemodel")))
    (tmp_path / "labels.txt").write_text("".join(f"thing {number}\n" for number in range(CLASSES)))
    (tmp_path / "other.toml").write_text(to_toml(small("caffenet")))
    said = "something else with them (network.conv1.followed_by is relu, lrn, pool there; network.conv2.followed_by is"
    for recipe, other in (("small", False), ("other", True)):
        result = alexnet(
            "import", "net.caffemodel", "--recipe", f"{recipe}.toml", "--run", recipe, "--labels", "labels.txt"
        )
        assert result.exit_code == 0, result.stderr
        assert ("57.1% top-1" in result.stdout) is not other
        shown = " ".join(result.stderr.split())
        assert (said in shown) is other and ("the recipe caffe has that one" in shown) is other
        imported = json.loads((tmp_path / "saved_models" / recipe / "run.json").read_text())["imported"]
        assert (imported["published"] is None) is other and len(imported["notes"]) == other


def test_a_network_that_nobody_published_is_of_its_own_recipe(alexnet, tmp_path):
    write_net(tmp_path, DENSE)
    (tmp_path / "mine.toml").write_text(to_toml(with_overrides(small("caffe"), ["network.lrn.alpha=0.5"])))
    result = alexnet("import", "net.caffemodel", "--recipe", "mine.toml", "--run", "mine")
    assert result.exit_code == 0 and "something else" not in result.stderr, result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nothing.pth"], 2, "no file nothing.pth"),
        (["weights.bin"], 2, "--from"),
        (["net.caffemodel", "--mean", "nothing"], 2, "no file nothing"),
        (["net.caffemodel", "--recipe", "nothing"], 2, "no recipe 'nothing'"),
        (["net.caffemodel", "--recipe", "small.toml", "--labels", "nothing"], 2, "no file nothing"),
        (["net.caffemodel", "--recipe", "small.toml", "--labels", "two.txt"], 3, "two.txt names 2"),
        (["net.caffemodel", "--recipe", "small.toml", "--labels", "twice.txt"], 3, "'cat' twice"),
        (["net.caffemodel"], 3, "conv1[0]"),
        (["harm.pth"], 3, "posix.system"),
        (["harm.pth", "--mean", "mean.binaryproto"], 2, "--mean"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_and_no_run_is_left(arguments, code, said, alexnet, tmp_path):
    class Harm:
        def __reduce__(self):
            import os

            return os.system, ("touch was-run",)

    write_net(tmp_path, DENSE)
    (tmp_path / "weights.bin").write_bytes(b"\x01\x02")
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    (tmp_path / "twice.txt").write_text("cat\ndog\ncat\n")
    write_pth(tmp_path / "harm.pth", {}, pickle.dumps(Harm(), 2))
    result = alexnet("import", *arguments)
    assert result.exit_code == code and said in result.stderr, result.output
    assert not (tmp_path / "saved_models").exists() and not (tmp_path / "was-run").exists()


def test_a_run_that_exists_is_left_alone(imported):
    result = imported("import", "net.caffemodel", "--recipe", "small.toml")
    assert result.exit_code == 2 and "exists" in result.stderr


def test_a_checkpoint_is_a_run_and_where_its_network_was_is_said_and_kept(alexnet, tmp_path):
    """PyTorch's ImageNet example in the form before 1.6: wrapped features, and an optimizer beside them."""
    states = state_names(random_arrays(FILTERS["torchvision"], DENSE, groups=1))
    wrapped = {name.replace("features.", "features.module."): array for name, array in states.items()}
    optimizer = {"state": [{"momentum_buffer": np.ones(9, np.float32)}]}
    write_legacy_pth(tmp_path / "checkpoint.pth.tar", {"epoch": 90, "state_dict": wrapped, "optimizer": optimizer})
    (tmp_path / "small.toml").write_text(to_toml(small("torchvision")))
    result = alexnet("import", "checkpoint.pth.tar", "--recipe", "small.toml")
    assert result.exit_code == 0, result.stderr
    said = "Took the network's arrays from 'state_dict' of checkpoint.pth.tar, with 'module.' left out of their names."
    assert said in result.stderr.splitlines()
    facts = json.loads((tmp_path / "saved_models" / "checkpoint" / "run.json").read_text())
    assert facts["imported"]["notes"] == [said] and facts["imported"]["from"] == "torchvision"


@pytest.mark.parametrize(
    ("name", "arguments", "content", "code", "said"),
    [
        ("net.caffemodel.h5", [], "hdf5", 2, "net.caffemodel.h5 does not keep the order of its layers: say --recipe"),
        ("net.caffemodel", [], "bare", 2, "net.caffemodel has not both layers, pool1 and norm1, whose order shows"),
        ("weights.bin", [], b"", 3, "weights.bin is empty: copy or download it again."),
        ("net.pth", [], b"version https://git-lfs.github.com/spec/v1\n", 3, "net.pth is a Git LFS pointer"),
        ("net.caffemodel", [], b"<!doctype html>", 3, "net.caffemodel is a web page (HTML)"),
        ("net.npy", [], b"\x89HDF\r\n\x1a\n", 3, "net.npy is an HDF5 file"),
        ("net.dat", [], b"\x1f\x8b\x08", 3, "net.dat is compressed with gzip"),
        ("net.keras", [], b"<Error><Code>AccessDenied</Code></Error>", 3, "XML ('AccessDenied')"),
        ("net.pth", ["--from", "caffe"], "torch", 3, "net.pth is a file of PyTorch's, which"),
        ("net.bin", [], "torch", 3, "net.bin: the array features.0.weight is 8×3×11×11"),
    ],
)
def test_what_a_file_really_is_is_looked_at_first(name, arguments, content, code, said, alexnet, tmp_path):
    if content == "torch":
        write_pth(tmp_path / name, state_names(random_arrays(FILTERS["torchvision"], DENSE, groups=1)))
    elif content == "hdf5":
        write_caffe_hdf5(tmp_path / name, random_arrays(FILTERS["caffe"], DENSE))
    elif content == "bare":  # of layers without weights, norm1 alone
        whole = caffemodel(random_arrays(FILTERS["caffe"], DENSE))
        (tmp_path / name).write_bytes(whole.replace(b"pool1", b"pool9"))
    else:
        (tmp_path / name).write_bytes(content)
    result = alexnet("import", name, *arguments)
    assert result.exit_code == code and said in result.stderr, result.output
    assert len(result.stderr.strip()) <= 160 and not (tmp_path / "saved_models").exists()


def test_every_format_can_be_chosen():
    kind = next(option for option in cli.commands["import"].params if option.name == "kind")
    assert list(kind.type.choices) == list(FORMATS)


IMAGENET = (*DENSE[:2], 1000)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A directory with torchvision's published weights, of a small network; and that network as the built-in recipe."""
    states = state_names(random_arrays(FILTERS["torchvision"], IMAGENET, groups=1))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setitem(BUILT_IN, "torchvision", small("torchvision"))
    nowhere = "http://127.0.0.1:9/weights.pth"
    path = publish_torchvision(monkeypatch, tmp_path / "torch", lambda path: write_pth(path, states), address=nowhere)
    return path.parent


def test_a_name_makes_a_run_of_the_published_file_with_imagenets_classes(published, alexnet, tmp_path):
    (tmp_path / "torchvision").write_text("a file of that name is ./torchvision")
    result = alexnet("import", "torchvision")
    assert result.exit_code == 0, result.stderr
    assert f"Using {published / PUBLISHED['torchvision'].name}." in result.stderr and "56.5% top-1" in result.stdout
    run = tmp_path / "saved_models" / "torchvision"
    facts = json.loads((run / "run.json").read_text())
    assert facts["classes"][0] == "n01440764" and len(facts["classes"]) == 1000
    assert facts["data"]["titles"][:2] == ["tench", "goldfish"] and facts["imported"]["published"]["top5"] == 0.79066
    assert facts["command"] == [
        "alexnet", "import", "torchvision", "--from", "torchvision", "--run", "torchvision", "--recipe", "torchvision"
    ]  # fmt: skip
    assert "alexnet import torchvision" in (run / "MODEL_CARD.md").read_text()


def test_the_file_itself_is_recognised_and_labels_win(published, alexnet, tmp_path):
    file = published / PUBLISHED["torchvision"].name
    (tmp_path / "labels.txt").write_text("".join(f"thing {number}\n" for number in range(1000)))
    for arguments, first in (([], "n01440764"), (["--labels", "labels.txt", "--run", "named"], "thing 0")):
        result = alexnet("import", file, *arguments)
        assert result.exit_code == 0, result.stderr
        name = arguments[-1] if arguments else "alexnet-owt-7be5be79"
        assert json.loads((tmp_path / "saved_models" / name / "run.json").read_text())["classes"][0] == first


def test_a_directory_that_has_the_file_is_enough(published, alexnet, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nowhere"))
    result = alexnet("import", "torchvision", "--from-cache", published, "--run", "moved")
    assert result.exit_code == 0 and (tmp_path / "saved_models/moved/model.keras").exists(), result.stderr
    result = alexnet("import", "torchvision", "--from-cache", tmp_path, "--run", "other")
    assert result.exit_code == 2 and "has no alexnet-owt-7be5be79.pth: download http://127.0.0.1:9" in result.stderr


def test_predict_takes_published_weights_without_a_run(published, alexnet, images, tmp_path):
    image = next((images / "val").rglob("*.jpg"))
    result = alexnet("predict", image, "--weights", "torchvision", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)["predictions"]
    assert len(found) == 5 and all(re.fullmatch(r"n\d{8}", each["class"]) for each in found)
    assert not (tmp_path / "saved_models").exists()
    assert alexnet("import", "torchvision").exit_code == 0
    assert json.loads(alexnet("predict", image, "--run", "torchvision", "--json").stdout)["predictions"] == found
    result = alexnet("predict", image, "--weights", "torchvision", "--run", "torchvision")
    assert result.exit_code == 2 and "--run and --weights both name a network: give one of them." in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["torchvison"], 2, "no file torchvison, and the published weights are torchvision, caffe, caffenet, toronto."),
        (["torchvision", "--from", "caffe"], 2, "The published torchvision is a file of torchvision; ./torchvision"),
        (["torchvision", "--mean", "mean.binaryproto"], 2, "--mean is Caffe's mean image"),
        (["torchvision", "--labels", "nothing"], 2, "no file nothing"),
        (["torchvision"], 1, "http://127.0.0.1:9/weights.pth cannot be downloaded: Connection refused. Download"),
        (["./torchvision"], 2, "The name of torchvision does not say what wrote it"),
        (["net.caffemodel", "--from-cache", "."], 2, "published weights, and net.caffemodel is none of them: leave"),
        (
            ["hf://one/net", "--from-cache", "."],
            2,
            "published weights, and hf://one/net is none of them: leave",
        ),
    ],
)
def test_what_is_wrong_with_a_name_is_said_before_anything_is_made(
    arguments, code, said, published, alexnet, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nowhere"))
    write_net(tmp_path, DENSE)
    (tmp_path / "torchvision").write_bytes(b"\0\1")
    result = alexnet("import", *arguments)
    assert result.exit_code == code and said in result.stderr, result.output
    assert not (tmp_path / "saved_models").exists() and not list(tmp_path.rglob("*.pth.part"))
