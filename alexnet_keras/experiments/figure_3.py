"""Figure 3 and section 6.1: the first layer's kernels, and whether the towers specialise in every run."""

import math
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.errors import AlexNetError, DataError
from alexnet_keras.experiments.lab import Lab
from alexnet_keras.experiments.outcome import Comparison, Outcome, OverSeeds, Verdict, seeds_text
from alexnet_keras.layers.towers import tower_letter
from alexnet_keras.network.kernels import CAVEAT, compare_towers, first_kernels
from alexnet_keras.storage.kept import MADE_FROM, kept_arrays
from alexnet_keras.visualization.kernels import draw_towers

KERNELS = "kernels-seed-{seed}.npz"  # in the experiment's parts/
CLEAR = 0.01  # a p-value below it counts as a specialised pair of towers


def run(lab: Lab) -> Outcome:
    """Train the unchanged network, once per seed, and compare the colour of its towers' kernels."""
    data, base = lab.open(), lab.base_recipe
    found, left_out = lab.converged(lab.seeds, lambda seed: compare_towers(kernels_of(lab, seed, data)))
    reports = {seed: report for seed, report in found.items() if report.differences}
    if not reports:
        raise AlexNetError("No network can be compared: in each, every kernel of a tower is zero.")
    if dead := ", ".join(f"seed {seed}" for seed in found if seed not in reports):
        left_out += f" Left out, because every kernel of a tower is zero: {dead}."
    pairs = [pair for report in reports.values() for pair in report.differences]
    apart = OverSeeds(tuple(pair.probability - 0.5 for pair in pairs))
    clear = sum(pair.p_value < CLEAR for pair in pairs)
    medians = [sorted(tower.median for tower in report.towers) for report in reports.values()]
    alive = [[len(tower.alive) for tower in report.towers if len(tower.alive)] for report in reports.values()]
    chance = np.mean([chance_apart(*two) for counts in alive for two in combinations(counts, 2)])
    return Outcome(
        summary=(
            f"The recipe {base.name} was trained for {base.training.epochs} epochs on the {data.examples('train'):,} "
            f"images of {data.path.name} with {seeds_text(len(reports))}. A kernel's colour share is the part of its "
            f"energy off the grey axis (0 grey, 0.67 random weights). In {clear} of {len(pairs)} runs one tower's "
            f"kernels are more colourful than the other's at p < {CLEAR} (Mann-Whitney). {CAVEAT}{left_out}"
        ),
        comparisons=(
            Comparison(
                "runs in which the towers specialise (p < 0.01)",
                OverSeeds((float(clear),)),
                "count",
                "in every run, whatever the initial weights",
                verdict=verdict_on_runs(clear, len(pairs)),
                note=f"of {len(pairs)}",
            ),
            Comparison(
                "probability that a kernel of the more colourful tower is the more colourful one, minus one half",
                apart,
                "number",
                note=f"{chance:.3f} by chance",
            ),
            *(
                Comparison(f"median colour share, the {which} tower", OverSeeds(values), "number")
                for which, values in zip(("greyer", "more colourful"), zip(*medians, strict=True), strict=True)
            ),
        ),
        configuration=(f"{base.name}, {base.training.epochs} epochs, {lab.options.precision}",),
        facts={
            "nets": [lab.network("source", base, data, seed).name for seed in reports],
            "kernels": [_part_of(lab, seed, data)[0].name for seed in reports],
            "colors": [report.to_dict() for report in reports.values()],
        },
    )


def verdict_on_runs(clear: int, runs: int) -> Verdict:
    """The verdict on "in every run": agrees if all of several are clear, disagrees if most runs are surely not."""
    if clear == runs > 1:
        return "agrees"
    return "disagrees" if binomtest(clear, runs).proportion_ci(0.95).high < 0.5 else "undecided"


def chance_apart(one: int, other: int) -> float:
    """How far the probability is off one half, on average, for two towers that do not differ, by their kernels."""
    return math.sqrt(2 / math.pi * (one + other + 1) / (12 * one * other))


def kernels_of(lab: Lab, seed: int, data: PreparedDataset) -> list[np.ndarray]:
    """The first layer's kernels in a network's last model, one array `(height, width, 3, filters)` per tower.

    They are kept as a part of the experiment, for which the network is needed no more.

    Raises:
        DataError: The part was changed by hand, or is damaged.
    """

    def read() -> dict[str, np.ndarray]:
        towers = first_kernels(lab.trained("source", lab.base_recipe, data, seed).load_model("last"))
        return {tower_letter(index): kernels for index, kernels in enumerate(towers)}

    path, inputs = _part_of(lab, seed, data)
    towers = list(kept_arrays(path, inputs, read).values())
    whole = all(each.ndim == 4 and each.shape[2] == 3 and np.isfinite(each).all() for each in towers)
    if not (whole and towers and len({each.shape[:2] for each in towers}) == 1):
        raise DataError(f"{path} is damaged: remove it, and the same command makes it again.")
    return towers


def _part_of(lab: Lab, seed: int, data: PreparedDataset) -> tuple[Path, dict[str, Any]]:
    """The file of a network's kernels, and what they depend on."""
    inputs = {"net": lab.network("source", lab.base_recipe, data, seed).name, "data": data.fingerprint}
    return lab.part(KERNELS.format(seed=seed), inputs), inputs


def draw(outcome: Outcome, path: Path) -> None:
    """Draw the kernels of the first seed's network, from grey to colourful, tower by tower."""
    with np.load(path.parent / "parts" / outcome.facts["kernels"][0]) as archive:
        kernels = [archive[name] for name in archive.files if name != MADE_FROM]
    draw_towers(kernels, compare_towers(kernels), path)
