"""Commands run in a folder, and a folder with a finished run."""

import contextlib
import shutil

import pytest
from invoking import invoke

from alexnet_keras.recipes.toml import to_toml


@pytest.fixture
def alexnet(tmp_path, monkeypatch):
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return invoke


@pytest.fixture(scope="session")
def trained_once(prepared, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(to_toml(tiny))
    arguments = ["train", "--data", str(prepared.path), "--recipe", "tiny.toml", "--run", "tiny", "--json"]
    with contextlib.chdir(folder):
        result = invoke(*arguments, "--gpus", "2")
    assert result.exit_code == 0, result.stderr
    return folder, result


@pytest.fixture(scope="module")
def trained(trained_once, tmp_path_factory):
    """A folder of the file's own with a finished run `tiny` in it, and what the command that trained it printed."""
    folder, result = trained_once
    return shutil.copytree(folder, tmp_path_factory.mktemp("project") / "project"), result
