"""A run written for other programs, and compared with itself before the file takes its place."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from alexnet_keras.errors import AlexNetError, UsageError
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.interop.exported import Agreement, Samples, Tolerance, compare, exported_network, outputs_of
from alexnet_keras.runs import Run
from alexnet_keras.storage.extras import optional
from alexnet_keras.storage.files import locked, partial_path, replace, write_by_rename

# Rounding of float32 alone moves probabilities by 1e-6; float16's weights are right to 1 in 2048.
TOLERANCES = {None: Tolerance(difference=1e-4), "float16": Tolerance(difference=0.02), "int8": Tolerance(moved=0.1)}
DIRECTORY_MARK = "saved_model.pb"


@dataclass(frozen=True)
class Format:
    """A kind of file to export to.

    Attributes:
        name: Of the file in the run's exports/.
        module, stem: Where its functions are: `write_STEM` and `open_STEM`.
        needs: Libraries of the extra `export`.
    """

    name: str
    module: str
    stem: str
    needs: tuple[str, ...] = ()


FORMATS = {
    "saved-model": Format("saved-model", "tensorflow_formats", "saved_model"),
    "onnx": Format("model.onnx", "onnx", "onnx", ("onnx", "onnxruntime")),
    "tflite": Format("model.tflite", "tensorflow_formats", "tflite"),
    "safetensors": Format("model.safetensors", "safetensors", "safetensors", ("safetensors",)),
}


def default_path(run: Run, to: str, quantize: str | None = None) -> Path:
    """Where an export of a run goes if nothing else is said: `exports/model-int8.tflite`."""
    name = Path(FORMATS[to].name)
    return run.exports_path / (name if quantize is None else name.with_stem(f"{name.stem}-{quantize}"))


def facts_path(out: Path) -> Path:
    """Where the comparison is written: beside the export, `model.onnx.json`."""
    return out.with_name(f"{out.name}.json")


def check_can_export(to: str, quantize: str | None, out: Path) -> None:
    """Refuses what cannot be written, before anything takes time.

    Raises:
        UsageError: a library is missing, the format has no such quantisation, or something else is at `out`.
    """
    for name in FORMATS[to].needs:
        optional(name, "export")
    if quantize is not None and to != "tflite":
        raise UsageError(f"--quantize is of TFLite: {to} is written in float32.")
    is_one = (out / DIRECTORY_MARK).is_file() if to == "saved-model" else not out.is_dir()
    if out.exists() and not is_one:
        raise UsageError(f"{out} exists and is no {to} export: choose another path with --out.")


def export_run(
    run: Run,
    model: keras.Model,
    to: str,
    out: Path,
    samples: Samples,
    *,
    which: str = "best",
    quantize: str | None = None,
    calibration: np.ndarray | None = None,
    tolerance: Tolerance | None = None,
) -> Agreement:
    """Writes an export, runs it, and lets it take its place if it says of the samples what the run says.

    Args:
        model: what `run.load_model(which)` gave.
        to: one of FORMATS.
        quantize: of TFLite: None, `"float16"` or `"int8"`.
        calibration: images for int8, uint8 `(n, 256, 256, 3)`.
        tolerance: TOLERANCES has the defaults.

    Returns:
        How far it agrees, which is also written beside it.

    Raises:
        UsageError: see `check_can_export`.
        AlexNetError: it does not agree; nothing is left of it, and an older export stays.
    """
    check_can_export(to, quantize, out)
    write, opened = _functions(to)
    if to == "tflite":
        write = partial(write, quantize=quantize, calibration=calibration)
    tolerance = tolerance or TOLERANCES[quantize]
    network = exported_network(run, model, which)
    own, as_trained = (outputs_of(Predictor(each), samples) for each in (network.model, model))
    with (_directory_by_rename if to == "saved-model" else write_by_rename)(out) as path:
        write(network, path)
        agreement = compare(outputs_of(opened(path), samples), own, as_trained, samples, tolerance)
        if not agreement.holds:
            raise AlexNetError(
                f"The export differs from the run by up to {agreement.difference:.2g} in a probability and moves "
                f"{agreement.moved:.2g} of it on average (allowed: {tolerance.difference:g} and {tolerance.moved:g}), "
                f"on {agreement.origin}: it was not written."
            )
    facts = {"export": to, "quantize": quantize, "agreement": agreement.to_dict(), "provenance": network.provenance}
    _write_facts(facts_path(out), facts)
    return agreement


def _functions(to: str) -> tuple[Callable, Callable]:
    import importlib

    module = importlib.import_module(f"alexnet_keras.interop.{FORMATS[to].module}")
    return getattr(module, f"write_{FORMATS[to].stem}"), getattr(module, f"open_{FORMATS[to].stem}")


def _write_facts(path: Path, facts: dict[str, Any]) -> None:
    with write_by_rename(path) as file:
        file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _directory_by_rename(path: Path) -> Iterator[Path]:
    """As `write_by_rename`, for a directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = partial_path(path)
    shutil.rmtree(made, ignore_errors=True)
    try:
        yield made
        with locked(path.with_name(f".{path.name}.lock"), None):
            if path.exists():
                shutil.rmtree(path)
            replace(made, path)
    finally:
        shutil.rmtree(made, ignore_errors=True)
