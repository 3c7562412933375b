"""Measurements in processes of their own, so that one's peak of memory and threads are not another's."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from alexnet_keras.benchmarking.result import Measurement, Request, measurement_from
from alexnet_keras.benchmarking.worker import DATASET
from alexnet_keras.errors import AlexNetError

WORKER = "alexnet_keras.benchmarking.worker"
ENDING_S = 10.0  # what a process gets to end by itself after it has told its result
KILLED = -9  # the exit status of a process that the system has ended for want of memory


def measure(name: str, request: Request, on_repeat: Callable[[int], None] = lambda repeats: None) -> Measurement:
    """Makes one measurement in a process of its own; whatever it writes is in a temporary directory, and removed.

    Args:
        name: train, infer, input or prepare.
        request: What is asked for. Of `input` without data, generated images are prepared first.
        on_repeat: Called with the number of timed repeats done since the last call.

    Raises:
        UsageError, DataError: As the measurement.
        AlexNetError: The process failed.
    """
    with tempfile.TemporaryDirectory(prefix="alexnet-benchmark-") as directory:
        folder = Path(directory)
        if name == "input" and request.data is None:
            data = folder / "generated"
            _run({"name": DATASET, "folder": str(data)}, directory, on_repeat)
            request = replace(request, data=str(data))
        task = {"name": name, "folder": directory, "request": asdict(request)}
        return measurement_from(_run(task, directory, on_repeat))


def _run(task: dict[str, Any], temporary: str, on_repeat: Callable[[int], None]) -> Any:
    """The result of a worker process, which has ended however this ends.

    The process keeps its temporary files in a directory of the caller's: TensorFlow removes its own at the end of a
    process only, and this one may be ended before.
    """
    command = [sys.executable, "-P", "-m", WORKER]  # -P: no module of the directory that the user happens to be in
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, "TMPDIR": temporary}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as printed:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=printed, encoding="utf-8", env=environment
        )
        try:
            assert process.stdin and process.stdout  # they are pipes
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                message = json.loads(line)
                if "done" in message:
                    on_repeat(message["done"])
                    continue
                with suppress(subprocess.TimeoutExpired):
                    process.wait(ENDING_S)  # as a process ends that nobody kills
                if "error" in message:
                    raise _as_raised(message)
                return message["result"]
            status = process.wait()
        except BrokenPipeError:
            status = process.wait()
        finally:
            process.kill()
            process.communicate()
        printed.seek(0)
        raise AlexNetError(_what_happened(task["name"], status, printed.read()))


def _as_raised(message: dict[str, Any]) -> AlexNetError:
    """The error of the worker, with the same exit code."""
    error = AlexNetError(message["error"])
    error.exit_code = message["exit_code"]
    return error


def _what_happened(name: str, status: int, printed: str) -> str:
    if status == KILLED or "ResourceExhausted" in printed:
        return f"There is not enough memory to measure {name}: try a smaller --batch-size."
    last = next((line for line in reversed(printed.splitlines()) if line.strip()), f"exit status {status}")
    return f"The process that measured {name} failed: {last}"
