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


def _with_model_card(function: Callable[P, T], run_of: Callable[[T, tuple, dict[str, Any]], Run]) -> Callable[P, T]:
    """The function, which then also writes the model card of a run.

    Args:
        run_of: From what the function returned, and its arguments, to the run.
    """

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        result = function(*args, **kwargs)
        run = run_of(result, args, kwargs)
        if getattr(kwargs.get("cluster"), "is_chief", True) and run.is_writable:  # the chief alone writes into the run
            write_model_card(run)
        return result

    return called


train = _with_model_card(training.train, lambda run, args, kwargs: run)
resume = _with_model_card(training.resume, lambda run, args, kwargs: run)
evaluate = _with_model_card(
    evaluation.evaluate, lambda result, args, kwargs: as_run(args[0] if args else kwargs.get("run"))
)
