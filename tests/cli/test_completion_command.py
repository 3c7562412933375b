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


def test_another_shell_is_wrong_usage(alexnet):
    assert alexnet("completion", "cmd").exit_code == 2
