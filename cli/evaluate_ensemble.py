"""The part of `alexnet eval` that makes one network of several."""

from collections.abc import Callable
from typing import Any

from alexnet_keras.cli import console
from alexnet_keras.evaluation.ensemble import EVEN, ODD, Ensemble, Rows, mean, one_hot, search
from alexnet_keras.evaluation.predictions import Predictions


def combine(
    kind: str, members: list[Predictions], search_on: str, predictions_on: Callable[[str], list[Predictions]]
) -> tuple[Ensemble, list[dict[str, Any]]]:
    """The ensemble of the members, and the errors of each member and of all together.

    Args:
        kind: "mean" or "search".
        members: predictions on the split that is reported on.
        search_on: the split on which weights are searched.
        predictions_on: gives the members' predictions on another split.
    """
    split = members[0].facts["split"]
    sets: dict[str, tuple[list[Predictions], Rows]] = {split: (members, Rows())}
    chosen = {"mean": mean(members)}
    if kind == "search":
        if search_on == split:
            sets = {f"{split}, searched half": (members, EVEN), f"{split}, other half": (members, ODD)}
        else:
            sets = {search_on: (predictions_on(search_on), Rows()), **sets}
        weights = search(*next(iter(sets.values()))).weights
        chosen["search"] = Ensemble(members, weights)
    results = []
    for where, (predictions, rows) in sets.items():

        def result(name: str, ensemble: Ensemble, where: str = where, rows: "Rows" = rows) -> dict[str, Any]:
            evaluation = ensemble.evaluation(rows).to_dict()
            return {"run": name, "data": members[0].facts["data"], **evaluation, "split": where}

        for index, member in enumerate(members):
            results.append(result(member.facts["run"], Ensemble(predictions, one_hot(len(members), index))))
        for how, ensemble in chosen.items():
            shares = ensemble.weights / ensemble.weights.sum()
            of = {member.facts["run"]: float(share) for member, share in zip(members, shares, strict=True)}
            errors = result(f"{len(members)} CNNs, {how}", Ensemble(predictions, ensemble.weights))
            results.append({**errors, "ensemble": how, "weights": of})
    return chosen[kind], results


def print_table(results: list[dict[str, Any]], form: str | None, with_interval: Callable[[dict], str]) -> None:
    """The errors as the paper's table 2 has them: a row a model, columns for each set of images."""
    sets = list(dict.fromkeys(result["split"] for result in results))
    by_name: dict[str, dict[str, dict]] = {}
    for result in results:
        by_name.setdefault(result["run"], {})[result["split"]] = result
    top5 = results[0]["classes"] > 5
    errors = ("top1", "top5") if top5 else ("top1",)
    titles = {"top1": "top-1", "top5": "top-5"}
    rows = [
        [name, *(with_interval(found[where][error]) for where in sets for error in errors)]
        for name, found in by_name.items()
    ]
    columns = ["model", *(f"{titles[error]} ({where})" for where in sets for error in errors)]
    first = results[0]
    console.table(f"Error on {first['data']}, {first['views']} (95 % interval)", columns, rows, form=form)
    if not form:
        for how in dict.fromkeys(result["ensemble"] for result in results if "ensemble" in result):
            weights = next(result["weights"] for result in results if result.get("ensemble") == how)
            console.result(f"{how}: " + ", ".join(f"{share:.3g} {name}" for name, share in weights.items()))
