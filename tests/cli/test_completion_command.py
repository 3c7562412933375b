"""`alexnet completion`: scripts that a shell reads, and that lead to answers."""

import shutil
import subprocess

import pytest
from click.shell_completion import ShellComplete

from alexnet_keras.cli.completion import PROGRAM, VARIABLE
from alexnet_keras.cli.main import cli


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_of_its_shell(alexnet, shell):
    result = alexnet("completion", shell)
    assert result.exit_code == 0 and result.stderr == ""
    assert f"{VARIABLE}={shell}_complete" in result.stdout and PROGRAM in result.stdout
    if program := shutil.which(shell):
        checked = subprocess.run([program, "-n"], input=result.stdout, capture_output=True, text=True, timeout=60)
        assert checked.returncode == 0, checked.stderr


def test_commands_options_and_choices_are_completed():
    complete = ShellComplete(cli, {}, PROGRAM, VARIABLE)
    assert [item.value for item in complete.get_completions([], "exp")] == ["export"]
    assert "--quantize" in [item.value for item in complete.get_completions(["export"], "--")]
    assert [item.value for item in complete.get_completions(["export", "--to"], "o")] == ["onnx"]


def test_runs_and_datasets_are_completed_by_name(tmp_path, monkeypatch):
    for name in ("saved_models/one", "saved_models/a b", "data/ones", "data/unfinished"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / ("run.json" if "saved" in name else "manifest.json" if "ones" in name else "x")).touch()
    monkeypatch.setenv("ALEXNET_HOME", str(tmp_path))
    complete = ShellComplete(cli, {}, PROGRAM, VARIABLE)
    for words in (["eval"], ["predict", "--run"], ["train", "--resume"], ["visualize", "kernels"]):
        assert [item.value for item in complete.get_completions(words, "")] == ["a b", "one"], words
    for words in (["eval", "--data"], ["train", "--data"], ["info", "data"]):
        assert [item.value for item in complete.get_completions(words, "o")] == ["ones"], words
    monkeypatch.setenv("ALEXNET_HOME", str(tmp_path / "data/ones/manifest.json"))
    assert complete.get_completions(["eval"], "") == []


def test_recipes_experiments_and_layers_are_completed():
    complete = ShellComplete(cli, {}, PROGRAM, VARIABLE)

    def values(words, typed):
        return [item.value for item in complete.get_completions(words, typed)]

    assert values(["train", "--recipe"], "caf") == values(["recipes"], "caf") == ["caffe", "caffenet"]
    assert [item.type for item in complete.get_completions(["train", "--recipe"], "mine.to")] == ["file"]
    assert values(["reproduce"], "figure-") == ["figure-1", "figure-2", "figure-3", "figure-4"]
    assert values(["reproduce", "list"], "table-") == ["table-1", "table-2"]
    assert values(["train", "--freeze"], "conv1,fc") == ["conv1,fc6", "conv1,fc7", "conv1,fc8"]
    assert values(["visualize", "activations", "--layer"], "conv5") == ["conv5"]
