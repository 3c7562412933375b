"""Training, inference and ten-crop evaluation of the full network next to other frameworks, in one interleaved run.

    pip install -r benchmarks/requirements.txt
    python benchmarks/step_speed.py                                   # training and inference, both precisions
    python benchmarks/step_speed.py --mode infer --precision bfloat16 --rounds 5
    python benchmarks/step_speed.py --mode ten-crop --precision float32

Every round runs each framework once, in a process of its own and in turn, so that a machine whose speed drifts
drifts for all. A round's figure is the median of its steps; the tables show the median round, and the ratios round
by round against the better of PyTorch's two memory layouts and against Keras's own layers.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from tables import ratio_line

OURS, STOCK, TORCH = "alexnet_keras", "stock-keras", ("torch", "torch-channels-last")
IMAGES = {"train": 128, "infer": 128, "ten-crop": 64}  # in a step


def workers_of(mode: str) -> list[str]:
    """Who can do it: nobody would write ten crops with stock layers alone."""
    return [OURS, *([STOCK] if mode != "ten-crop" else []), *TORCH]


def measure(worker: str, mode: str, precision: str) -> tuple[float, float]:
    """Images per second (of a ten-crop evaluation, whole images) and peak memory, MiB, of one worker process."""
    command = [sys.executable, str(Path(__file__).with_name("step_worker.py")), worker, mode, precision]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{worker} failed:\n{result.stderr[-2000:]}")
    found = json.loads(result.stdout.splitlines()[-1])
    return IMAGES[mode] / statistics.median(found["seconds"]), found["peak_mib"]


def table(mode: str, precision: str, speeds: dict[str, list[float]], peaks: dict[str, float]) -> str:
    """One comparison as Markdown."""
    rounds = len(speeds[OURS])
    lines = [
        f"{mode}, {precision}, {IMAGES[mode]} images a step, {os.cpu_count()} threads, {platform.machine()}, "
        f"{rounds} interleaved rounds",
        "",
        "| framework | images/s, median | slowest to fastest round | peak memory, MiB |",
        "|---|---|---|---|",
        *(
            f"| {w} | {statistics.median(s):.1f} | {min(s):.1f} to {max(s):.1f} | {peaks[w]:,.0f} |"
            for w, s in speeds.items()
        ),
        "",
    ]
    others = {"the better PyTorch layout": TORCH, "Keras's own layers": (STOCK,)}
    for name, group in others.items():
        if group[0] in speeds:
            best = [max(pair) for pair in zip(*(speeds[worker] for worker in group), strict=True)]
            lines.append(f"- {ratio_line(name, speeds[OURS], best)}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=list(IMAGES), action="append", help="[default: train and infer]")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], action="append", help="[default: both]")
    parser.add_argument("--rounds", type=int, default=3, help="[default: 3]")
    options = parser.parse_args()
    for mode in options.mode or ["train", "infer"]:
        for precision in options.precision or ["float32", "bfloat16"]:
            speeds: dict[str, list[float]] = {worker: [] for worker in workers_of(mode)}
            peaks = dict.fromkeys(speeds, 0.0)
            for number in range(options.rounds):
                for worker in speeds:
                    speed, peak = measure(worker, mode, precision)
                    speeds[worker].append(speed)
                    peaks[worker] = max(peaks[worker], peak)
                    print(f"{mode} {precision} round {number + 1}: {worker} {speed:.1f} images/s", file=sys.stderr)  # noqa: T201
            print(table(mode, precision, speeds, peaks), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
