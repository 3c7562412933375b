"""A run as a TensorFlow SavedModel, and as a TFLite file for phones and small machines, in float32, float16 or int8.

A SavedModel needs TensorFlow and nothing of this package. In int8 are convolutions and dense layers. The arithmetic
between them stays in float32: the squares that the normalisations sum span too many orders of magnitude for 256 levels,
and with them quantised the probabilities of a trained network changed by up to 0.35."""

import json
import re
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from alexnet_keras.data.images import IMAGE_SIZE, UPRIGHT, square_from_jpeg_or_png
from alexnet_keras.interop.exported import ExportedNetwork
from alexnet_keras.storage.files import tensorflow_errors_as_os_errors

LABELS, PROVENANCE = "labels.txt", "provenance.json"
IMAGES = [tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 3), tf.uint8, "images")]
PATTERN = re.compile(r"[*?[\]\\]")  # what TensorFlow reads in the path of a model as a pattern of files
IN_FLOAT = ["SUB", "PAD", "SQUARE", "STRIDED_SLICE", "ADD", "MUL", "SQRT", "RSQRT", "POW", "CAST"]


def write_saved_model(network: ExportedNetwork, path: Path) -> None:
    """Write the directory of a SavedModel.

    Its signatures:

    * `serving_default`: `images`, uint8 `(batch, 256, 256, 3)`, to `probabilities`, float32 `(batch, classes)`;
    * `file`: `encoded`, the bytes of one JPEG or PNG as a string scalar, to `probabilities`, `(classes,)`. Where the
      run's data was prepared with EXIF orientation it also takes `orientation`, int32, 1..8;
    * `labels`: nothing, to `names` and `titles`, strings `(classes,)`.

    `assets/labels.txt` has the classes in words, one on each line.

    Raises:
        OSError: It cannot be written (disk full, for one).
    """
    fit, encoding = square_from_jpeg_or_png(network.preparation.decoding), network.preparation.encoding
    module = _module(network)

    @tf.function(input_signature=IMAGES, autograph=False)
    def of_images(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": network.probabilities(images)}

    def of_file(encoded: tf.Tensor, orientation: int | tf.Tensor = UPRIGHT) -> dict[str, tf.Tensor]:
        square = fit(encoded, orientation)
        if encoding.kind == "jpeg":  # as the training images went through JPEG once more
            square = encoding.decode(encoding.encode(square))
        return {"probabilities": network.probabilities(square[None])[0]}

    file = [tf.TensorSpec((), tf.string, "encoded")]
    if network.preparation.decoding.exif:
        file.append(tf.TensorSpec((), tf.int32, "orientation"))

    @tf.function(input_signature=[], autograph=False)
    def labels() -> dict[str, tf.Tensor]:
        return {"names": tf.constant(list(network.names)), "titles": tf.constant(list(network.titles))}

    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / LABELS
        lines.write_text(_lines(network), encoding="utf-8")
        module.labels = tf.saved_model.Asset(str(lines))
        signatures = {
            "serving_default": of_images,
            "file": tf.function(of_file, input_signature=file, autograph=False),
            "labels": labels,
        }
        with _without_patterns(path) as plain, tensorflow_errors_as_os_errors(path):
            tf.saved_model.save(module, str(plain), signatures=signatures)


def open_saved_model(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return a SavedModel as a function: uint8 `(batch, 256, 256, 3)` to float32 `(batch, classes)`."""
    with _without_patterns(path) as plain:
        loaded = tf.saved_model.load(str(plain))
    return lambda images: loaded.signatures["serving_default"](images=tf.constant(images))["probabilities"].numpy()


def write_tflite(
    network: ExportedNetwork, path: Path, quantize: str | None = None, calibration: np.ndarray | None = None
) -> None:
    """Write a TFLite file: uint8 `(batch, 256, 256, 3)` to probabilities, float32 `(batch, classes)`.

    After the network the file is a ZIP archive, as TFLite's associated files are, with `labels.txt` (the classes in
    words, one on each line) and `provenance.json`.

    Args:
        network: The network.
        path: The file.
        quantize: None for float32, `"float16"` for weights of half the size, `"int8"` for weights and activations.
        calibration: Images from which int8 takes the ranges of activations, uint8 `(n, 256, 256, 3)`.
    """
    module = _module(network)
    traced = tf.function(network.probabilities, input_signature=IMAGES, autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()], module)
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if quantize == "int8":
            assert calibration is not None, "int8 needs images for its calibration"
            content = _quantized(converter, calibration)
        else:
            if quantize == "float16":
                converter.target_spec.supported_types = [tf.float16]
            content = converter.convert()
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(LABELS, _lines(network))
        archive.writestr(PROVENANCE, json.dumps({**network.provenance, "quantize": quantize}, indent=1) + "\n")


def open_tflite(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return a TFLite file as a function: uint8 `(batch, 256, 256, 3)` to float32 `(batch, classes)`."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        Interpreter = tf.lite.Interpreter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own interpreter announces its end
        interpreter = Interpreter(model_path=str(path))
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()

    def probabilities(images: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(inputs["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(inputs["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(outputs["index"])

    return probabilities


def _module(network: ExportedNetwork) -> tf.Module:
    """A module that holds the network's variables."""
    module = tf.Module()
    module.weights = [variable.value for variable in network.model.variables]
    return module


def _lines(network: ExportedNetwork) -> str:
    """The titles, each on one line, also one that a folder's name gave a line break."""
    return "".join(" ".join(title.split()) + "\n" for title in network.titles)


@contextmanager
def _without_patterns(path: Path) -> Iterator[Path]:
    """A path to a directory that TensorFlow takes for no pattern of files: its own, or a link's."""
    if not PATTERN.search(str(path)):
        yield path
        return
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "model"
        link.symlink_to(path.absolute(), target_is_directory=True)
        yield link


def _quantized(converter: tf.lite.TFLiteConverter, calibration: np.ndarray) -> bytes:
    """int8 except for the operations that stay in float32, which only the converter's debugger can leave out."""

    def images() -> Iterator[list[np.ndarray]]:
        return ([image[None]] for image in calibration)

    converter.representative_dataset = images
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=IN_FLOAT)
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=images, debug_options=options
    )
    return debugger.get_nondebug_quantized_model()
