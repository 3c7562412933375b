"""The host's time a step: the trainer's own loop around a step that costs nothing.

    python benchmarks/host_time.py
    python benchmarks/host_time.py --steps 2000 --rounds 5

What a step of a run does on the host is all there: starting the compiled step, reading its result, steps.csv,
TensorBoard's events, the progress line, the guards. The compiled step is replaced by one with the same inputs and
outputs that computes nothing, and every step gets the same batch of 128 crops, which is in memory. A device that is
faster than this would wait for the host.
"""

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from itertools import repeat
from pathlib import Path

import tensorflow as tf
from batches import BATCH, SIZE

from alexnet_keras import load_recipe
from alexnet_keras.benchmarking.measure import prepare_generated
from alexnet_keras.cli.console import REPORTER
from alexnet_keras.data.dataset import open_prepared
from alexnet_keras.recipes.edits import edit
from alexnet_keras.runs import Run
from alexnet_keras.training.devices import choose_placement
from alexnet_keras.training.step import StepResult
from alexnet_keras.training.trainer import Trainer

WARM_UP = 10  # steps
RATE = 27_000  # images a second: what one NVIDIA H100 trains in bfloat16, under JAX


class Measured(Trainer):
    """A trainer on batches in memory, without validation and states, which keeps the time of every step."""

    def _batches(self):
        batch = tf.zeros((BATCH, SIZE, SIZE, 3), tf.uint8), tf.zeros((BATCH,), tf.int64)
        return repeat(batch, self.steps)

    def _follow(self, plan) -> None:
        super()._follow(plan)
        with tf.device("/CPU:0"):
            self.training_step._result.assign([1.0, 0.5, 1.0, 0.0])
        self.training_step.compiled = tf.function(lambda images, labels, *scalars: None, autograph=False)

    def _take_step(self, images, labels) -> StepResult:
        self.starts.append((time.perf_counter(), time.thread_time()))
        return super()._take_step(images, labels)

    def _train_epoch(self, plan) -> None:
        self.starts: list[tuple[float, float]] = []
        super()._train_epoch(plan)
        raise KeyboardInterrupt  # nothing after the steps is measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="[default: 1000]")
    parser.add_argument("--rounds", type=int, default=3, help="[default: 3]")
    options = parser.parse_args()
    recipe = edit(load_recipe("quickstart"), {"training.batch_size": BATCH})
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        prepare_generated(Path(folder) / "data", "jpeg")
        data = open_prepared(Path(folder) / "data")
        for number in range(options.rounds):
            run = Run.create(Path(folder) / f"run-{number}", recipe, {"status": "running"})
            placement = choose_placement("one", None, towers=recipe.network.towers, strict=False)
            trainer = Measured(run, recipe, data, placement, reporter=REPORTER)
            trainer.steps = options.steps
            with suppress(KeyboardInterrupt):
                trainer.fit()
            ends = trainer.starts[WARM_UP:]
            means = [1000 * (end - begin) / (len(ends) - 1) for begin, end in zip(ends[0], ends[-1], strict=True)]
            rounds.append(means)
            print(f"round {number + 1}: {means[0]:.2f} ms a step, {means[1]:.2f} of a core", file=sys.stderr)  # noqa: T201
    passed, computed = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(  # noqa: T201
        f"{passed:.2f} ms a step, of which its thread computes {computed:.2f} (medians of {options.rounds} rounds of "
        f"{options.steps}): at most {1000 * BATCH / passed:,.0f} images/s in batches of {BATCH}, where a device that "
        f"trains {RATE:,} takes {1000 * BATCH / RATE:.1f} ms."
    )


if __name__ == "__main__":
    main()
