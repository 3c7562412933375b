"""Where datasets and runs lie, what they may be called, and how commands name them."""

import contextlib
import json
import os
import shlex
import shutil
from pathlib import Path

import pytest

from alexnet_keras.data.dataset import MANIFEST, latest_prepared, open_prepared
from alexnet_keras.errors import UsageError
from alexnet_keras.reports.reproduction import another_name
from alexnet_keras.runs import Run, all_runs, latest_run, new_run_path
from alexnet_keras.storage.documents import write_json
from alexnet_keras.storage.places import argument, check_name, check_new_path, command, data_root, good_name, runs_root

ODD = ("r[1]", "a b", "ünï", "x*y", "100%", "[red]r", "$HOME", "{x}", "_x", "it's", "7")


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_names_and_survive_a_shell(name):
    assert check_name(name, "--run") == name
    assert shlex.split(command("eval", name, "--ten-crop")) == ["alexnet", "eval", name, "--ten-crop"]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("a/b", "a-b"),
        ("a\\b", "a-b"),
        ("/tmp/a", "tmp-a"),
        ("../a", "a"),
        ("-x", "x"),
        ("--", "unnamed"),
        ("", "unnamed"),
        (".", "unnamed"),
        (".partial-x", "partial-x"),
        ("x\n", "x"),
        (" x ", "x"),
        ("a\tb\x1b[31m", "a-b-[31m"),
        ("a\udcff", "a-"),
        ("x" * 300, "x" * 100),
        ("x" * 300 + ".png", "x" * 96 + ".png"),
        ("é" * 60, "é" * 50),
        ("HF:someone", "hf-someone"),
        ("y" + "é" * 60, "y" + "é" * 49),
    ],
)
def test_a_bad_name_is_refused_with_the_nearest_good_one(name, nearest):
    assert good_name(name) == good_name(nearest) == nearest
    with pytest.raises(UsageError) as error:
        check_name(name, "--run")
    if len(os.fsencode(name)) <= 100:
        assert f"Try {shlex.join(['--run', nearest])}." in str(error.value)
    assert len(f"Error: {error.value}") <= 160  # two lines of a terminal


def test_a_path_to_write_may_be_hidden_or_there_already_but_not_lost(tmp_path):
    (tmp_path / "-old\n").mkdir()
    for good in (tmp_path / ".hidden.png", tmp_path / "-old\n/a b.png", Path("..") / "x", Path()):
        assert check_new_path(good, "--out") == good
    for bad, nearest in (("x\n", "x"), ("-x/y", "x/y"), ("z" * 200 + ".png", "z" * 96 + ".png")):
        with pytest.raises(UsageError) as error:
            check_new_path(tmp_path / bad, "--out")
        assert f"Try {shlex.join(['--out', str(tmp_path / nearest)])}." in str(error.value)


def test_home_moves_data_and_runs_and_every_look_up_by_name(prepared, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (data_root(), runs_root()) == (Path("data"), Path("saved_models"))
    shutil.copytree(prepared.path, tmp_path / "home/data/colors")
    monkeypatch.setenv("ALEXNET_HOME", str(tmp_path / "home"))
    data = open_prepared("colors")
    assert data.path == latest_prepared() == tmp_path / "home/data/colors"
    path = new_run_path("tiny", "colors")
    run = Run.create(path, tiny, {"data": data.facts, "classes": list(data.classes)})
    assert path == tmp_path / "home/saved_models/tiny-colors"
    assert Run.load("tiny-colors") == latest_run() == all_runs()[0] == run and run.called == "tiny-colors"
    assert another_name(run) == "tiny-colors-again"
    older = Run(shutil.copytree(run.path, run.path.with_name("older")))  # copied later
    write_json(older.path / "run.json", {**older.facts, "updated": "2020-01-01T00:00:00+00:00"})
    assert latest_run() == run
    shutil.rmtree(older.path)
    monkeypatch.delenv("ALEXNET_HOME")
    assert not all_runs() and Run.load(path).called == str(path), "elsewhere its name says nothing"
    assert not list(tmp_path.glob("[ds]*")), "nothing is made in the current directory"


@pytest.mark.parametrize("home", ["file", "~nobody-of-this-name", "x" * 300])
def test_a_home_that_is_no_directory_is_refused(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALEXNET_HOME", home)
    with pytest.raises(UsageError, match=r"ALEXNET_HOME is '.*, which is no directory"):
        runs_root()


def test_a_home_under_a_directory_that_cannot_be_read_is_refused_for_that(monkeypatch):
    def closed(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setenv("ALEXNET_HOME", "closed/x")
    monkeypatch.setattr(Path, "is_dir", closed)
    with pytest.raises(UsageError, match=r"ALEXNET_HOME is 'closed/x', which cannot be looked into: make it readable"):
        runs_root()


def test_a_path_that_looks_like_an_option_is_written_so_that_it_is_none():
    assert argument(Path("-x")) == "./-x" and argument(Path("x")) == "x"
    assert Run(Path("saved_models/-x")).called == "saved_models/-x" and Run(Path("saved_models/x")).called == "x"


def test_a_path_with_a_slash_is_no_name_of_a_run(tmp_path, tiny, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named, here = (Run.create(path, tiny, {}) for path in (Path("saved_models/r"), Path("r")))
    assert Run.load("r") == Run.load(named.called) == named
    assert Run.load("./r") == Run.load("r/") == Run.load(here.called) == here and here.called == "./r"


def test_the_current_directory_has_a_name(prepared, monkeypatch):
    monkeypatch.chdir(prepared.path)
    assert open_prepared(".").path.name == prepared.path.name == open_prepared("../colors/.").path.name


@pytest.fixture
def project(prepared, tiny, tmp_path, monkeypatch):
    """A run that was made in a project, which is not the current directory any more."""
    monkeypatch.delenv("ALEXNET_HOME", raising=False)
    shutil.copytree(prepared.path, tmp_path / "project/data/colors")
    with contextlib.chdir(tmp_path / "project"):
        Run.create(Path("saved_models/r"), tiny, {"data": open_prepared("colors").facts})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project"


def test_a_run_finds_its_data_from_anywhere(project):
    assert Run(project / "saved_models/r").data_path == project / "data/colors"
    moved = project.rename(project.parent / "moved")
    assert Run(moved / "saved_models/r").data_path == moved / "data/colors", "both moved"
    assert Run(Path("../moved/saved_models/r")).data_path.samefile(moved / "data/colors")


def test_a_run_that_moved_alone_finds_its_data(project):
    run = (project / "saved_models/r").rename("r")
    assert Run(run).data_path == project / "data/colors"


def test_data_that_moved_is_found_by_name(project, monkeypatch):
    home = project.parent / "home"
    (home / "data").mkdir(parents=True)
    (project / "data/colors").rename(home / "data/colors")
    run = Run(project / "saved_models/r")
    assert run.data_path == Path("data/colors"), "where it was, so that the error says it"
    monkeypatch.setenv("ALEXNET_HOME", str(home))
    assert run.data_path == home / "data/colors"


def test_other_data_of_that_name_is_not_taken_for_it(project):
    other = Path("data/colors")
    shutil.copytree(project / other, other)
    manifest = json.loads((other / MANIFEST).read_text())
    (other / MANIFEST).write_text(json.dumps({**manifest, "fingerprint": "0" * 64}))
    run = Run(project / "saved_models/r")
    assert run.data_path == project / other
    shutil.rmtree(project / other)
    assert run.data_path == other, "so that the command can say that it has changed"


def test_a_run_of_an_earlier_version_finds_its_data(project):
    file = project / "saved_models/r/run.json"
    facts = json.loads(file.read_text())
    assert facts["data"].pop("absolute") == str(project / "data/colors")
    assert facts["data"].pop("from_run") == "../../data/colors"
    file.write_text(json.dumps(facts))
    assert Run(project / "saved_models/r").data_path == project / "data/colors"
