"""Write a run for other programs, and compare the file with the run before it takes its place."""

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.backend import tensor_float_32
from alexnet_keras.errors import DAMAGED, AlexNetError, UsageError, check_choice
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.interop.exported import Agreement, Samples, Tolerance, compare, exported_network, outputs_of
from alexnet_keras.interop.onnx import open_onnx, write_onnx
from alexnet_keras.interop.safetensors import open_safetensors, write_safetensors
from alexnet_keras.interop.tensorflow_formats import open_saved_model, open_tflite, write_saved_model, write_tflite
from alexnet_keras.runs import Run
from alexnet_keras.storage.documents import seal_of, write_json
from alexnet_keras.storage.extras import optional
from alexnet_keras.storage.files import flush, write_by_rename, write_directory_by_rename

# Rounding of float32 alone moves probabilities by 1e-6; float16's weights are right to 1 in 2048.
TOLERANCES = {None: Tolerance(difference=1e-4), "float16": Tolerance(difference=0.02), "int8": Tolerance(moved=0.1)}
DIRECTORY_MARK = "saved_model.pb"


@dataclass(frozen=True)
class Format:
    """A kind of file to export to.

    Attributes:
        name: The file's name in the run's exports/.
        write: Writes an `ExportedNetwork` to a path.
        open: Returns the file's network as a function from images to probabilities.
        needs: Libraries of the extra `export`.
        is_directory: What is written is a directory.
    """

    name: str
    write: Callable[..., None]
    open: Callable[[Path], Callable[[np.ndarray], np.ndarray]]
    needs: tuple[str, ...] = ()
    is_directory: bool = False


FORMATS = {
    "saved-model": Format("saved-model", write_saved_model, open_saved_model, is_directory=True),
    "onnx": Format("model.onnx", write_onnx, open_onnx, ("onnx", "onnxruntime")),
    "tflite": Format("model.tflite", write_tflite, open_tflite),
    "safetensors": Format("model.safetensors", write_safetensors, open_safetensors),
}


def default_path(run: Run, to: str, quantize: str | None = None, which: str = "best") -> Path:
    """The path of a run's export unless another is given: `exports/model-last-int8.tflite`."""
    name = Path(FORMATS[to].name)
    parts = [name.stem, *([which] if which != "best" else []), *([quantize] if quantize else [])]
    return run.exports_path / name.with_stem("-".join(parts))


def comparison_path(out: Path) -> Path:
    """The path of an export's comparison, next to it: `model.onnx.json`."""
    return out.with_name(f"{out.name}.json")


def check_can_export(to: str, quantize: str | None, out: Path) -> None:
    """Refuse what cannot be written, before anything takes time.

    Raises:
        UsageError: There is no such format, or it has no such quantisation; a library is missing, or `out` is something
            else.
    """
    check_choice("to", to, FORMATS)
    check_choice("quantize", quantize, TOLERANCES)
    for name in FORMATS[to].needs:
        optional(name, "export")
    if quantize is not None and to != "tflite":
        raise UsageError(f"--quantize is for TFLite: {to} is written in float32.")
    beside = comparison_path(out)
    try:
        exported = json.loads(beside.read_text(encoding="utf-8"))["export"]
    except DAMAGED:
        exported = None
    marked = (out / DIRECTORY_MARK).is_file() == FORMATS[to].is_directory
    is_one = exported == to and not out.is_symlink() and marked
    if os.path.lexists(out) and not is_one:
        unknown = "" if beside.exists() else f", or {beside.name} is not beside it"
        raise UsageError(f"{out} exists and is no {to} export{unknown}: choose another path with --out, or remove it.")
    if beside.exists() and exported is None:
        raise UsageError(f"{beside} exists and is not the comparison of an export: choose another path with --out.")


def export_run(
    run: Run,
    to: str,
    out: Path,
    samples: Samples,
    *,
    which: str = "best",
    quantize: str | None = None,
    calibration: np.ndarray | None = None,
    tolerance: Tolerance | None = None,
) -> Agreement:
    """Write an export, run it, and keep it if its probabilities are those of the run.

    Args:
        run: The run.
        to: A name in FORMATS.
        out: The path to write to.
        samples: The images to compare on.
        which: `"best"` or `"last"`.
        quantize: For TFLite: `"float16"` or `"int8"`.
        calibration: Images for int8, uint8 `(n, 256, 256, 3)`.
        tolerance: The differences that are allowed; by default those of TOLERANCES.

    Returns:
        How far it agrees with the run, which is also written to `comparison_path(out)`, with the size and checksum of
        every file of the export.

    Raises:
        UsageError: See `check_can_export`; or the run has no such model.
        DataError: The model is damaged, or the run's recipe.toml is not of it.
        AlexNetError: It does not agree; nothing is left of it, and an older export stays.
    """
    check_can_export(to, quantize, out)
    form = FORMATS[to]
    write = partial(form.write, quantize=quantize, calibration=calibration) if to == "tflite" else form.write
    tolerance = tolerance or TOLERANCES[quantize]
    network = exported_network(run, which)
    # Both are on the disk before either takes its place, so that what fails leaves both as they were. The comparison is
    # the first: in between its checksums tell that it is not of the export there, and an export is never without one.
    with _writing(out, form) as path, write_by_rename(comparison_path(out)) as beside:
        write(network, path)
        with tensor_float_32(False):  # its rounding on a GPU is more than the tolerances allow
            own, as_trained = (outputs_of(Predictor(each), samples) for each in (network.model, network.as_trained))
            agreement = compare(outputs_of(form.open(path), samples), own, as_trained, samples, tolerance)
        if not agreement.holds:
            raise AlexNetError(
                f"The export was not written: on {agreement.origin}, its probabilities differ by up to "
                f"{agreement.difference:.2g} (allowed {tolerance.difference:g}) and move by {agreement.moved:.2g} on "
                f"average (allowed {tolerance.moved:g})."
            )
        for file in _files_of(path):
            flush(file)
        comparison = {"export": to, "quantize": quantize, "agreement": agreement.to_dict()}
        write_json(beside, {**comparison, "provenance": network.provenance, "files": _seals(path, out.name)})
    return agreement


def _writing(out: Path, form: Format) -> AbstractContextManager[Path]:
    """Write a file or directory by rename, in place of an older one."""
    return write_directory_by_rename(out, replacing=True) if form.is_directory else write_by_rename(out)


def _seals(path: Path, name: str) -> dict[str, dict[str, Any]]:
    """The size and SHA-256 of an export, by the name that it gets; of a directory those of each file in it."""
    return {(Path(name) / file.relative_to(path)).as_posix(): seal_of(file) for file in _files_of(path)}


def _files_of(path: Path) -> list[Path]:
    """The files of an export: itself, or those in it."""
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
