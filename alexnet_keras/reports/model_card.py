"""MODEL_CARD.md: what a run is, was made from, and is good for, as model hubs show it."""

import html
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markupsafe import Markup

from alexnet_keras.errors import DAMAGED, DataError, check_choice
from alexnet_keras.recipes.built_in import BUILT_IN
from alexnet_keras.recipes.edits import differences
from alexnet_keras.reporter import WARNINGS, Reporter
from alexnet_keras.reports.page import VIEWS, templates
from alexnet_keras.reports.reproduction import reproduction_commands
from alexnet_keras.runs import Run
from alexnet_keras.storage.files import known_sha256, write_by_rename

TEMPLATE = "model_card.md.jinja"
CLASSES_SHOWN = 50
SPECIAL = re.compile(r"([\\`*_{}\[\]#!|~$@]|:(?=//))")  # what Markdown could take for more than a character


def write_model_card(run: Run, reporter: Reporter = WARNINGS) -> None:
    """Write the model card of a run, or write it again, from the files in its directory, where that can be written.

    Its errors are those of evaluations of the run's present model. The file is Markdown with YAML before it. Of a run
    whose files are damaged an older one stays, with a warning: what is done otherwise has no need of the card.
    """
    if not run.is_writable:
        return
    try:
        text = model_card(run)
    except DataError as error:
        reporter.warn(f"The model card was not written: {error}")
        return
    with write_by_rename(run.model_card_path) as file:
        file.write_text(text, encoding="utf-8", errors="backslashreplace")


def model_card(run: Run, facts: dict[str, Any] | None = None, address: str | None = None, which: str = "best") -> str:
    """Return the text of a run's model card.

    Args:
        run: The run.
        facts: The entries of run.json that it may show; None for all.
        address: Where the run is published, `hf://USER/NAME`, if it is.
        which: The model that it describes, `"best"` or `"last"`.

    Raises:
        UsageError: `which` is neither.
    """
    check_choice("which", which, ("best", "last"))
    environment = templates(finalize=_for_markdown, autoescape=False)
    environment.filters |= {
        "yaml": _yaml,
        "python": lambda value: Markup(repr(str(value))),
        "indented": lambda lines: Markup("\n".join(f"    {line}" for line in "\n".join(lines).splitlines())),
    }
    values = _values(run, run.facts if facts is None else facts, which)
    name = address.rpartition("/")[2].partition("@")[0] if address else run.name
    values |= {"name": name, "address": address and Markup(address), "published": facts is not None}
    return environment.get_template(TEMPLATE).render(values)


def _yaml(value: Any) -> Markup:
    """The value as JSON, which is YAML but for characters beyond the first 65,536: YAML has no pairs of surrogates."""
    text = json.dumps(value, ensure_ascii=False)
    return Markup("".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in text))


def _for_markdown(value: Any) -> Any:
    """Escape text so that Markdown and HTML show it as it is; Markup is written for the card and stays."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return SPECIAL.sub(r"\\\1", html.escape(" ".join(value.split()), quote=False))


def _values(run: Run, facts: dict[str, Any], which: str) -> dict[str, Any]:
    """The values that the template shows."""
    recipe = run.recipe
    shown = run.row_of(which)
    data = {"name": "", "source": "", "fingerprint": "not recorded", **facts.get("data", {})}
    evaluations, parameters = _evaluations(run, which), facts.get("parameters")
    return {
        "facts": {"precision": "not recorded", **facts},
        "recipe": recipe,
        "imported": facts.get("imported"),
        "status": run.status,
        "parameters": f"{parameters:,}" if parameters else "not recorded",
        "epochs": len(run.history),
        "which": which,
        "number": int(shown["epoch"]) + 1 if shown else None,
        "validation": f"{shown['val_top1_error']:.1%}" if shown else "",
        "data": data,
        "images": ", ".join(f"{count:,} {split}" for split, count in data.get("examples", {}).items()),
        "classes": list(run.titles),
        "shown": CLASSES_SHOWN,
        "evaluations": evaluations,
        "changes": [row[:-1] for row in differences(recipe, BUILT_IN["source"], BUILT_IN["paper"])],
        "commands": reproduction_commands(run, data) if "path" in data else [],
        "environment": {"alexnet-keras": version("alexnet-keras"), **facts.get("environment", {})},
    }


def _evaluations(run: Run, which: str) -> list[dict[str, Any]]:
    """Errors of the run's present model, in the order of their files' names."""
    path = run.model_path if which == "best" else run.last_model_path
    if not path.exists():
        return []
    model, evaluations = known_sha256(path), []
    for file in sorted((run.path / "evaluations").glob("*.json")):
        try:
            result = json.loads(file.read_text(encoding="utf-8"))
            of = result.get("model_sha256")
            facts = file.with_suffix("") / "facts.json"
            # Version 0.1 wrote no checksum, and the predictions before the result: newer ones are another model's.
            if of is None and file.stat().st_mtime >= facts.stat().st_mtime:
                of = json.loads(facts.read_text(encoding="utf-8"))["model_sha256"]
            if of != model:
                continue
            evaluations.append(
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
    return evaluations


def _rate(rate: dict[str, float]) -> dict[str, Any]:
    text = f"{rate['error']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})"
    return {"accuracy": round(1 - rate["error"], 6), "text": text}
