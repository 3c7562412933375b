"""The front door in Python for whole runs: `train`, `resume` and `evaluate`, each of which ends with the model card.

`from alexnet_keras import train, resume, evaluate` imports them from here; `prepare` needs no card and is
`data.preparation.prepare`. The command line and the experiments call them, too.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from alexnet_keras.evaluation import evaluate as evaluation
from alexnet_keras.reports.model_card import write_model_card
from alexnet_keras.runs import Run, as_run
from alexnet_keras.training import train as training

P = ParamSpec("P")
T = TypeVar("T")


def _write_card(run: Run) -> None:
    if run.is_writable:
        write_model_card(run)


def _with_card_of_result(function: Callable[P, Run]) -> Callable[P, Run]:
    """The function, which then also writes the model card of the run that it returns."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> Run:
        run = function(*args, **kwargs)
        if getattr(kwargs.get("cluster"), "is_chief", True):  # the chief alone writes into the run
            _write_card(run)
        return run

    return called


def _with_card_of_argument(function: Callable[P, T]) -> Callable[P, T]:
    """The function, which then also writes the model card of the run that is its first argument, or the latest."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        given: Any = args[0] if args else kwargs.pop("run", None)
        run = as_run(given)  # once: the latest may be another afterwards
        untyped: Any = function
        result = untyped(run, *args[1:], **kwargs)
        _write_card(run)
        return result

    return called


train = _with_card_of_result(training.train)
resume = _with_card_of_result(training.resume)
evaluate = _with_card_of_argument(evaluation.evaluate)
