"""The front door in Python for whole runs: each function ends with the run's model card.

`from alexnet_keras import train, resume` imports them from here. The command line and the experiments call them, too.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from alexnet_keras.reports.model_card import write_model_card
from alexnet_keras.runs import Run
from alexnet_keras.training import train as training

P = ParamSpec("P")


def _with_model_card(function: Callable[P, Run]) -> Callable[P, Run]:
    """The function, which then also writes the model card of the run that it returns."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> Run:
        run = function(*args, **kwargs)
        cluster = kwargs.get("cluster")
        if getattr(cluster, "is_chief", True):  # the chief alone writes into the run
            write_model_card(run)
        return run

    return called


train = _with_model_card(training.train)
resume = _with_model_card(training.resume)
