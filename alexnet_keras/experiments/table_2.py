"""Table 2: one CNN, five CNNs, one pre-trained CNN*, and seven networks of both kinds, on ILSVRC-2012's validation."""

from pathlib import Path

from matplotlib.figure import Figure

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation.ensemble import mean, search
from alexnet_keras.evaluation.errors import Evaluation
from alexnet_keras.experiments.lab import Lab, base_recipe, chosen_data, opened
from alexnet_keras.experiments.outcome import Estimate, Finding, Outcome, direction
from alexnet_keras.experiments.variants import fine_tuned, pretrained
from alexnet_keras.runs import Run
from alexnet_keras.visualization.style import INK, SERIES, save_figure

STARS = 2  # pre-trained networks in the largest ensemble (paper, section 6)
# Top-1 and top-5 error on the validation images: the paper's table 2, the lab's logs.
CLAIMS = {"1 CNN": ("40.7 %", "18.2 %"), "1 CNN*": ("39.0 %", "16.6 %")}
CLAIMS |= {"CNNs": ("38.1 %", "16.4 %"), "CNNs*": ("36.7 %", "15.4 %")}
LOGS = {"1 CNN": ("40.7 % (145)", "18.2 %"), "1 CNN*": ("39.0 % (146-2012-2011)", "16.6 %")}


def run(lab: Lab) -> Outcome:
    """As many CNNs as seeds, two CNNs*, and their ensembles."""
    data = chosen_data(lab)
    others = [opened(lab, name) for name in lab.request.pretrain]
    if not others:
        raise UsageError(
            "table-2 needs a set of other classes to pre-train on: --pretrain DIR, given again for a second one."
        )
    base = base_recipe(lab.request)
    cnns = [lab.trained("source", base, data, seed) for seed in lab.seeds]
    stars = star_networks(lab, cnns, others, data)
    single = {"1 CNN": _evaluations(lab, cnns, data), "1 CNN*": _evaluations(lab, stars, data)}
    together = {"CNNs": cnns, "CNNs*": [*cnns, *stars]}
    findings = []
    for kind, index in (("top1", 0), ("top5", 1)):
        if kind == "top5" and len(data.classes) <= 5:
            continue
        title = {"top1": "top-1", "top5": "top-5"}[kind]
        errors = {name: Estimate(tuple(getattr(e, kind).error for e in found)) for name, found in single.items()}
        for name, claims in CLAIMS.items():
            if name in single:
                findings.append(Finding(f"{title} error, {name}", claims[index], LOGS[name][index], errors[name]))
            else:
                findings += _ensemble(lab, together[name], data, name, kind, title, claims[index])
        gain = Estimate(tuple(error - errors["1 CNN*"].mean for error in errors["1 CNN"].values))
        claim = ("+1.7 points", "+1.6 points")[index]
        findings.append(Finding(f"{title} error, 1 CNN minus 1 CNN*", claim, claim, gain, "points", direction(gain, 1)))
    names = ", then ".join(f"{other.path.name} ({len(other.classes)} classes)" for other in others)
    return Outcome(
        summary=(
            f"{len(cnns)} networks (recipe {base.name}, {base.training.epochs} epochs) were trained on the "
            f"{data.examples('train'):,} images of {data.path.name}, {len(data.classes)} classes. {len(stars)} "
            f"networks with a sixth convolutional layer were begun with the first one's convolutions, trained on "
            f"{names}, and fine-tuned on {data.path.name}. All were tested with ten crops on its "
            f"{data.examples('val'):,} validation images; ensembles average probabilities."
        ),
        findings=tuple(findings),
        configuration=(
            f"CNN: {base.name}, {base.training.epochs} epochs; CNN*: the lineage in docs/paper.md",
            f"{lab.request.precision}, batches of {base.training.batch_size}",
        ),
        facts={
            "nets": [found.name for found in (*cnns, *stars)],
            "errors": {name: [e.to_dict() for e in found] for name, found in single.items()},
        },
    )


def star_networks(lab: Lab, cnns: list[Run], others: list[PreparedDataset], data: PreparedDataset) -> list[Run]:
    """Two fine-tuned networks: one from each of the last two sets, or of two seeds where there is one set."""
    if len(others) == 1:
        seeds = list(range(1, STARS + 1))
        origins = [pretrained(lab, cnns[0], others, seed)[-1] for seed in seeds]
    else:
        seeds = [1] * STARS
        origins = pretrained(lab, cnns[0], others, 1)[-STARS:]
    return [fine_tuned(lab, origin, data, seed) for origin, seed in zip(origins, seeds, strict=True)]


def draw(outcome: Outcome, path: Path) -> None:
    """Errors of all rows beside the paper's."""
    rows = [
        (finding.what.partition(", ")[2], finding.ours)
        for finding in outcome.findings
        if finding.unit == "percent" and finding.what.startswith("top-1") and finding.ours
    ]
    figure = Figure(figsize=(7.2, 0.9 + 0.42 * len(rows)))
    axes = figure.add_subplot()
    for place, (_, ours) in enumerate(reversed(rows)):
        values = [100 * value for value in ours.values]
        axes.plot(values, [place] * len(values), "o", color=SERIES[0], ms=4, alpha=0.6)
        axes.plot(100 * ours.mean, place, "D", color=INK, ms=5)
    axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
    axes.set_xlabel("top-1 error, %; dots: networks, diamonds: their mean, or the ensemble")
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    save_figure(figure, path)


def _evaluations(lab: Lab, runs: list[Run], data: PreparedDataset) -> list[Evaluation]:
    return [lab.errors(found, data, "val") for found in runs]


def _ensemble(
    lab: Lab, runs: list[Run], data: PreparedDataset, name: str, kind: str, title: str, claim: str
) -> list[Finding]:
    """The plain mean of the members, and the mean with weights that the released code's search finds."""
    if len(runs) < 2:
        return []
    members = [lab.predictions(found, data, "val") for found in runs]
    found = {"": mean(members), ", weights searched on the same images": search(members)}
    count = f"{len(runs)} {name}"
    return [
        Finding(
            f"{title} error, {count}{how}",
            claim if not how else "",
            "",
            Estimate((getattr(ensemble.evaluation(), kind).error,)),
        )
        for how, ensemble in found.items()
    ]
