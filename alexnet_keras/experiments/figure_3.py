"""Figure 3 and section 6.1: the first layer's kernels, and whether the towers specialise in every run."""

from pathlib import Path

import numpy as np

from alexnet_keras.experiments.lab import Lab, base_recipe, chosen_data
from alexnet_keras.experiments.outcome import Estimate, Finding, Outcome, direction, seeds_text
from alexnet_keras.network.kernels import CAVEAT, ColorReport, compare_towers, first_kernels
from alexnet_keras.runs import Run
from alexnet_keras.visualization.kernels import draw_towers

CLEAR = 0.01  # a p-value below it counts as a specialised pair of towers


def run(lab: Lab) -> Outcome:
    """The network as it is, a seed each, and the colour of its kernels."""
    data = chosen_data(lab)
    base = base_recipe(lab.request)
    nets = [lab.trained("source", base, data, seed) for seed in lab.seeds]
    reports = [report_of(net) for net in nets]
    pairs = [found for report in reports for found in report.differences]
    apart = Estimate(tuple(found.probability - 0.5 for found in pairs))
    clear = sum(found.p_value < CLEAR for found in pairs)
    claim = "in every run, whatever the initial weights"
    medians = [sorted(tower.median for tower in report.towers) for report in reports]
    verdict = direction(apart, 1)
    if verdict == "agrees" and clear < len(pairs):
        verdict = "undecided"
    return Outcome(
        summary=(
            f"The recipe {base.name} was trained for {base.training.epochs} epochs on the {data.examples('train'):,} "
            f"images of {data.path.name} with {seeds_text(len(nets))}. A kernel's colour share is the part of its "
            f"energy off the grey axis (0 grey, 0.67 random weights). In {clear} of {len(pairs)} runs one tower's "
            f"kernels are more colourful than the other's at p < {CLEAR} (Mann-Whitney). {CAVEAT}"
        ),
        findings=(
            Finding(
                "runs in which the towers specialise (p < 0.01)",
                claim,
                "",
                Estimate((float(clear),)),
                "count",
                verdict,
                f"of {len(pairs)}",
            ),
            Finding(
                "that a kernel of the more colourful tower is the more colourful, minus one half",
                "",
                "",
                apart,
                "number",
            ),
            *(
                Finding(f"median colour share, the {which} tower", "", "", Estimate(values), "number")
                for which, values in zip(("greyer", "more colourful"), zip(*medians, strict=True), strict=True)
            ),
        ),
        configuration=(f"{base.name}, {base.training.epochs} epochs, {lab.request.precision}",),
        facts={"nets": [str(net.path) for net in nets], "colors": [report.to_dict() for report in reports]},
    )


def report_of(net: Run) -> ColorReport:
    """The colour of a network's first kernels in the end."""
    return compare_towers(kernels_of(net))


def kernels_of(net: Run) -> list[np.ndarray]:
    """A network's first kernels in the end, a tower each."""
    return first_kernels(net.load_model("last"))


def draw(outcome: Outcome, path: Path) -> None:
    """The kernels of the first seed's network, from grey to colourful, tower by tower."""
    kernels = kernels_of(Run(Path(outcome.facts["nets"][0])))
    draw_towers(kernels, compare_towers(kernels), path)
