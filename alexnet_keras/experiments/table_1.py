"""Table 1: sparse coding, SIFT with Fisher vectors, and the CNN, all trained on the same images."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.evaluation.errors import top_k_misses
from alexnet_keras.experiments import figures
from alexnet_keras.experiments.lab import Lab
from alexnet_keras.experiments.outcome import (
    Comparison,
    Outcome,
    OverSeeds,
    PerSeed,
    TopK,
    claimed_positive,
    error_kinds,
    images_text,
    over_images,
    part_of,
)
from alexnet_keras.visualization.style import INK, SERIES

# Top-1 and top-5 error on ILSVRC-2010's test images (paper, table 1, and section 4.1 for the centre crop).
CLAIMS = {
    "sparse-coding": "47.1 / 28.2 %",
    "fisher-vectors": "45.7 / 25.7 %",
    "cnn": "37.5 / 17.0 %",
    "cnn-centre": "39.0 / 18.3 %",
}
LOGS = {"cnn": "37.5 / 17.0 % (145-2010)", "cnn-centre": "39.0 / 18.3 % (145-2010)"}
TITLES = {
    "sparse-coding": "sparse coding",
    "fisher-vectors": "SIFT + FVs",
    "cnn": "CNN, ten crops",
    "cnn-centre": "CNN, centre crop",
}
GAIN = "+8.2 / +8.7 points"  # SIFT + FVs minus the CNN


def run(lab: Lab) -> Outcome:
    """Test all systems, or those of `--only`, once per seed, on the test split, or else on the validation split."""
    data, base = lab.open(), lab.base_recipe
    split = "test" if "test" in data.splits else "val"
    systems = {
        name: {seed: count_misses(lab, name, data, split, seed) for seed in lab.seeds}
        for name in lab.options.chosen(list(CLAIMS))
    }
    comparisons = []
    for kind, title in error_kinds(data).items():
        errors = {name: _errors(results, kind) for name, results in systems.items()}
        for name, ours in errors.items():
            claim, log = part_of(CLAIMS[name], kind), part_of(LOGS.get(name, ""), kind)
            note = over_images([(each[kind], each["images"]) for each in systems[name].values()])
            comparisons.append(Comparison(f"{title}, {TITLES[name]}", ours, claim=claim, log=log, note=note))
        if {"cnn", "fisher-vectors"} <= set(errors):
            gain = errors["fisher-vectors"].minus(errors["cnn"])
            comparisons.append(claimed_positive(f"{title}, SIFT + FVs minus CNN", gain, part_of(GAIN, kind)))
    return Outcome(
        summary=(
            f"All systems were trained on the {images_text(data)}, and tested on its {data.examples(split):,} images "
            f"of the split {split}. The CNN is the recipe {base.name} after {base.training.epochs} epochs. The "
            "classical systems are ours, built on OpenCV, scikit-image and scikit-learn; the paper quotes others' "
            "results. Few images favour systems that learn less."
        ),
        comparisons=tuple(comparisons),
        configuration=(
            f"CNN: {base.name}, {base.training.epochs} epochs, {lab.options.precision}",
            *(f"{TITLES[name]}: {_settings_of(lab, name)}" for name in systems if not name.startswith("cnn")),
        ),
        facts={"systems": systems},
    )


def count_misses(lab: Lab, name: str, data: PreparedDataset, split: str, seed: int) -> dict[str, Any]:
    """Train a system and count the images that it gets wrong: "top1" and "top5", of "images"."""
    if name.startswith("cnn"):
        views = "centre" if name == "cnn-centre" else "ten-crop"
        net = lab.network("source", lab.base_recipe, data, seed).name
        inputs = {"net": net, "data": data.fingerprint, "split": split, "views": views}
        return lab.kept(f"{name}-seed-{seed}", inputs, partial(cnn_misses, lab, data, split, seed, views))
    inputs = {"data": data.fingerprint, "split": split, "seed": seed, "settings": asdict(_settings_of(lab, name))}
    return lab.kept(f"{name}-seed-{seed}", inputs, partial(fit, lab, name, data, split, seed))


def cnn_misses(lab: Lab, data: PreparedDataset, split: str, seed: int, views: str) -> dict[str, Any]:
    """Train the CNN and count its misses."""
    net = lab.trained("source", lab.base_recipe, data, seed)
    evaluation = lab.errors(net, data, split, views)
    misses = {kind: round(getattr(evaluation, kind).error * evaluation.images) for kind in ("top1", "top5")}
    return {**misses, "images": evaluation.images, "net": net.name}


def fit(lab: Lab, name: str, data: PreparedDataset, split: str, seed: int) -> dict[str, Any]:
    """Fit a classical system and count its misses."""
    from alexnet_keras.experiments.classical import fit_and_predict

    lab.reporter.note(f"Fitting {TITLES[name]}, seed {seed}.")
    folder = lab.folder / "systems" / f"{name}-seed-{seed}"
    scores = fit_and_predict(name, data, split, folder, _settings_of(lab, name), seed, reporter=lab.reporter)
    misses = {f"top{k}": top_k_misses(scores.scores, scores.labels, k) for k in (1, 5)}
    return {**misses, "images": len(scores.labels), "features": scores.size, "alpha": scores.alpha}


def draw(outcome: Outcome, path: Path) -> None:
    """Draw the top-1 and top-5 errors of all systems as bars."""
    systems = outcome.facts["systems"]
    axes = figures.row_axes([TITLES[name] for name in systems], row_height=0.62)
    kinds: dict[TopK, tuple[float, str]] = {"top1": (-0.18, SERIES[0]), "top5": (0.18, SERIES[5])}
    for kind, (offset, color) in kinds.items():
        errors = [100 * _errors(results, kind).mean for results in systems.values()]
        rows = [row + offset for row in range(len(errors))]
        axes.barh(rows, errors, 0.34, color=color, label=kind.replace("top", "top-"))
        for row, error in zip(rows, errors, strict=True):
            axes.text(error + 0.4, row, f"{error:.1f}", va="center", fontsize=8, color=INK)
    axes.set_xlabel("error, %")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8)
    figures.write(axes, path)


def _errors(results: PerSeed, kind: TopK) -> OverSeeds:
    return OverSeeds.of(each[kind] / each["images"] for each in results.values())


def _settings_of(lab: Lab, name: str) -> Any:
    from alexnet_keras.experiments.classical import FULL, MINI

    return (FULL if lab.options.scale == "full" else MINI)[name]
