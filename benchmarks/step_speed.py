"""Training, inference and ten-crop evaluation of the full network next to other programs, in one interleaved run.

    pip install -r benchmarks/requirements.txt
    python benchmarks/step_speed.py                                   # training and inference, both precisions
    python benchmarks/step_speed.py --mode infer --precision bfloat16 --rounds 5
    python benchmarks/step_speed.py --mode train --only alexnet_keras torch-compile
    python benchmarks/step_speed.py --mode ten-crop --precision float32

Every round runs each program once, in a process of its own and in turn, so that a machine whose speed drifts drifts
for all. A round's figure is the median of its steps; the tables show the median round, and the ratios round by round
against the strongest of the others and against the better of each kind. JAX, whose steps take many times as long, is
measured only where `--only` names it.
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

OURS = "alexnet_keras"
KINDS = {  # of other programs, as the ratios call them
    "Keras's own layers": ("stock-keras",),
    "the better PyTorch layout": ("torch", "torch-channels-last"),
    "torch.compile": ("torch-compile",),
    "ONNX Runtime": ("onnxruntime",),
    "OpenVINO": ("openvino",),
    "JAX": ("jax",),
}
WORKERS = [OURS, *(worker for kind in KINDS.values() for worker in kind)]
SLOW = ("jax",)
EXPORTED = ("onnxruntime", "openvino")  # they run the exported model: the same weights, and inference alone
TOLERANCE = 1e-3  # of their probabilities in float32, relative
IMAGES = {"train": 128, "infer": 128, "ten-crop": 64}  # in a step


def can(worker: str, mode: str, precision: str) -> bool:
    """Whether a worker does this: nobody would write ten crops with stock layers alone."""
    if mode == "ten-crop":
        return worker == OURS or worker.startswith("torch")
    if worker == "onnxruntime" and precision == "bfloat16":
        return False  # it has no bfloat16 convolution on a processor
    return mode == "infer" or worker not in EXPORTED


def measure(worker: str, mode: str, precision: str) -> dict:
    """One worker process: `seconds` of each step, `peak_mib`, and the `answer` of the last step."""
    command = [sys.executable, str(Path(__file__).with_name("step_worker.py")), worker, mode, precision]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{worker} failed:\n{result.stderr[-2000:]}")
    return json.loads(result.stdout.splitlines()[-1])


def check_answers(answers: dict[str, float]) -> None:
    """Refuses a comparison in which the exported model is not the same network."""
    for worker in EXPORTED:
        if worker in answers and OURS in answers and abs(answers[worker] / answers[OURS] - 1) > TOLERANCE:
            sys.exit(f"{worker} has the probability {answers[worker]}, {OURS} {answers[OURS]}.")


def ratio_lines(speeds: dict[str, list[float]]) -> list[str]:
    """Ratios to the strongest of the others and to each kind, round by round."""
    others = [worker for worker in speeds if worker != OURS]
    if OURS not in speeds or not others:
        return []
    strongest = max(others, key=lambda worker: statistics.median(speeds[worker]))
    groups = {f"the strongest ({strongest})": others}
    groups |= {name: [worker for worker in kind if worker in speeds] for name, kind in KINDS.items()}
    best = {
        name: list(map(max, zip(*(speeds[worker] for worker in group), strict=True)))
        for name, group in groups.items()
        if group
    }
    return [f"- {ratio_line(name, speeds[OURS], rates)}" for name, rates in best.items()]


def table(mode: str, precision: str, speeds: dict[str, list[float]], peaks: dict[str, float]) -> str:
    """One comparison as Markdown."""
    rounds = len(next(iter(speeds.values())))
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
        *ratio_lines(speeds),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=list(IMAGES), action="append", help="[default: train and infer]")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], action="append", help="[default: both]")
    parser.add_argument("--rounds", type=int, default=3, help="[default: 3]")
    parser.add_argument("--only", nargs="+", choices=WORKERS, metavar="NAME", help=f"some of {', '.join(WORKERS)}")
    options = parser.parse_args()
    chosen = options.only or [worker for worker in WORKERS if worker not in SLOW]
    for mode in options.mode or ["train", "infer"]:
        for precision in options.precision or ["float32", "bfloat16"]:
            speeds: dict[str, list[float]] = {worker: [] for worker in chosen if can(worker, mode, precision)}
            peaks = dict.fromkeys(speeds, 0.0)
            for number in range(options.rounds):
                answers = {}
                for worker in speeds:
                    found = measure(worker, mode, precision)
                    speed = IMAGES[mode] / statistics.median(found["seconds"])
                    speeds[worker].append(speed)
                    peaks[worker] = max(peaks[worker], found["peak_mib"])
                    answers[worker] = found["answer"]
                    print(f"{mode} {precision} round {number + 1}: {worker} {speed:.1f} images/s", file=sys.stderr)  # noqa: T201
                if precision == "float32":
                    check_answers(answers)
            if speeds:
                print(table(mode, precision, speeds, peaks), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
