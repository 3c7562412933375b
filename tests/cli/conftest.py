"""Commands run in a folder, and a folder with a finished run."""

import pytest
from click.testing import CliRunner

from alexnet_keras.cli.main import cli
from alexnet_keras.recipe_files import to_toml


@pytest.fixture
def alexnet(tmp_path, monkeypatch):
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(prepared, tiny, tmp_path_factory):
    """A folder with a finished run `tiny` in it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "tiny.toml").write_text(to_toml(tiny))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        arguments = ["train", "--data", str(prepared.path), "--recipe", "tiny.toml", "--run", "tiny", "--json"]
        result = CliRunner().invoke(cli, [*arguments, "--gpus", "2"])
        assert result.exit_code == 0, result.stderr
        yield folder, result
