"""Figure 3 and section 6.1: the first layer's kernels, and whether the towers specialise in every run."""

from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.experiments.lab import Lab
from alexnet_keras.experiments.outcome import Comparison, Outcome, OverSeeds, seeds_text, sign_verdict
from alexnet_keras.layers.towers import tower_letter
from alexnet_keras.network.kernels import CAVEAT, compare_towers, first_kernels
from alexnet_keras.storage.kept import MADE_FROM, kept_arrays
from alexnet_keras.visualization.kernels import draw_towers

KERNELS = "kernels-seed-{seed}.npz"  # in the experiment's parts/
CLEAR = 0.01  # a p-value below it counts as a specialised pair of towers


def run(lab: Lab) -> Outcome:
    """Train the unchanged network, once per seed, and compare the colour of its towers' kernels."""
    data, base = lab.open(), lab.base_recipe
    reports = [compare_towers(kernels_of(lab, seed, data)) for seed in lab.seeds]
    pairs = [pair for report in reports for pair in report.differences]
    apart = OverSeeds.of(pair.probability - 0.5 for pair in pairs)
    clear = sum(pair.p_value < CLEAR for pair in pairs)
    medians = [sorted(tower.median for tower in report.towers) for report in reports]
    verdict = sign_verdict(apart, 1)
    if verdict == "agrees" and clear < len(pairs):
        verdict = "undecided"
    return Outcome(
        summary=(
            f"The recipe {base.name} was trained for {base.training.epochs} epochs on the {data.examples('train'):,} "
            f"images of {data.path.name} with {seeds_text(len(reports))}. A kernel's colour share is the part of its "
            f"energy off the grey axis (0 grey, 0.67 random weights). In {clear} of {len(pairs)} runs one tower's "
            f"kernels are more colourful than the other's at p < {CLEAR} (Mann-Whitney). {CAVEAT}"
        ),
        comparisons=(
            Comparison(
                "runs in which the towers specialise (p < 0.01)",
                OverSeeds((float(clear),)),
                "count",
                "in every run, whatever the initial weights",
                verdict=verdict,
                note=f"of {len(pairs)}",
            ),
            Comparison(
                "probability that a kernel of the more colourful tower is the more colourful one, minus one half",
                apart,
                "number",
            ),
            *(
                Comparison(f"median colour share, the {which} tower", OverSeeds(values), "number")
                for which, values in zip(("greyer", "more colourful"), zip(*medians, strict=True), strict=True)
            ),
        ),
        configuration=(f"{base.name}, {base.training.epochs} epochs, {lab.options.precision}",),
        facts={
            "nets": [lab.network("source", base, data, seed).name for seed in lab.seeds],
            "kernels": [_part_of(lab, seed, data)[0].name for seed in lab.seeds],
            "colors": [report.to_dict() for report in reports],
        },
    )


def kernels_of(lab: Lab, seed: int, data: PreparedDataset) -> list[np.ndarray]:
    """The first layer's kernels in a network's last model, one array `(height, width, 3, filters)` per tower.

    They are kept as a part of the experiment, for which the network is needed no more.
    """

    def read() -> dict[str, np.ndarray]:
        towers = first_kernels(lab.trained("source", lab.base_recipe, data, seed).load_model("last"))
        return {tower_letter(index): kernels for index, kernels in enumerate(towers)}

    return list(kept_arrays(*_part_of(lab, seed, data), read).values())


def _part_of(lab: Lab, seed: int, data: PreparedDataset) -> tuple[Path, dict[str, Any]]:
    """The file of a network's kernels, and what they depend on."""
    inputs = {"net": lab.network("source", lab.base_recipe, data, seed).name, "data": data.fingerprint}
    return lab.part(KERNELS.format(seed=seed), inputs), inputs


def draw(outcome: Outcome, path: Path) -> None:
    """Draw the kernels of the first seed's network, from grey to colourful, tower by tower."""
    with np.load(path.parent / "parts" / outcome.facts["kernels"][0]) as archive:
        kernels = [archive[name] for name in archive.files if name != MADE_FROM]
    draw_towers(kernels, compare_towers(kernels), path)
