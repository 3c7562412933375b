"""Training, inference and ten-crop evaluation of the full network next to PyTorch, in one interleaved run.

    pip install -r benchmarks/requirements.txt
    python benchmarks/training_speed.py                      # training, float32
    python benchmarks/training_speed.py --mode infer --precision bfloat16 --rounds 5
    python benchmarks/training_speed.py --mode ten-crop

Every round runs each framework once, in a process of its own and in turn, so that a machine whose speed drifts
drifts for all. A round's figure is the median of its steps; the table shows the median round and the ratios round
by round against the better of PyTorch's two memory layouts.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

WORKERS = ("alexnet_keras", "torch", "torch-channels-last")
IMAGES = {"train": 128, "infer": 128, "ten-crop": 64}  # in a step


def measure(worker: str, mode: str, precision: str) -> float:
    """Images per second of one worker process; of a ten-crop evaluation, whole pictures."""
    command = [sys.executable, str(Path(__file__).with_name("step_worker.py")), worker, mode, precision]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{worker} failed:\n{result.stderr[-2000:]}")
    return IMAGES[mode] / statistics.median(json.loads(result.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=list(IMAGES), default="train")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    speeds: dict[str, list[float]] = {worker: [] for worker in WORKERS}
    for number in range(options.rounds):
        for worker in WORKERS:
            speeds[worker].append(measure(worker, options.mode, options.precision))
            print(f"round {number + 1}: {worker} {speeds[worker][-1]:.1f} images/s", file=sys.stderr)  # noqa: T201
    ratios = [ours / max(rest) for ours, *rest in zip(*speeds.values(), strict=True)]
    lines = [
        f"{options.mode}, {options.precision}, {IMAGES[options.mode]} images a step, {os.cpu_count()} threads, "
        f"{platform.machine()}, {options.rounds} interleaved rounds",
        "",
        "| framework | images/s, median | slowest to fastest round |",
        "|---|---|---|",
        *(f"| {w} | {statistics.median(s):.1f} | {min(s):.1f} to {max(s):.1f} |" for w, s in speeds.items()),
        "",
        f"ratio to the better PyTorch layout: median {statistics.median(ratios):.2f} "
        f"(rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)})",
    ]
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
