"""Table 1: sparse coding, SIFT with Fisher vectors, and the CNN, all trained on the same images."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.evaluation.errors import label_ranks
from alexnet_keras.experiments import figures
from alexnet_keras.experiments.lab import Lab
from alexnet_keras.experiments.outcome import (
    Outcome,
    PerSeed,
    TopK,
    difference,
    error,
    error_kinds,
    images_text,
    packed_misses,
    part_of,
    train_and_test,
    training_text,
)
from alexnet_keras.visualization.style import INK, SERIES

VERSION = 2  # of what is kept of a classical system, incremented when its content changes; 1 held counts, no shares
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
    systems = {name: tested(lab, name, data, split) for name in lab.options.chosen(list(CLAIMS))}
    cnns = [results for name, results in systems.items() if name.startswith("cnn")]
    comparisons = []
    for kind, title in error_kinds(data).items():
        for name, results in systems.items():
            row, log = error(f"{title}, {TITLES[name]}", results, kind), part_of(LOGS.get(name, ""), kind)
            comparisons.append(replace(row, claim=part_of(CLAIMS[name], kind), log=log))
        if {"cnn", "fisher-vectors"} <= set(systems):
            what = f"{title}, SIFT + FVs minus CNN"
            comparisons.append(difference(what, systems["fisher-vectors"], systems["cnn"], kind, GAIN, sign=1))
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
            *([training_text(cnns)] if cnns else []),
        ),
        facts={"systems": systems},
    )


def tested(lab: Lab, name: str, data: PreparedDataset, split: str) -> PerSeed:
    """Train a system once per seed and test it; for each seed its errors, 0..1, and the images that it gets wrong."""
    if name.startswith("cnn"):
        views = "centre" if name == "cnn-centre" else "ten-crop"
        return train_and_test(lab, "source", lab.base_recipe, data, split, views)
    settings = _settings_of(lab, name)
    inputs = {"version": VERSION, "data": data.fingerprint, "split": split, "settings": asdict(settings)}
    return {
        seed: lab.kept(f"{name}-seed-{seed}", inputs | {"seed": seed}, partial(fit, lab, name, data, split, seed))
        for seed in lab.seeds
    }


def fit(lab: Lab, name: str, data: PreparedDataset, split: str, seed: int) -> dict[str, Any]:
    """Fit a classical system and test it."""
    from alexnet_keras.experiments.classical.systems import fit_and_predict

    lab.reporter.note(f"Fitting {TITLES[name]}, seed {seed}.")
    folder = lab.folder / "systems" / f"{name}-seed-{seed}"
    scores = fit_and_predict(name, data, split, folder, _settings_of(lab, name), seed, reporter=lab.reporter)
    ranks = label_ranks(scores.scores, scores.labels)
    errors = {"top1": float((ranks >= 1).mean()), "top5": float((ranks >= 5).mean()), "images": len(ranks)}
    found = {"misses": packed_misses(ranks), "stalled": False, "features": scores.size, "alpha": scores.alpha}
    return errors | found


def draw(outcome: Outcome, path: Path) -> None:
    """Draw the top-1 and top-5 errors of all systems as bars."""
    systems = outcome.facts["systems"]
    axes = figures.row_axes([TITLES[name] for name in systems], row_height=0.62)
    kinds: dict[TopK, tuple[float, str]] = {"top1": (-0.18, SERIES[0]), "top5": (0.18, SERIES[5])}
    for kind, (offset, color) in kinds.items():
        title = kind.replace("top", "top-")
        if not any(row.what.startswith(title) for row in outcome.comparisons):
            continue  # of few classes there is no top-5 error
        measured = [error("", results, kind).ours for results in systems.values()]
        shares = [100 * ours.mean if ours else 0 for ours in measured]
        rows = [row + offset for row in range(len(shares))]
        axes.barh(rows, shares, 0.34, color=color, label=title)
        for row, share, ours in zip(rows, shares, measured, strict=True):
            axes.text(share + 0.4, row, f"{share:.1f}" if ours else "diverged", va="center", fontsize=8, color=INK)
    axes.set_xlabel("error, %")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8)
    figures.write(axes, path)


def _settings_of(lab: Lab, name: str) -> Any:
    from alexnet_keras.experiments.classical.settings import FULL, MINI

    return (FULL if lab.options.scale == "full" else MINI)[name]
