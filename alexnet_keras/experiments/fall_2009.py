"""Section 6: ImageNet of Fall 2009, many classes, half of the images held out: 67.4 % and 40.9 % error."""

from pathlib import Path

from alexnet_keras.errors import DataError
from alexnet_keras.experiments.lab import Lab
from alexnet_keras.experiments.outcome import Comparison, Outcome, OverSeeds, error_kinds, value_verdict
from alexnet_keras.experiments.variants import pretrained, six_convolutions
from alexnet_keras.runs import Run
from alexnet_keras.visualization.curves import MOST_RUNS, draw_curves

CLAIMS = {"top1": 0.674, "top5": 0.409}
BEFORE = {"top1": "78.1 %", "top5": "60.9 %"}  # the best published results then
HALF = (0.45, 0.55)


def run(lab: Lab) -> Outcome:
    """Train the six-convolution network on many classes, once per seed, from new or from pre-trained weights.

    A five-convolution network is trained on the first set of `--pretrain`, and as `variants.pretrained` says its
    convolutions go through networks trained on the others, in order.
    """
    data, base = lab.open(), lab.base_recipe
    training, val = data.examples("train"), data.examples("val")
    # each image has its own draw, so that of few images more or fewer than half may be held out
    held_out = data.manifest["options"].get("holdout", val / (training + val))
    if not HALF[0] <= held_out <= HALF[1]:
        raise DataError(
            f"{data.path} holds out {val:,} of {training + val:,} images, and the paper half of them: prepare it with "
            "`alexnet prepare synsets:DIR --holdout 0.5`."
        )
    others = [lab.open(name) for name in lab.options.pretrain]

    def train(seed: int) -> Run:
        if not others:
            return lab.trained("six-conv", six_convolutions(base), data, seed)
        first = lab.trained("source", base, others[0], seed)
        return pretrained(lab, first, [*others[1:], data], seed)

    found, left_out = lab.converged(lab.seeds, train)
    nets = list(found.values())
    evaluations = [lab.errors(net, data) for net in nets]
    comparisons = []
    for kind, title in error_kinds(data).items():
        ours = OverSeeds(tuple(getattr(evaluation, kind).error for evaluation in evaluations))
        claim = f"{100 * CLAIMS[kind]:.1f} %, before {BEFORE[kind]}"
        verdict = value_verdict(ours, CLAIMS[kind]) if lab.options.scale == "full" else "not compared"
        comparisons.append(Comparison(title, ours, claim=claim, verdict=verdict))
    epochs = nets[0].recipe.training.epochs
    names = ", then ".join(other.path.name for other in others)
    origin = f" initialised with the convolutions of a network trained on {names}" if others else ""
    return Outcome(
        summary=(
            f"A network with six convolutional layers{origin} was trained for {epochs} epochs on {training:,} images "
            f"of {data.path.name}, {len(data.classes):,} classes, and tested with ten crops on the {val:,} held out. "
            f"The paper's set has 10,184 classes and 8.9 million images.{left_out}"
        ),
        comparisons=tuple(comparisons),
        configuration=(f"{nets[0].recipe.name} with conv6, {epochs} epochs, {lab.options.precision}",),
        facts={"nets": [net.name for net in nets], "chance": 1 - 1 / len(data.classes)},
    )


def draw(outcome: Outcome, path: Path) -> None:
    """Draw the training curves of the networks, of the first ones where there are more than a figure can show."""
    draw_curves([Run.load(path.parents[1] / "nets" / net) for net in outcome.facts["nets"][:MOST_RUNS]], path)
