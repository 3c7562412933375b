"""The process that makes one measurement: `python -m alexnet_keras.benchmarking.worker`.

It reads one line of JSON, the task, from stdin, and writes lines of JSON to what was stdout: {"done": 1} after every
repeat, and at the end {"result": ...} or {"error": ..., "exit_code": ...}. Whatever libraries print goes to stderr. It
ends when stdin does, so that it does not outlive the process that started it.
"""

import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from alexnet_keras.errors import AlexNetError

DATASET = "dataset"  # the task that makes a prepared dataset and measures nothing


def main() -> None:
    """The process."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as told:
        os.dup2(2, 1)
        task = json.loads(sys.stdin.readline())
        threading.Thread(target=_end_with_stdin, daemon=True).start()
        try:
            tell(told, result=perform(task, told))
        except AlexNetError as error:
            tell(told, error=str(error), exit_code=error.exit_code)


def perform(task: dict[str, Any], told: TextIO) -> dict[str, Any] | None:
    """The measurement that a task asks for, as plain values; None of the task DATASET."""
    from alexnet_keras.benchmarking import measure
    from alexnet_keras.benchmarking.result import Request

    folder = Path(task["folder"])
    if task["name"] == DATASET:
        measure.prepare_generated(folder)
        return None
    measurement = {
        "train": measure.train,
        "infer": measure.infer,
        "input": measure.read_input,
        "prepare": measure.prepare_images,
    }[task["name"]]
    return asdict(measurement(Request(**task["request"]), folder, lambda: tell(told, done=1)))


def tell(told: TextIO, **message: Any) -> None:
    """Sends one message to the process that started this one."""
    told.write(json.dumps(message) + "\n")
    told.flush()


def _end_with_stdin() -> None:
    while os.read(0, 1024):  # not sys.stdin: Python cannot end while another thread waits in one of its files
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
