"""Section 6: ImageNet of Fall 2009, many classes, half of the images held out: 67.4 % and 40.9 % error."""

from pathlib import Path

from alexnet_keras.errors import DataError
from alexnet_keras.experiments.lab import Lab, base_recipe, chosen_data, opened
from alexnet_keras.experiments.outcome import Estimate, Finding, Outcome, value
from alexnet_keras.experiments.variants import pretrained, six_convolutions
from alexnet_keras.visualization.curves import draw_curves

CLAIMS = {"top1": 0.674, "top5": 0.409}
BEFORE = {"top1": "78.1 %", "top5": "60.9 %"}  # the best published results then
HALF = (0.45, 0.55)


def run(lab: Lab) -> Outcome:
    """The six-convolution network on many classes, a seed each, begun anew or with a network on other classes."""
    data = chosen_data(lab)
    train, val = data.examples("train"), data.examples("val")
    # each image has its own draw, so that of few images more or fewer than half may be held out
    asked = data.manifest["options"].get("holdout", val / (train + val))
    if not HALF[0] <= asked <= HALF[1]:
        raise DataError(
            f"{data.path} holds out {val:,} of {train + val:,} images, and the paper half of them: prepare it with "
            "`alexnet prepare synsets:DIR --holdout 0.5`."
        )
    base = base_recipe(lab.request)
    first = [opened(lab, name) for name in lab.request.pretrain]
    nets = []
    for seed in lab.seeds:
        if first:
            origin = lab.trained("source", base, first[0], seed)
            nets += pretrained(lab, origin, [data], seed)
        else:
            nets.append(lab.trained("six-conv", six_convolutions(base), data, seed))
    evaluations = [lab.errors(net, data, "val") for net in nets]
    findings = []
    for kind, claimed in CLAIMS.items():
        if kind == "top5" and len(data.classes) <= 5:
            continue
        ours = Estimate(tuple(getattr(found, kind).error for found in evaluations))
        title = {"top1": "top-1 error", "top5": "top-5 error"}[kind]
        claim = f"{100 * claimed:.1f} %, before {BEFORE[kind]}"
        full = lab.request.scale == "full"
        findings.append(Finding(title, claim, "", ours, "percent", value(ours, claimed) if full else "not compared"))
    epochs = nets[0].recipe.training.epochs
    begun = f" begun with the convolutions of a network trained on {first[0].path.name}" if first else ""
    return Outcome(
        summary=(
            f"A network with six convolutional layers{begun} was trained for {epochs} epochs on {train:,} images of "
            f"{data.path.name}, {len(data.classes):,} classes, and tested with ten crops on the {val:,} held out. The "
            "paper's set has 10,184 classes and 8.9 million images."
        ),
        findings=tuple(findings),
        configuration=(f"{nets[0].recipe.name} with conv6, {epochs} epochs, {lab.request.precision}",),
        facts={"nets": [str(net.path) for net in nets], "chance": 1 - 1 / len(data.classes)},
    )


def draw(outcome: Outcome, path: Path) -> None:
    """The networks' curves."""
    from alexnet_keras.runs import open_run

    draw_curves([open_run(net) for net in outcome.facts["nets"]], path)
