"""Measures README.md's results and draws its figures: `python docs/hooks/readme.py`, or some of them by name.

    python docs/hooks/readme.py                      # network, demo: minutes
    python docs/hooks/readme.py photographs DIR      # trains on class folders of photographs, named Imagenette there

Results go to docs/results.json, each with its command, machine and date, figures to docs/images/, and results into
the marked parts of README.md. Its ratios of speed are those of docs/performance.md. Work is done in the folder that
ALEXNET_HOME names, where a network that is trained is not trained again, or in one that is thrown away.
"""

import csv
import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from alexnet_keras.machine import this_machine

ROOT = Path(__file__).parents[2]
README, RESULTS, IMAGES = ROOT / "README.md", ROOT / "docs/results.json", ROOT / "docs/images"
ALEXNET = (sys.executable, "-m", "alexnet_keras")
WIDTH, COLORS = 1000, 128
DATA, REPRODUCTIONS = "imagenette", "saved_models/reproductions"
TRAIN = ("reproduce", "figure-3", "--scale", "full", "--seeds", "1", "--data", DATA)
TRAIN += ("--precision", "mixed_bfloat16", "--cache", "memory")


def alexnet(home: Path, *words: str | Path) -> str:
    """Run a command in a folder, and return what it prints on stdout."""
    environment = {name: value for name, value in os.environ.items() if name != "ALEXNET_HOME"}  # for short paths
    command = [*ALEXNET, *map(str, words)]
    return subprocess.run(command, cwd=home, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def made(command: str, **facts: Any) -> dict[str, Any]:
    """A result with its command, machine and date."""
    machine = this_machine()
    where = f"{machine.threads} cores of {machine.processor}"
    return {"command": command, "machine": where, "date": f"{datetime.now(UTC):%Y-%m-%d}", **facts}


def draw(home: Path, name: str, *words: str) -> None:
    """Draw a figure, and keep it in docs/images at the width of a page, with few colours."""
    drawn = home / f"{name}.png"
    alexnet(home, "visualize", *words, "--out", drawn)
    with Image.open(drawn) as figure:
        size = WIDTH, round(figure.height * WIDTH / figure.width)
        figure.convert("RGB").resize(size, Image.Resampling.LANCZOS).quantize(COLORS).save(IMAGES / drawn.name)


def network(home: Path) -> dict[str, Any]:
    """The architecture figure, and the numbers of parameters."""
    draw(home, "architecture", "architecture", "--recipe", "source")
    found = json.loads(alexnet(home, "info", "model", "--json"))
    return made("alexnet info model", parameters=found["parameters"], multiply_adds=found["multiply_adds"])


def demo(home: Path) -> dict[str, Any]:
    """The demo: its last lines, and an image with its likeliest classes."""
    printed = alexnet(home, "demo").rstrip().splitlines()
    last = printed[next(number for number, line in enumerate(printed) if line.startswith("Done in ")) :]
    image = "data/demo-pictures/val/red-disc-vertical/000.jpg"
    predicted = alexnet(home, "predict", image, "--top", "2").rstrip().splitlines()
    return made("alexnet demo", printed=last, predicted=predicted)


def photographs(home: Path, folder: Path) -> dict[str, Any]:
    """A network of the paper's size, trained on photographs: its errors, and the figures of the run."""
    if not (home / "data" / DATA / "manifest.json").exists():
        alexnet(home, "prepare", folder.resolve(), "--out", home / "data" / DATA)
    alexnet(home, *TRAIN)  # what was trained before is not trained again
    facts = json.loads((home / REPRODUCTIONS / "figure-3-full/result.json").read_text())["facts"]
    run = f"{REPRODUCTIONS}/nets/{facts['nets'][0]}"
    evaluated = json.loads(alexnet(home, "eval", run, "--model", "last", "--ten-crop", "--json"))
    draw(home, "kernels", "kernels", run)
    draw(home, "kernels-over-time", "kernels", run, "--over-time")
    with (home / run / "history.csv").open(newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    data = json.loads((home / "data" / DATA / "manifest.json").read_text())["splits"]
    return made(
        f"alexnet {' '.join(TRAIN)}",
        tested="alexnet eval RUN --model last --ten-crop",
        epochs=len(seconds),
        images={split: sum(data[split]["class_counts"]) for split in data},
        classes=len(data["train"]["class_counts"]),
        minutes=round(sum(seconds) / 60),
        **{each["views"]: {kind: each[kind] for kind in ("top1", "top5")} for each in evaluated},
    )


def rendered(text: str, parts: dict[str, str]) -> str:
    """Fill the marked parts of a text: <!-- name --> ... <!-- end -->."""

    def filled(found: re.Match[str]) -> str:
        return f"<!-- {found[1]} -->\n{parts[found[1]]}\n<!-- end -->" if found[1] in parts else found[0]

    return re.sub(r"<!-- ([a-z0-9-]+) -->\n.*?\n?<!-- end -->", filled, text, flags=re.DOTALL)


def parts_of(results: dict[str, Any]) -> dict[str, str]:
    """The parts of README.md that the results there are fill."""
    return {name: part(results) for name, (part, needed) in PARTS.items() if needed <= results.keys()}


def percent(rate: dict[str, float]) -> str:
    return f"{100 * rate['error']:.1f} % ({100 * rate['low']:.1f} to {100 * rate['high']:.1f})"


def _demo(results: dict[str, Any]) -> str:
    """What the first commands print."""
    shown = results["demo"]
    (done, page), predicted = shown["printed"][:2], shown["predicted"]
    return "\n".join(
        [
            "```console",
            "$ alexnet visualize architecture --recipe source --out alexnet.png   # the figure above, in seconds",
            "Wrote alexnet.png",
            "$ alexnet demo   # prepares, trains, evaluates and draws, on images that it makes itself",
            "...",
            done,
            page,
            f"$ alexnet predict {predicted[0]} --top 2",
            *predicted,
            "```",
        ]
    )


def _results(results: dict[str, Any]) -> str:
    """The table of what was measured."""
    photos, shown = results["photographs"], results["demo"]
    drawn = re.search(r"Done in ([\d:]+)\. Top-1 error with ten crops: ([\d.]+)%", shown["printed"][0])
    assert drawn, shown["printed"]
    centre, crops = (percent(photos[views]["top1"]) for views in ("centre", "ten-crop"))
    rows = [
        f"| Imagenette, {photos['images']['train']:,} photographs of {photos['classes']} classes "
        f"| `{photos['command']}`, `{photos['tested']}` | {centre} | {crops} | {photos['minutes']} minutes |",
        f"| 1,200 drawings of 12 classes | `alexnet demo` | | {drawn[2]} % | {drawn[1]}, all of it |",
    ]
    where = "; ".join(
        f"{what} on {each['machine']}, {each['date']}" for what, each in (("Photographs", photos), ("drawings", shown))
    )
    dates = f"{where}. `docs/results.json` has the figures as they were printed."
    head = "| data | command | top-1 error, centre crop | ten crops | time |\n|---|---|---|---|---|"
    return f"{head}\n" + "\n".join(rows) + f"\n\n{dates}"


PARTS = {"demo": (_demo, {"demo"}), "results": (_results, {"demo", "photographs"})}
MEASURED = {"network": network, "demo": demo, "photographs": photographs}


def main(names: list[str]) -> None:
    """Measure what is named, and render README.md."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    wanted = [(names[0], names[1:])] if names else [("network", []), ("demo", [])]
    with tempfile.TemporaryDirectory() as scratch:
        for name, arguments in wanted:
            home = Path(os.environ.get("ALEXNET_HOME") or scratch) if name == "photographs" else Path(scratch)
            results[name] = MEASURED[name](home, *map(Path, arguments))
            RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    README.write_text(rendered(README.read_text(), parts_of(results)))


if __name__ == "__main__":
    main(sys.argv[1:])
