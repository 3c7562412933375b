"""The front door in Python for whole runs: `train`, `resume`, `evaluate` and `publish`, each with the model card.

`from alexnet_keras import train, resume, evaluate, publish` imports them from here; `prepare` needs no card and is
`data.preparation.prepare`. The command line and the experiments call them, too.
"""

from __future__ import annotations  # so that help() shows them as they are written

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation import evaluate as evaluation
from alexnet_keras.interop import sharing
from alexnet_keras.reporter import WARNINGS
from alexnet_keras.reports.model_card import model_card, write_model_card
from alexnet_keras.runs import Run, as_run
from alexnet_keras.storage.hub import is_address
from alexnet_keras.training import resume as resuming
from alexnet_keras.training import train as training
from alexnet_keras.training.launch import joined

P = ParamSpec("P")
T = TypeVar("T")


def _with_card_of_result(function: Callable[P, Run]) -> Callable[P, Run]:
    """The function, which then also writes the model card of the run that it returns."""

    untyped: Any = function

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> Run:
        options: dict[str, Any] = dict(kwargs)
        cluster = joined(options.get("cluster"), options.get("strategy"), options.get("reporter", WARNINGS))
        run: Run = untyped(*args, **{**options, "cluster": cluster})
        if cluster.is_chief:  # it alone writes into the run
            write_model_card(run, options.get("reporter", WARNINGS))
        return run

    return called


def _with_card_of_argument(function: Callable[P, T]) -> Callable[P, T]:
    """The function, which then also writes the model card of the run that is its first argument, or the latest."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        given: Any = args[0] if args else kwargs.pop("run", None)
        reporter: Any = kwargs.get("reporter", WARNINGS)
        run = as_run(given, reporter)  # once: the latest may be another afterwards
        untyped: Any = function
        result = untyped(run, *args[1:], **kwargs)
        write_model_card(run, reporter)
        return result

    return called


def publish(run: Run | str | Path | None, to: str | Path, *, private: bool = False, which: str = "best") -> str:
    """Share a run on Hugging Face's hub, or write what would be shared into a directory.

        from alexnet_keras import Classifier, publish

        publish("my-run", "hf://USER/my-run")
        classifier = Classifier("hf://USER/my-run")

    `keras.saving.load_model` and `AlexNet(weights=...)` open the same address, `alexnet import` makes a run of it.
    No image, file name, prediction, path, user or host name is sent.

    Args:
        run: A run, its name under saved_models/, or its path; None for the latest.
        to: The address, `"hf://USER/NAME"`; or a directory to make.
        private: Make the repository on the hub private.
        which: The `"best"` or the `"last"` model of the run.

    Returns:
        The URL of the commit on the hub, or the directory.

    Raises:
        UsageError: There is no such run or model, no token, or no right to write there; or the directory exists, or
            is to be private.
        DataError: The model is damaged.
        AlexNetError: The hub cannot be reached or refuses.
    """
    if private and not is_address(to):
        raise UsageError(f"private is for the hub, hf://USER/NAME. Received: to={str(to)!r}, private={private!r}")
    opened = as_run(run)
    opened.path_of_model(which)  # raises where there is none
    address = str(to) if is_address(to) else None

    def card(facts: dict[str, Any]) -> str:
        return model_card(opened, facts, address, which)

    return sharing.publish(opened, to, card, private=private, which=which)


train = _with_card_of_result(training.train)
resume = _with_card_of_result(resuming.resume)
evaluate = _with_card_of_argument(evaluation.evaluate)
