"""Table 1: sparse coding, SIFT with Fisher vectors, and the CNN, all trained on the same images."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.evaluation.errors import error_rate, top_k_misses
from alexnet_keras.experiments.lab import Lab, base_recipe, chosen_data
from alexnet_keras.experiments.outcome import Estimate, Finding, Outcome, direction
from alexnet_keras.visualization.style import INK, SERIES, save_figure

# Top-1 and top-5 error on ILSVRC-2010's test images (paper, table 1, and section 4.1 for the centre crop).
CLAIMS = {
    "sparse-coding": ("47.1 %", "28.2 %"),
    "fisher-vectors": ("45.7 %", "25.7 %"),
    "cnn": ("37.5 %", "17.0 %"),
    "cnn-centre": ("39.0 %", "18.3 %"),
}
LOGS = {"cnn": ("37.5 % (145-2010)", "17.0 %"), "cnn-centre": ("39.0 % (145-2010)", "18.3 %")}
TITLES = {
    "sparse-coding": "sparse coding",
    "fisher-vectors": "SIFT + FVs",
    "cnn": "CNN, ten crops",
    "cnn-centre": "CNN, centre crop",
}
GAINS = ("+8.2 points", "+8.7 points")  # SIFT + FVs minus the CNN


def run(lab: Lab) -> Outcome:
    """All systems, or those of `--only`, a seed each, on the test split, or on the validation split without one."""
    data = chosen_data(lab)
    split = "test" if "test" in data.splits else "val"
    found = {
        name: {seed: measure(lab, name, data, split, seed) for seed in lab.seeds}
        for name in lab.request.chosen(list(CLAIMS))
    }
    findings = []
    for index, kind in enumerate(("top1", "top5")):
        if kind == "top5" and len(data.classes) <= 5:
            continue
        title = {"top1": "top-1", "top5": "top-5"}[kind]
        for name, seeds in found.items():
            ours = Estimate(tuple(each[kind] / each["images"] for each in seeds.values()))
            log = LOGS.get(name, ("", ""))[index]
            findings.append(
                Finding(
                    f"{title} error, {TITLES[name]}", CLAIMS[name][index], log, ours, note=_over_images(seeds, kind)
                )
            )
        if {"cnn", "fisher-vectors"} <= set(found):
            gain = Estimate(
                tuple(
                    (other[kind] - cnn[kind]) / cnn["images"]
                    for other, cnn in zip(found["fisher-vectors"].values(), found["cnn"].values(), strict=True)
                )
            )
            what = f"{title} error, SIFT + FVs minus CNN"
            findings.append(Finding(what, GAINS[index], "", gain, "points", direction(gain, 1)))
    base = base_recipe(lab.request)
    return Outcome(
        summary=(
            f"All systems were trained on the {data.examples('train'):,} training images of {data.path.name}, "
            f"{len(data.classes)} classes, and tested on its {data.examples(split):,} images of the split {split}. "
            f"The CNN is the recipe {base.name} after {base.training.epochs} epochs. The classical systems are ours, "
            "built on OpenCV, scikit-image and scikit-learn; the paper quotes others' results. Few images favour "
            "systems that learn less."
        ),
        findings=tuple(findings),
        configuration=(
            f"CNN: {base.name}, {base.training.epochs} epochs, {lab.request.precision}",
            *(f"{TITLES[name]}: {_settings_of(lab, name)}" for name in found if not name.startswith("cnn")),
        ),
        facts={"systems": {name: {str(s): each for s, each in seeds.items()} for name, seeds in found.items()}},
    )


def measure(lab: Lab, name: str, data: PreparedDataset, split: str, seed: int) -> dict[str, Any]:
    """How many images a system gets wrong."""
    if name.startswith("cnn"):
        net = lab.trained("source", base_recipe(lab.request), data, seed)
        found = lab.errors(net, data, split, "centre" if name == "cnn-centre" else "ten-crop")
        misses = {kind: round(getattr(found, kind).error * found.images) for kind in ("top1", "top5")}
        return {**misses, "images": found.images, "net": net.name}
    about = {"data": data.fingerprint, "split": split, "seed": seed, "settings": asdict(_settings_of(lab, name))}
    return lab.part(f"{name}-seed-{seed}", about, partial(fit, lab, name, data, split, seed))


def fit(lab: Lab, name: str, data: PreparedDataset, split: str, seed: int) -> dict[str, Any]:
    """Fits a classical system and counts its mistakes."""
    from alexnet_keras.experiments.classical import fit_and_predict

    folder = lab.folder / "systems" / f"{name}-seed-{seed}"
    with lab.watcher.stages(f"{TITLES[name]}, seed {seed}") as observer:
        scores = fit_and_predict(name, data, split, folder, _settings_of(lab, name), seed, observer)
    misses = {f"top{k}": top_k_misses(scores.scores, scores.labels, k) for k in (1, 5)}
    return {**misses, "images": len(scores.labels), "features": scores.size, "alpha": scores.alpha}


def draw(outcome: Outcome, path: Path) -> None:
    """Top-1 and top-5 errors of all systems as bars, the paper's numbers beside them."""
    systems = outcome.facts["systems"]
    figure = Figure(figsize=(7.2, 0.9 + 0.62 * len(systems)))
    axes = figure.add_subplot()
    for place, seeds in enumerate(reversed(systems.values())):
        for offset, kind, color in ((0.18, "top1", SERIES[0]), (-0.18, "top5", SERIES[5])):
            error = sum(each[kind] / each["images"] for each in seeds.values()) / len(seeds)
            axes.barh(
                place + offset, 100 * error, 0.34, color=color, label=None if place else kind.replace("top", "top-")
            )
            axes.text(100 * error + 0.4, place + offset, f"{100 * error:.1f}", va="center", fontsize=8, color=INK)
    axes.set_yticks(range(len(systems)), [TITLES[name] for name in reversed(systems)])
    axes.set_xlabel("error, %")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    save_figure(figure, path)


def _settings_of(lab: Lab, name: str) -> Any:
    from alexnet_keras.experiments.classical import FULL, MINI

    return {"full": FULL, "mini": MINI}[lab.request.scale][name]


def _over_images(seeds: dict[int, dict[str, Any]], kind: str) -> str:
    """The interval over the images, which one seed has, too."""
    if len(seeds) > 1:
        return ""
    (each,) = seeds.values()
    rate = error_rate(each[kind], each["images"])
    return f"{100 * rate.low:.1f} to {100 * rate.high:.1f} % over images"
