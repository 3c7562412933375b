"""Table 2: one CNN, five CNNs, one pre-trained CNN*, and seven networks of both kinds, on ILSVRC-2012's validation."""

from pathlib import Path

import numpy as np

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.evaluation.ensemble import mean, search
from alexnet_keras.evaluation.errors import PairedTest, label_ranks
from alexnet_keras.experiments.figures import draw_over_seeds
from alexnet_keras.experiments.lab import Lab
from alexnet_keras.experiments.outcome import (
    Comparison,
    Outcome,
    OverSeeds,
    TopK,
    batches_text,
    claimed_positive,
    error_kinds,
    images_text,
    part_of,
    sign_verdict,
)
from alexnet_keras.experiments.variants import fine_tuned, pretrained
from alexnet_keras.runs import Run

STARS = 2  # pre-trained networks in the largest ensemble (paper, section 6)
# Top-1 and top-5 error on the validation images: the paper's table 2, the lab's logs.
CLAIMS = {"1 CNN": "40.7 / 18.2 %", "CNNs": "38.1 / 16.4 %", "1 CNN*": "39.0 / 16.6 %", "CNNs*": "36.7 / 15.4 %"}
LOGS = {"1 CNN": "40.7 / 18.2 % (145)", "1 CNN*": "39.0 / 16.6 % (146-2012-2011)"}
GAIN = "+1.7 / +1.6 points"  # 1 CNN minus 1 CNN*, in both
ENSEMBLE = "one ensemble"
ENSEMBLE_GAIN = "-2.6 / -1.8 points"  # 5 CNNs minus 1 CNN


def run(lab: Lab) -> Outcome:
    """Train one CNN per seed and, with `--pretrain`, two CNNs*, and test them and their ensembles."""
    data, base = lab.open(), lab.base_recipe
    others = [lab.open(name) for name in lab.options.pretrain]
    trained, left_out = lab.converged(lab.seeds, lambda seed: lab.trained("source", base, data, seed))
    cnns = list(trained.values())
    stars, alike, stars_left_out = star_networks(lab, cnns[0], others, data) if others else ([], [], "")
    groups = {"1 CNN": cnns, "CNNs": cnns, "1 CNN*": alike, "CNNs*": [*cnns, *stars] if stars else []}
    single = {name: [lab.errors(net, data) for net in groups[name]] for name in LOGS if groups[name]}
    comparisons = []
    for kind, title in error_kinds(data).items():
        errors = {name: OverSeeds(tuple(getattr(e, kind).error for e in found)) for name, found in single.items()}
        for name, nets in groups.items():
            claim = part_of(CLAIMS[name], kind)
            if name in single:
                log = part_of(LOGS[name], kind)
                comparisons.append(Comparison(f"{title}, {name}", errors[name], claim=claim, log=log))
            elif len(nets) > 1:
                comparisons += compare_ensembles(lab, nets, data, f"{title}, {len(nets)} {name}", kind, claim)
        if len(cnns) > 1:
            comparisons.append(_gain_of_ensemble(lab, cnns, data, title, kind))
        if alike:
            gain, claim = OverSeeds(errors["1 CNN"].values, errors["1 CNN*"].values), part_of(GAIN, kind)
            comparisons.append(claimed_positive(f"{title}, 1 CNN minus 1 CNN*", gain, claim, log=claim))
    names = ", then ".join(f"{other.path.name} ({len(other.classes)} classes)" for other in others)
    lineage = (
        f"{len(stars)} networks with a sixth convolutional layer were initialised with the first one's convolutions, "
        f"trained on {names}, and fine-tuned on {data.path.name}. "
    )
    return Outcome(
        summary=(
            f"{len(cnns)} networks (recipe {base.name}, {base.training.epochs} epochs) were trained on the "
            f"{images_text(data)}. {lineage if stars else ''}All were tested with ten crops on its "
            f"{data.examples('val'):,} validation images; ensembles average probabilities.{left_out}{stars_left_out}"
        ),
        comparisons=tuple(comparisons),
        configuration=(
            f"CNN: {base.name}, {base.training.epochs} epochs",
            f"CNN*: {'the lineage in docs/paper.md' if others else 'not trained, for want of --pretrain'}",
            f"{lab.options.precision}, {batches_text(base, data)}",
        ),
        facts={
            "nets": [net.name for net in (*cnns, *stars)],
            "errors": {name: [e.to_dict() for e in found] for name, found in single.items()},
        },
    )


def star_networks(
    lab: Lab, first: Run, others: list[PreparedDataset], data: PreparedDataset
) -> tuple[list[Run], list[Run], str]:
    """Two fine-tuned networks: one from each of the last two sets, or of two seeds where there is one set.

    They begin with the convolutions of the first CNN. Returns those that did not diverge; of these the ones that were
    pre-trained on all sets; and the end of the summary, which names those that did.
    """
    sets = len(others)
    if sets == 1:
        ways = {f"CNN* of seed {seed}": (1, seed) for seed in range(1, STARS + 1)}
    else:
        ways = {f"CNN* after {count} of {sets} sets": (count, 1) for count in range(sets - STARS + 1, sets + 1)}

    def train(name: str) -> Run:
        count, seed = ways[name]
        return fine_tuned(lab, pretrained(lab, first, others[:count], seed), data, seed)

    stars, left_out = lab.converged(ways, train, fewest=0)
    return list(stars.values()), [net for name, net in stars.items() if ways[name][0] == sets], left_out


def compare_ensembles(
    lab: Lab, nets: list[Run], data: PreparedDataset, what: str, kind: TopK, claim: str
) -> list[Comparison]:
    """The plain mean of the networks, and the mean with the weights that the released code's search finds."""
    members = [lab.predictions(net, data, "val") for net in nets]
    plain, searched = (OverSeeds((getattr(ensemble(members).evaluation(), kind).error,)) for ensemble in (mean, search))
    return [
        Comparison(what, plain, claim=claim, measured_on=ENSEMBLE),
        Comparison(f"{what}, weights searched on the same images", searched, measured_on=ENSEMBLE),
    ]


def _gain_of_ensemble(lab: Lab, cnns: list[Run], data: PreparedDataset, title: str, kind: TopK) -> Comparison:
    """The error of the CNNs' plain mean minus the mean of theirs, and the paired test with each.

    One ensemble says nothing about others: only the tests over the images pass a verdict.
    """
    members = [lab.predictions(net, data, "val") for net in cnns]
    together = np.concatenate([label_ranks(*chunk) for chunk in mean(members).chunks()])
    alone = [member.summary.ranks for member in members]
    wrong = {"top1": 1, "top5": 5}[kind]
    ours = OverSeeds((float((together >= wrong).mean() - np.mean([ranks >= wrong for ranks in alone])),))
    pairs = tuple(PairedTest.of(together >= wrong, ranks >= wrong) for ranks in alone)
    what, claim = f"{title}, {len(cnns)} CNNs minus 1 CNN", part_of(ENSEMBLE_GAIN, kind)
    verdict = sign_verdict(ours, -1, pairs)
    return Comparison(what, ours, "points", claim, verdict=verdict, pairs=pairs, measured_on=ENSEMBLE)


def draw(outcome: Outcome, path: Path) -> None:
    """Draw the top-1 errors of all rows."""
    errors = [row for row in outcome.comparisons if row.unit == "percent" and row.what.startswith("top-1")]
    rows = {row.what.partition(", ")[2]: row.ours for row in errors}
    draw_over_seeds(rows, path, "top-1 error, %", dots="networks")
