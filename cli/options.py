"""Options that several commands share, and finding what a command works on when nothing is named."""

import functools
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from alexnet_keras.cli import console
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.storage.places import check_new_path, data_root, exists, runs_root
from alexnet_keras.visualization import FORMATS
from alexnet_keras.weights.published import PUBLISHED

if TYPE_CHECKING:
    from alexnet_keras.data.dataset import PreparedDataset
    from alexnet_keras.runs import Run


RUN_OPTION = "alexnet_keras.run"


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


class FigurePath(OutPath):
    """A figure to write, whose suffix is checked before anything is computed for it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = super().convert(value, param, ctx)
        if path.suffix.lower() not in FORMATS:
            raise UsageError(f"{path}: a figure is written as {', '.join(FORMATS)}.")
        return path


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


def _beginning_with(typed: str, names: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(typed)]


def recipe_names(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
    """For a shell's Tab key: the built-in recipes, and files."""
    from alexnet_keras.recipes.built_in import BUILT_IN

    return _beginning_with(typed, BUILT_IN) or [CompletionItem(typed, type="file")]


def experiment_names(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
    """For a shell's Tab key: the experiments, and the other words that `alexnet reproduce` takes."""
    from alexnet_keras.experiments.catalog import EXPERIMENTS

    return _beginning_with(typed, ["list", "report", *EXPERIMENTS])


def layer_names(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
    """For a shell's Tab key: the layers with weights, of which the last word of a list is completed."""
    before, comma, last = typed.rpartition(",")
    layers = [*(f"conv{number}" for number in range(1, 6)), "fc6", "fc7", "fc8"]
    return [CompletionItem(before + comma + name) for name in layers if name.startswith(last)]


def published_names(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
    """For a shell's Tab key: the published weights, and files."""
    return [*_beginning_with(typed, PUBLISHED), CompletionItem(typed, type="file")]


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
weights_option = click.option(
    "--weights",
    type=click.Choice(list(PUBLISHED)),
    help="ImageNet's published weights instead of a run; downloaded once.",
)
which_option = click.option(
    "--model", "which", type=click.Choice(["best", "last"]), default="best", help="The model of the run."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
recipe_option = click.option(
    "--recipe",
    default="source",
    metavar="NAME|FILE",
    shell_complete=recipe_names,
    help="One of `alexnet recipes`, or a TOML file.",
)


def _named_run(several: bool) -> Callable[[Callable], Callable]:
    """Return what gives a command its run, or several, as RUN or, like every other command, as --run RUN."""

    def add(command: Callable) -> Callable:
        argument = {"nargs": -1, "metavar": "[RUN]..."} if several else {"required": False}
        return click.option(
            "--run",
            "run_option",
            metavar="RUN",
            multiple=several,
            expose_value=False,
            is_eager=True,  # known before the argument
            shell_complete=run_names,
            callback=lambda ctx, param, value: ctx.meta.update({RUN_OPTION: value}),
            help="The same as RUN. [default: the latest]",
        )(
            click.argument(
                "runs" if several else "run", callback=_argument_or_option, shell_complete=run_names, **argument
            )(command)
        )

    return add


def _argument_or_option(ctx: click.Context, param: click.Parameter, given: Any) -> Any:
    option = ctx.meta.get(RUN_OPTION)
    if given and option:
        raise UsageError("Name runs as arguments or with --run, not both.")
    return option if given in (None, ()) else given  # "", of a variable that is not set, is no run's name


run_argument, runs_argument = _named_run(several=False), _named_run(several=True)


def given_options(without: Container[str | None] = ()) -> list[click.Parameter]:
    """The options that were given on the command line, in the order of the help; `without` has names to leave out."""
    ctx = click.get_current_context()
    return [
        option
        for option in ctx.command.params
        if option.expose_value  # unlike --quiet, which every command has
        and option.name not in without
        and ctx.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
    ]


class FiniteRange(click.FloatRange):
    """A number in a range; click's takes NaN for one in every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; fail where it is none, or outside of the range."""
        number: float = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


def refuse_given(names: Container[str | None], reason: str) -> None:
    """Refuse options that would do nothing.

    Args:
        names: The options' names as parameters.
        reason: The rest of the sentence, after the option: "goes with --gpus".

    Raises:
        UsageError: One of them was given.
    """
    if given := [option for option in given_options() if option.name in names]:
        raise UsageError(f"{given[0].opts[-1]} {reason}.")


def check_source(given: str) -> None:
    """Look into a folder before anything is measured, so that a mistake is reported at once and not after minutes.

    What takes long to look into, archives and parquet files, has to be there.
    """
    from alexnet_keras.data.sources.open import SourceRequest, kind_of, open_source

    request, kind = SourceRequest(given), kind_of(given)
    if kind == "folder":
        open_source(request)
    elif kind not in ("demo", "tfds") and not exists(request.place):
        raise UsageError(f"There is no directory {request.place}.")


def chosen_data(data: str | None) -> "PreparedDataset":
    """The prepared dataset named by --data, or the latest one; no other process prepares it again meanwhile."""
    from alexnet_keras.data.dataset import open_locked

    return click.get_current_context().with_resource(open_locked(data, console.REPORTER))


def chosen_run(run: str | None) -> "Run":
    """The run named on the command line, or the latest one, which is said on stderr."""
    from alexnet_keras.runs import as_run

    return as_run(run, console.REPORTER)


def refuse_input(out: Path | None, files: Iterable[Path]) -> None:
    """Refuse to write a figure in place of one of the images it is made from.

    Raises:
        UsageError: It is one of the files.
    """
    if out and out.exists() and any(file.exists() and out.samefile(file) for file in files):
        raise UsageError(f"{out} is one of the images: name another file for the figure.")


def data_of_run(run: "Run", data: str | Path | None) -> "PreparedDataset":
    """The dataset named by --data, or the one the run was trained on; its classes have to be the run's.

    Another one than the run was trained on, also under the same name, is warned of.
    """
    from alexnet_keras.runs import data_of

    return click.get_current_context().with_resource(data_of(run, data, console.REPORTER))


def data_if_there(run: "Run", data: str | None, without: str) -> "tuple[PreparedDataset | None, str]":
    """The same, but None and the reason where the run's own is missing, which a warning says, with what `without` says.

    One that is named has to exist.
    """
    try:
        return data_of_run(run, data), ""
    except (UsageError, DataError) as error:
        if data is not None:
            raise
        console.warn(f"{error} {without}")
        return None, str(error)
