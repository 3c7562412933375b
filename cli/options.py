"""Options that several commands share, and finding what a command works on when nothing is named."""

import functools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from alexnet_keras.cli import console
from alexnet_keras.errors import UsageError
from alexnet_keras.storage.places import check_new_path, data_root, runs_root
from alexnet_keras.weights.published import PUBLISHED

if TYPE_CHECKING:
    from alexnet_keras.data.dataset import PreparedDataset
    from alexnet_keras.runs import Run


def section(title: str) -> Callable[..., Callable]:
    """Return a `click.option` whose options stand in a section of their command's help; the command is cloup's."""
    return functools.partial(cloup.option, group=cloup.OptionGroup(title))


class OutPath(click.Path):
    """A file or directory to write, refused at once where nobody would find it by its name."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(path_type=Path, **settings)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        assert param is not None, "only options have this type"
        path = super().convert(value, param, ctx)
        assert isinstance(path, Path), "as path_type says"
        return check_new_path(path if path.name not in ("", "..") else path.resolve(), param.opts[-1])


def _names_under(root: Callable[[], Path], file: str) -> Callable:
    """For a shell's Tab key: the directories with this file in them whose names begin with what was typed."""

    def names(ctx: click.Context, param: click.Parameter, typed: str) -> list[str]:
        with suppress(UsageError, OSError):
            there = sorted(found.parent.name for found in root().glob(f"*/{file}"))
            return [name for name in there if name.startswith(typed) and not name.startswith(".")]
        return []

    return names


run_names = _names_under(runs_root, "run.json")
data_names = _names_under(data_root, "manifest.json")


def published_names(ctx: click.Context, param: click.Parameter, typed: str) -> list[str]:
    """For a shell's Tab key: the published weights whose names begin with what was typed."""
    return [name for name in PUBLISHED if name.startswith(typed)]


def _data_option(default: str) -> Callable:
    return click.option(
        "--data",
        metavar="DIR",
        default=None,
        shell_complete=data_names,
        help=f"Prepared dataset, by name under data/ or by path. [default: {default}]",
    )


data_option = _data_option("the latest")
run_data_option = _data_option("what the run was trained on")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
run_argument = click.argument("run", required=False, default=None, shell_complete=run_names)


def chosen_data(data: str | None) -> "PreparedDataset":
    """The prepared dataset named by --data, or the latest one; no other process prepares it again meanwhile."""
    from alexnet_keras.data.dataset import latest_prepared, open_locked

    if data is None:
        data = str(latest_prepared())
        console.note(f"Using the latest prepared dataset: {data}")
    return click.get_current_context().with_resource(open_locked(data))


def chosen_run(run: str | None) -> "Run":
    """The run named on the command line, or the latest one, which is said on stderr."""
    from alexnet_keras.runs import latest_run, open_run

    if run is not None:
        return open_run(run)
    found = latest_run()
    console.note(f"Using the latest run: {found.path}")
    return found


def data_of_run(run: "Run", data: str | Path | None) -> "PreparedDataset":
    """The dataset named by --data, or the one the run was trained on; its classes have to be the run's."""
    from alexnet_keras.runs import data_of

    return click.get_current_context().with_resource(data_of(run, data))
