"""Names and places on the command line: refused where nobody would find them, shown and quoted as they are."""

import io
import json

import pytest
from invoking import invoke
from rich.console import Console

from alexnet_keras.cli import console, progress


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["train", "--run", "a/b"], "--run a-b"),
        (["train", "--run=-x"], "--run x"),
        (["train", "--run", "x" * 300], f"--run {'x' * 20}"),
        (["train", "--run", ""], "--run unnamed"),
        (["import", "net.npy", "--run", "../net"], "--run net"),
        (["prepare", "photos", "--name", "a/b"], "--name a-b"),
        (["prepare", "photos", "--out", "data/x\n"], "--out data/x"),
        (["prepare", "photos", "--out=-x"], "--out x"),
        (["report", "--out", "r" * 300 + ".html"], f"--out {'r' * 95}.html"),
        (["features", "--out", "a\tb"], "--out a-b"),
        (["search", "build", "--out", "new/ x"], "--out new/x"),
        (["export", "--to", "onnx", "--out", "m.onnx\n"], "--out m.onnx"),
        (["eval", "--submission", "s\n"], "--submission s"),
        (["predict", "p.jpg", "--png", "-p.png"], "--png p.png"),
        (["visualize", "kernels", "--out", "k\x07.png"], "--out k-.png"),
        (["recipes", "source", "--write", "-r.toml"], "--write r.toml"),
        (["benchmark", "--out", "b\n"], "--out b"),
        (["reproduce", "list", "--out", "-o"], "--out o"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_a_name_that_no_command_would_find_is_refused_with_the_nearest(alexnet, tmp_path, arguments, nearest):
    (tmp_path / "net.npy").touch()
    result = alexnet(*arguments)
    assert result.exit_code == 2, result.output
    assert f"Try {nearest}." in result.stderr and "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["net.npy"]


@pytest.mark.parametrize(
    "arguments",
    [["eval"], ["eval", "--data"], ["train", "--data"], ["train", "--recipe"], ["predict"], ["import"], ["prepare"]],
    ids=" ".join,
)
def test_what_is_too_long_to_be_there_is_not_there(alexnet, arguments):
    result = alexnet(*arguments, "x" * 300)
    assert result.exit_code == 2 and len(result.stderr.splitlines()) < 7, result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--resume", ""], "There is no run ''"),
        (["visualize", "architecture", "--out", "x.png", "--recipe", ""], "There is no recipe ''"),
        (["import", "net.npy", "--recipe", ""], "There is no recipe ''"),
        (["predict", "net.npy", "--weights", "torchvision", "--run", ""], "--run and --weights both name a network"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_empty_value_is_not_taken_for_none(alexnet, tmp_path, arguments, said):
    """As of a shell's variable that is not set."""
    (tmp_path / "net.npy").touch()
    result = alexnet(*arguments)
    assert result.exit_code == 2 and said in result.stderr, result.output


def test_tables_and_bars_show_names_that_look_like_markup(capsys, monkeypatch):
    names = ["[red]r", "[/]", ":smile:", "{task.total}", "100%"]
    console.table("[b]title", ["[i]column", *names[1:]], [names])
    shown = capsys.readouterr().out
    assert all(name in shown for name in ["[b]title", "[i]column", *names])
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    with progress._bar(terminal, "[red]r [/]", 10, "images", 0) as advance:
        advance(1, text=":smile: [/b]")
    assert "[red]r [/]" in terminal.file.getvalue() and ":smile: [/b]" in terminal.file.getvalue()


def test_home_is_where_commands_write_and_look(alexnet, tmp_path, write_images, monkeypatch):
    monkeypatch.setenv("ALEXNET_HOME", str(tmp_path / "my home"))
    write_images(tmp_path / "some photos", {"cat": 2, "dog": 2}, size=(20, 20))
    prepared = alexnet("prepare", "some photos")
    assert prepared.exit_code == 0, prepared.stderr
    data = tmp_path / "my home/data/some photos"
    assert f"Next: alexnet train --data '{data}'" in prepared.stdout
    assert json.loads(alexnet("info", "data", "some photos", "--json").stdout)["path"] == str(data)
    assert str(tmp_path / "my home/saved_models") in alexnet("runs").stdout.replace("\n", "")
    refused = alexnet("eval", "r")
    assert refused.exit_code == 2 and "my home/saved_models" in refused.stderr
    refused = alexnet("reproduce", "report")
    assert refused.exit_code == 2 and "my home/saved_models/reproductions" in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my home", "some photos"]


def test_the_current_directory_is_prepared_into_under_its_name(alexnet, tmp_path, write_images, monkeypatch):
    write_images(tmp_path / "photos", {"cat": 2, "dog": 2}, size=(20, 20))
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path / "set")
    prepared = invoke("prepare", "../photos", "--out", ".", "--json")
    assert prepared.exit_code == 0, prepared.output
    assert json.loads(prepared.stdout)["name"] == "set"


def test_help_says_where_home_is():
    assert "ALEXNET_HOME" in invoke("--help").stdout


@pytest.mark.parametrize("command", [["prepare"], ["predict"], ["import"]], ids=lambda command: command[0])
def test_an_address_is_said_to_be_one(alexnet, command):
    result = alexnet(*command, "https://example.org/a/b.pth")
    assert result.exit_code == 2
    assert "https://example.org/a/b.pth is a URL, and nothing is fetched: download it" in result.stderr
