"""Measurements in processes of their own, so that one's peak of memory and threads are not another's.

The process, `python -m alexnet_keras.benchmarking.worker`, reads one line of JSON, the task, from stdin, and writes
lines of JSON to what was stdout: {"done": 1} after every repeat, and finally {"result": ...} or
{"error": ..., "exit_code": ...}. Whatever libraries print goes to stderr. It ends when stdin does, so that it does not
outlive the process that started it.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from alexnet_keras.backend import use_gpus
from alexnet_keras.benchmarking.result import Measurement, Request, measurement_from
from alexnet_keras.errors import AlexNetError
from alexnet_keras.reporter import Advance

DATASET = "dataset"  # the task that makes a prepared dataset and measures nothing
GENERATED = {"input": "jpeg", "input-raw": "raw", "input-cached": "jpeg"}  # the encoding of generated images to read

WORKER = "alexnet_keras.benchmarking.worker"
ENDING_S = 10.0  # a process may take to end by itself after it has sent its result
KILLED = -9  # exit status of a process that the system has killed for lack of memory


def measure(name: str, request: Request, advance: Advance) -> Measurement:
    """Make one measurement in a process of its own, in a temporary directory that is removed.

    Args:
        name: train, infer, input, input-raw, input-cached or prepare.
        request: What to measure. For `input` without data, and for images as they could be stored instead, generated
            images are prepared first.
        advance: Called with the number of timed repeats done since the last call.

    Raises:
        UsageError, DataError: The measurement raised it.
        AlexNetError: The process failed.
    """
    with tempfile.TemporaryDirectory(prefix="alexnet-benchmark-") as directory:
        folder = Path(directory)
        if name in GENERATED and (request.data is None or name != "input"):
            data = folder / "generated"
            _run({"name": DATASET, "folder": str(data), "encoding": GENERATED[name]}, directory, advance)
            request = replace(request, data=str(data))
        task = {"name": name, "folder": directory, "request": asdict(request)}
        return measurement_from(_run(task, directory, advance))


def _run(task: dict[str, Any], temporary: str, advance: Advance) -> Any:
    """The result of a worker process, which has ended whatever happens.

    The process keeps its temporary files in a directory of the caller: TensorFlow removes its own only at the end of a
    process, which may be killed before.
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
                    advance(message["done"])
                    continue
                with suppress(subprocess.TimeoutExpired):
                    process.wait(ENDING_S)  # by itself
                if "error" in message:
                    error = AlexNetError(message["error"])
                    error.exit_code = message["exit_code"]
                    raise error
                return message["result"]
            status = process.wait()
        except BrokenPipeError:
            status = process.wait()
        finally:
            process.kill()
            process.communicate()
        printed.seek(0)
        raise AlexNetError(_what_happened(task["name"], status, printed.read()))


def _what_happened(name: str, status: int, printed: str) -> str:
    of_memory = any(word in printed for word in ("ResourceExhausted", "MemoryError", "bad_alloc"))
    if "No space left on device" not in printed and (status == KILLED or of_memory):
        return f"There is not enough memory to measure {name}: end other programs, or measure with smaller batches."
    last = next((line for line in reversed(printed.splitlines()) if line.strip()), f"exit status {status}")
    return f"The process that measured {name} failed: {last}"


def main() -> None:
    """The process."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        task = json.loads(sys.stdin.readline())
        threading.Thread(target=_end_with_stdin, daemon=True).start()
        try:
            tell(channel, result=perform(task, channel))
        except AlexNetError as error:
            tell(channel, error=str(error), exit_code=error.exit_code)


def perform(task: dict[str, Any], channel: TextIO) -> dict[str, Any] | None:
    """The measurement of a task, as plain values; None for the task DATASET."""
    from alexnet_keras.benchmarking import measure as measurements

    use_gpus(1 if task["name"] in ("train", "infer") else 0)
    folder = Path(task["folder"])
    if task["name"] == DATASET:
        measurements.prepare_generated(folder, task["encoding"])
        return None
    made_by: dict[str, Callable[..., Measurement]] = {
        "train": measurements.train,
        "infer": measurements.infer,
        "input": measurements.read_input,
        "input-raw": measurements.read_input,
        "input-cached": partial(measurements.read_input, cache="memory"),
        "prepare": measurements.prepare_images,
    }
    return asdict(made_by[task["name"]](Request(**task["request"]), folder, lambda: tell(channel, done=1)))


def tell(channel: TextIO, **message: Any) -> None:
    """Send one message to the parent process."""
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _end_with_stdin() -> None:
    while os.read(0, 1024):  # not sys.stdin: Python cannot end while another thread waits in one of its files
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
