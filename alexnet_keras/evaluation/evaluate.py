"""Evaluation of runs, alone and as ensembles: the front door of `alexnet eval` and of Python programs."""

from __future__ import annotations  # so that help() shows them as they are written

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.errors import UsageError, check_choice
from alexnet_keras.evaluation.analysis import Outcomes, check_can_submit, write_submission
from alexnet_keras.evaluation.ensemble import EVEN, ODD, Ensemble, Subset, mean, search
from alexnet_keras.evaluation.errors import Evaluation, images_in, top5_of_few
from alexnet_keras.evaluation.predictions import Predictions, predictions_of
from alexnet_keras.reporter import WARNINGS, Reporter
from alexnet_keras.runs import Run, as_run, data_of, names_of

CONFUSIONS_KEPT = 100
Views = Literal["centre", "ten-crop"]
Weighting = Literal["mean", "search"]


@dataclass(frozen=True, eq=False)
class EnsembleEvaluation:
    """The evaluation of an ensemble, next to its members'.

    Attributes:
        ensemble: The members' predictions on the split that is reported, and their weights.
        evaluation: The ensemble's errors; where the weights were searched on the same split, on its other half.
        weights: The share of each member by the name of its run; they sum to 1.
        results: One object per model and set of images; `alexnet eval --ensemble KIND --json` prints them, but for
            members on a whole split, which it prints as the runs keep them.
    """

    ensemble: Ensemble
    evaluation: Evaluation
    weights: dict[str, float]
    results: list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Evaluations:
    """The evaluations of runs.

    Attributes:
        runs: The runs.
        predictions: The predictions of each run, with the last of the views.
        results: One object per views and run, as the run keeps it in evaluations/NAME.json.
        titles: The class names of the first run's dataset, and each class in words.
        ensemble: The runs as one; None where that was not requested.
    """

    runs: list[Run]
    predictions: list[Predictions]
    results: list[dict[str, Any]]
    titles: dict[str, str]
    ensemble: EnsembleEvaluation | None


def evaluate(
    run: Run | str | Path | None = None,
    data: PreparedDataset | str | Path | None = None,
    *,
    split: str = "val",
    views: str = "centre",
    which: str = "best",
    reporter: Reporter = WARNINGS,
) -> Evaluation:
    """Compute the top-1 and top-5 error of a run on a split, with 95 % intervals.

        from alexnet_keras import evaluate

        print(evaluate("my-run", views="ten-crop").top1.error)

    The run keeps predictions and results in its evaluations/, so that nothing is computed twice.

    Args:
        run: A run, its name under saved_models/, or its path; None for the latest.
        data: A prepared dataset, its name under data/, or its path; None for the one the run was trained on.
        split: The split to evaluate on.
        views: `"centre"`, or `"ten-crop"` to average the probabilities of ten crops (paper, section 4.1).
        which: The `"best"` or the `"last"` model of the run.
        reporter: Receives notes and progress.

    Returns:
        Loss and errors.

    Raises:
        UsageError: There is no such run, model, dataset, split or view.
        DataError: The dataset has other classes than the run or is damaged, or the split is empty.
        NotFiniteError: The model's probabilities are not finite.
    """
    evaluated = evaluate_runs([run], data, split=split, views=[views], which=which, reporter=reporter)
    return evaluated.predictions[0].evaluation()


def evaluate_ensemble(
    runs: Sequence[Run | str | Path],
    data: PreparedDataset | str | Path | None = None,
    *,
    split: str | None = None,
    views: str = "centre",
    which: str = "best",
    weights: Weighting = "mean",
    search_on: str = "val",
    reporter: Reporter = WARNINGS,
) -> EnsembleEvaluation:
    """Compute the errors of several runs as one, by the weighted mean of their probabilities.

    Args:
        runs: Two different runs or more, as `evaluate` takes them.
        data: The dataset of all; None for the one that the first run was trained on.
        split: The split to report on; None for val, or for test where weights are searched and there is one.
        views: `"centre"` or `"ten-crop"`.
        which: The `"best"` or the `"last"` model of each run.
        weights: `"mean"` for equal weights, `"search"` for those of the lowest top-5 error on `search_on`.
        search_on: The split to search weights on, of `"search"` alone; where it is `split` too, one half of it serves
            for each.
        reporter: Receives notes and progress.

    Returns:
        The ensemble, its errors, the weight of each run, and the result of every member.

    Raises:
        UsageError: There are fewer than two different runs, or no such weights; `search_on` with the plain mean;
            otherwise as `evaluate`.
    """
    check_choice("weights", weights, get_args(Weighting))
    evaluated = evaluate_runs(
        runs, data, split=split, views=[views], which=which, ensemble=weights, search_on=search_on, reporter=reporter
    ).ensemble
    assert evaluated is not None
    return evaluated


def evaluate_runs(
    runs: Sequence[Run | str | Path | None],
    data: PreparedDataset | str | Path | None = None,
    *,
    split: str | None = None,
    views: Sequence[str] = ("centre",),
    which: str = "best",
    ensemble: Weighting | None = None,
    search_on: str = "val",
    submission: Path | None = None,
    reporter: Reporter = WARNINGS,
) -> Evaluations:
    """Evaluate runs with each of several views, and with the last of them as an ensemble where that is requested.

    Args:
        runs, data, split, which, search_on, reporter: As in `evaluate_ensemble`.
        views: `"centre"`, `"ten-crop"` or both.
        ensemble: The kind of weights; None for the runs alone.
        submission: A file to write the five likeliest classes of each image to, as ILSVRC's servers read them.

    Raises:
        UsageError: As `evaluate`; or the submission is of several runs, or of classes without ILSVRC ids.
        DataError: As `evaluate`; or the submission is of a split that lacks images.
    """
    for each in views:
        check_choice("views", each, get_args(Views))
    opened = [as_run(run, reporter) for run in runs]
    if ensemble and len({run.path.resolve() for run in opened}) < max(2, len(opened)):
        raise UsageError("An ensemble has at least two members, each once: name two different runs or more.")
    if ensemble != "search" and search_on != "val":
        raise UsageError(f"search_on is for weights='search'. Received: weights={ensemble!r}, search_on={search_on!r}")
    if submission and len(opened) > 1 and not ensemble:
        raise UsageError("--submission is written for one run, or for an --ensemble of several.")
    if ensemble and data is None:
        data = opened[0].data_path  # all members see the same images
    with ExitStack() as stack:
        datasets = [stack.enter_context(data_of(run, data, reporter)) for run in opened]
        first = datasets[0]
        chosen_split = split or ("test" if ensemble == "search" and "test" in first.splits else "val")
        if ensemble == "search":
            images_in(first, search_on)
        if submission:
            check_can_submit(first, chosen_split)

        def predict(split: str, views: str) -> list[Predictions]:
            return [
                predictions_of(run, dataset, split, views, which=which, reporter=reporter)
                for run, dataset in zip(opened, datasets, strict=True)
            ]

        results = []
        for each in views:
            predictions = predict(chosen_split, each)
            results += [_result(run, own, which) for run, own in zip(opened, predictions, strict=True)]
        combined = None
        if ensemble:
            names = list(names_of(opened).values())
            combined = _combine(ensemble, names, which, predictions, search_on, lambda at: predict(at, views[-1]))
    if submission:
        top = combined.ensemble.top if combined else predictions[0].top
        write_submission(submission, top, predictions[0].filenames, first.ids)
    titles = dict(zip(first.classes, first.titles, strict=True))
    return Evaluations(opened, predictions, results, titles, combined)


def _result(run: Run, predictions: Predictions, which: str) -> dict[str, Any]:
    """Compute the result of one run, and keep it in the run where that can be written."""
    facts, outcomes, classes = predictions.facts, Outcomes.of(predictions), run.facts["classes"]
    result = {
        "run": str(run.path),
        "model": which,
        "data": facts["data"],
        "data_fingerprint": facts["data_fingerprint"],
        "model_sha256": facts["model_sha256"],
        **predictions.evaluation().to_dict(),
        "calibration": asdict(outcomes.calibration()),
        "confusions": [
            {**asdict(pair), "label": classes[pair.label], "guess": classes[pair.guess]}
            for pair in outcomes.confusions(CONFUSIONS_KEPT)
        ],
        "by_class": [
            {**asdict(errors), **top5_of_few(outcomes.classes), "label": classes[errors.label]}
            for errors in outcomes.by_class()
        ],
    }
    if run.is_writable:
        run.write_evaluation(predictions.path.name, result)
    return result


def _combine(
    kind: Weighting,
    names: list[str],
    which: str,
    members: list[Predictions],
    search_on: str,
    predict: Callable[[str], list[Predictions]],
) -> EnsembleEvaluation:
    """Evaluate each member, their mean and, where weights are searched, the weighted mean.

    `members` are predictions on the split that is reported, `predict` gives those on another; no two `names` are alike.
    """
    split = members[0].facts["split"]
    sets: dict[str, tuple[list[Predictions], Subset]] = {split: (members, Subset())}  # the last one is reported
    chosen = {"mean": mean(members)}
    if kind == "search":
        if search_on == split:
            if members[0].summary.ranks.size < 2:
                raise UsageError(f"The split {split} has one image and no halves: name another with --search-on.")
            sets = {f"{split}, searched half": (members, EVEN), f"{split}, other half": (members, ODD)}
        else:
            sets = {search_on: (predict(search_on), Subset()), **sets}
        weights = search(*next(iter(sets.values()))).weights
        chosen["search"] = Ensemble(members, weights)
    shares = {how: dict(zip(names, ensemble.shares.tolist(), strict=True)) for how, ensemble in chosen.items()}
    models: list[tuple[str, np.ndarray, dict[str, Any]]] = [
        *((name, alone, {}) for name, alone in zip(names, np.eye(len(names)), strict=True)),
        *(
            (f"{len(names)} CNNs, {how}", ensemble.weights, {"ensemble": how, "weights": shares[how]})
            for how, ensemble in chosen.items()
        ),
    ]
    results: list[dict[str, Any]] = []
    for where, (predictions, subset) in sets.items():
        for name, weights, extra in models:
            evaluation = Ensemble(predictions, weights).evaluation(subset)
            about = {"run": name, "model": which, "data": members[0].facts["data"]}
            result = {**about, **evaluation.to_dict(), "split": where}
            results.append({**result, **extra})
    return EnsembleEvaluation(chosen[kind], evaluation, shares[kind], results)
