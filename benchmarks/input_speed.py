"""How much of a training step's speed is left when its batches come from a prepared dataset.

    python benchmarks/input_speed.py data/imagenette --precision float32 --rounds 5

One process makes the network of the recipe `source` and runs, in turn, stretches of steps on batches that the real
input pipeline reads, decodes, crops and flips, and on one such batch that stays in memory. What counts is the ratio
of the two rates within a round.
"""

import argparse
import itertools
import os
import platform
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from batches import BATCH, epochs
from tables import rate_table, ratio_line

from alexnet_keras import AlexNet, open_prepared
from alexnet_keras.training.optimizer import AlexNetSGD
from alexnet_keras.training.step import TrainingStep

WARM_UP = 3
AHEAD, AHEAD_SECONDS = 8, 3  # more batches than the pipeline prefetches, and time to prefetch them in


def rate(step: TrainingStep, batches, steps: int, numbers) -> float:
    """Images a second over so many steps."""
    start = time.perf_counter()
    for images, labels in itertools.islice(batches, steps):
        step(images, labels, next(numbers))
    return steps * BATCH / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a prepared dataset")
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12, help="steps of a stretch")
    options = parser.parse_args()
    data = open_prepared(options.data)
    model = AlexNet("source", classes=1000, seed=0, dtype=options.precision)
    optimizer = AlexNetSGD(0.0, 0.0, layers=("conv1",))  # rates of 0: every step does the same work
    optimizer.build(model.trainable_variables)
    step = TrainingStep(model, optimizer, tf.distribute.get_strategy(), seed=0, batch_size=BATCH)
    numbers = itertools.count()
    read = epochs(data)
    kept = next(read)
    memory = itertools.repeat(kept)
    rate(step, memory, WARM_UP, numbers)
    rate(step, read, WARM_UP, numbers)
    rates: dict[str, list[float]] = {"in memory": [], "read": []}
    for number in range(options.rounds):
        for name in list(rates) if number % 2 == 0 else list(rates)[::-1]:
            if name == "read":  # the batches that the pipeline has ready are not timed
                for _ in itertools.islice(read, AHEAD):
                    pass
            else:  # and what it does to have some again does not slow the other down
                time.sleep(AHEAD_SECONDS)
            rates[name].append(rate(step, read if name == "read" else memory, options.steps, numbers))
        print(f"round {number + 1}: {rates['read'][-1]:.1f} of {rates['in memory'][-1]:.1f}", file=sys.stderr)  # noqa: T201
    lines = [
        f"{options.precision}, batch {BATCH}, {os.cpu_count()} threads, {platform.machine()}, {options.rounds} rounds "
        f"of {options.steps} steps, {data.encoding.kind} of {data.path.name}",
        "",
        *rate_table(rates, "batches"),
        ratio_line("batches in memory", rates["read"], rates["in memory"]),
    ]
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
