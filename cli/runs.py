"""`alexnet runs`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import json_option
from alexnet_keras.errors import AlexNetError

if TYPE_CHECKING:
    from alexnet_keras.runs import Run


@click.command()
@json_option
def runs(as_json: bool) -> None:
    """List the runs, the latest first.

    How far each is, how it ended, and its best error. States: running; finished; interrupted, failed or killed,
    after which the run continues with `alexnet train --resume RUN`; diverged; imported by `alexnet import`;
    unreadable.

    \b
    Example: alexnet runs
    """
    from alexnet_keras.runs import IMPORTED, all_runs
    from alexnet_keras.storage.places import runs_root

    rows = sorted((_facts(run) for run in all_runs()), key=lambda row: row["updated"], reverse=True)
    if as_json:
        console.emit_json(rows)
        return
    if not rows:
        console.result(f"There are no runs under {runs_root()} yet: alexnet train makes one.")
        return
    cells = [
        [
            row["run"],
            row["state"],
            "-" if row["state"] == IMPORTED else f"{row['epochs']} of {row['of'] or '?'}",
            "-" if row["best_val_top1_error"] is None else f"{row['best_val_top1_error']:.2%}",
            row["updated"].replace("T", " ")[:16],
            row["recipe"],
            row["data"],
            row["strategy"],
        ]
        for row in rows
    ]
    columns = ["run", "state", "epochs", "best top-1 error", "last written (UTC)", "recipe", "data", "strategy"]
    console.table(f"Runs in {runs_root()}", columns, cells, left=2, optional=columns[-4:])


def _facts(run: "Run") -> dict:
    try:
        facts, history, epochs, state = run.facts, run.history, run.recipe.training.epochs, run.status
    except (AlexNetError, ValueError):
        facts, history, epochs, state = {}, [], None, "unreadable"
    return {
        "run": run.name,
        "state": state,
        "epochs": len(history),
        "of": epochs,
        "best_val_top1_error": facts.get("best", {}).get("val_top1_error"),
        "recipe": facts.get("recipe", ""),
        "data": Path(facts.get("data", {}).get("path") or "").name,
        "strategy": facts.get("strategy", ""),
        "updated": facts.get("updated", ""),
    }
