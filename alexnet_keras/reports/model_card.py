"""MODEL_CARD.md: what a run is, was made from, and is good for, as model hubs show it."""

import html
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from alexnet_keras.errors import DAMAGED
from alexnet_keras.recipes.built_in import BUILT_IN
from alexnet_keras.recipes.edits import differences
from alexnet_keras.runs import Run, another_name, look_commands, make_command, prepare_command
from alexnet_keras.storage.files import sha256_of, write_by_rename

TEMPLATE = "model_card.md.jinja"
CLASSES_SHOWN = 50
VIEWS = {"centre": "centre crop", "ten-crop": "ten crops"}
SPECIAL = re.compile(r"([\\`*_{}\[\]#!|~$@]|:(?=//))")  # what Markdown could take for more than a character


def write_model_card(run: Run) -> Path:
    """Writes, or writes anew, the model card of a run, from what is in its directory.

    Errors are those of evaluations of the run's present model.

    Returns:
        The file: Markdown with YAML before it.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        finalize=_for_markdown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {
        "count": lambda number: f"{number:,}",
        "yaml": lambda value: Markup(json.dumps(value)),  # JSON is YAML
        "python": lambda value: Markup(repr(value)),
        "indented": lambda lines: Markup("\n".join(f"    {line}" for line in "\n".join(lines).splitlines())),
    }
    card = environment.get_template(TEMPLATE).render(_about(run))
    with write_by_rename(run.model_card_path) as file:
        file.write_text(card, encoding="utf-8", errors="backslashreplace")
    return run.model_card_path


def _for_markdown(value: Any) -> Any:
    """Text that Markdown and HTML show as it is; what is marked as written for the card stays."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return SPECIAL.sub(r"\\\1", html.escape(" ".join(value.split()), quote=False))


def _about(run: Run) -> dict[str, Any]:
    facts, history, recipe = run.facts, run.history, run.recipe
    data = {"name": "", "source": "", "fingerprint": "not recorded", **facts.get("data", {})}
    best = run.best_row
    evaluations = _evaluations(run)
    parameters = facts.get("parameters")
    return {
        "run": run,
        "facts": {"precision": "not recorded", **facts},
        "recipe": recipe,
        "imported": facts.get("imported"),
        "status": run.status,
        "parameters": f"{parameters:,}" if parameters else "not recorded",
        "epochs": len(history),
        "best_epoch": f"; the best is number {int(best['epoch']) + 1}" if best else "",
        "validation": f"{best['val_top1_error']:.1%}" if best else "",
        "data": data,
        "images": ", ".join(f"{count:,} {split}" for split, count in data.get("examples", {}).items()),
        "classes": list(run.titles),
        "shown": CLASSES_SHOWN,
        "evaluations": evaluations,
        "calibration": evaluations[-1]["calibration"] if evaluations else None,
        "changes": [row[:-1] for row in differences(recipe, BUILT_IN["source"], BUILT_IN["paper"])],
        "commands": _commands(run) if "path" in data else [],
        "environment": {"alexnet-keras": version("alexnet-keras"), **facts.get("environment", {})},
    }


def _commands(run: Run) -> list[str]:
    name, prepare = another_name(run), prepare_command(run.facts["data"])
    return [*([prepare] if prepare else []), make_command(run, name), *look_commands(name, "val")]


def _evaluations(run: Run) -> list[dict[str, Any]]:
    """Errors of the run's best model, as it is now, in the order of their files' names."""
    if not run.model_path.exists():
        return []
    model, found = sha256_of(run.model_path), []
    for file in sorted((run.path / "evaluations").glob("*.json")):
        try:
            result = json.loads(file.read_text(encoding="utf-8"))
            same = json.loads((file.with_suffix("") / "facts.json").read_text(encoding="utf-8"))["model_sha256"]
            if same != model:
                continue
            found.append(
                {
                    "name": Path(result["data"]).name,
                    "split": result["split"],
                    "images": result["images"],
                    "views": VIEWS[result["views"]],
                    "top1": _rate(result["top1"]),
                    "top5": _rate(result["top5"]) if result["classes"] > 5 else None,
                    "calibration": f"{result['calibration']['expected_error']:.1%}",
                }
            )
        except DAMAGED:
            continue  # of an ensemble, or of another program
    return found


def _rate(rate: dict[str, float]) -> dict[str, Any]:
    text = f"{rate['error']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})"
    return {"accuracy": round(1 - rate["error"], 6), "text": text}
