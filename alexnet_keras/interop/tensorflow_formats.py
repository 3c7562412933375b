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
from alexnet_keras.evaluation.inputs import Preparation
from alexnet_keras.interop.exported import ExportedNetwork

LABELS = "labels.txt"
PATTERN = re.compile(r"[*?[\]\\]")  # what TensorFlow reads in the path of a model, and looks for other files


def write_saved_model(network: ExportedNetwork, path: Path) -> None:
    """Writes the directory of a SavedModel.

    Its signatures:

    * `serving_default`: `images`, uint8 `(batch, 256, 256, 3)`, to `probabilities`, float32 `(batch, classes)`;
    * `file`: `encoded`, the bytes of one JPEG or PNG as a string scalar, to `probabilities`, `(classes,)`. Where the
      run's data was prepared with EXIF orientation it also takes `orientation`, int32, 1..8;
    * `labels`: nothing, to `names` and `titles`, strings `(classes,)`.

    `assets/labels.txt` has the classes in words, a line each.
    """
    probabilities = network.probabilities
    square = square_from_file(network.preparation)
    module = tf.Module()
    module.weights = [variable.value for variable in network.model.variables]
    images = tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 3), tf.uint8, "images")

    @tf.function(input_signature=[images], autograph=False)
    def of_images(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": probabilities(images)}

    def of_file(encoded: tf.Tensor, orientation: int | tf.Tensor = UPRIGHT) -> dict[str, tf.Tensor]:
        return {"probabilities": probabilities(square(encoded, orientation)[None])[0]}

    file = [tf.TensorSpec((), tf.string, "encoded")]
    if network.preparation.decoding.exif:
        file.append(tf.TensorSpec((), tf.int32, "orientation"))

    @tf.function(input_signature=[], autograph=False)
    def labels() -> dict[str, tf.Tensor]:
        return {"names": tf.constant(list(network.names)), "titles": tf.constant(list(network.titles))}

    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / LABELS
        lines.write_text("".join(f"{title}\n" for title in network.titles), encoding="utf-8")
        module.labels = tf.saved_model.Asset(str(lines))
        signatures = {
            "serving_default": of_images,
            "file": tf.function(of_file, input_signature=file, autograph=False),
            "labels": labels,
        }
        with _without_patterns(path) as plain:
            tf.saved_model.save(module, str(plain), signatures=signatures)


def square_from_file(preparation: Preparation) -> Callable:
    """A TensorFlow function from (bytes of a JPEG or PNG, orientation) to what training would have read: the image
    brought to 256x256 and, where the data was stored as JPEG, through JPEG once more; (256, 256, 3) uint8.
    """
    fit, encoding = square_from_jpeg_or_png(preparation.decoding), preparation.encoding

    def square(encoded: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
        fitted = fit(encoded, orientation)
        return encoding.decode(encoding.encode(fitted)) if encoding.kind == "jpeg" else fitted

    return square


def open_saved_model(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What a SavedModel says of images: uint8 `(batch, 256, 256, 3)` to probabilities float32 `(batch, classes)`."""
    with _without_patterns(path) as plain:
        loaded = tf.saved_model.load(str(plain))

    def probabilities(images: np.ndarray) -> np.ndarray:
        return loaded.signatures["serving_default"](images=tf.constant(images))["probabilities"].numpy()

    return probabilities


@contextmanager
def _without_patterns(path: Path) -> Iterator[Path]:
    """Another path to a directory that TensorFlow, which looks for its files by patterns, would not find by its own."""
    if not PATTERN.search(str(path)):
        yield path
        return
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "model"
        link.symlink_to(path.absolute(), target_is_directory=True)
        yield link


IN_FLOAT = ["SUB", "PAD", "SQUARE", "STRIDED_SLICE", "ADD", "MUL", "SQRT", "RSQRT", "POW", "CAST"]
TFLITE_LABELS, PROVENANCE = "labels.txt", "provenance.json"


def write_tflite(
    network: ExportedNetwork, path: Path, quantize: str | None = None, calibration: np.ndarray | None = None
) -> None:
    """Writes a TFLite file: uint8 `(batch, 256, 256, 3)` to probabilities, float32 `(batch, classes)`.

    Behind the network the file is a ZIP archive, as TFLite's associated files are, with `labels.txt` (the classes in
    words, a line each) and `provenance.json`.

    Args:
        quantize: None for float32, `"float16"` for weights of half the size, `"int8"` for weights and activations.
        calibration: images for int8 to take the ranges of activations from, uint8 `(n, 256, 256, 3)`.
    """
    images = tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 3), tf.uint8, "images")
    module = tf.Module()
    module.weights = [variable.value for variable in network.model.variables]
    traced = tf.function(network.probabilities, input_signature=[images], autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()], module)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if quantize == "int8":
            assert calibration is not None, "int8 needs images for its calibration"
            content = _quantized(converter, calibration)
        else:
            content = _converted(converter, quantize)
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(TFLITE_LABELS, "".join(f"{title}\n" for title in network.titles))
        archive.writestr(PROVENANCE, json.dumps({**network.provenance, "quantize": quantize}, indent=1) + "\n")


def _converted(converter: tf.lite.TFLiteConverter, quantize: str | None) -> bytes:
    if quantize == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


def _quantized(converter: tf.lite.TFLiteConverter, calibration: np.ndarray) -> bytes:
    """int8 but for the operations that stay in float32, which only the converter's debugger can leave out."""

    def images() -> Iterator[list[np.ndarray]]:
        return ([image[None]] for image in calibration)

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = images
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=IN_FLOAT)
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=images, debug_options=options
    )
    return debugger.get_nondebug_quantized_model()


def open_tflite(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What the interpreter makes of images: uint8 `(batch, 256, 256, 3)` to float32 `(batch, classes)`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own interpreter announces its end
        interpreter = _interpreter_class()(model_path=str(path))
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()

    def probabilities(images: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(given["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(made["index"])

    return probabilities


def _interpreter_class() -> type:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        return tf.lite.Interpreter
    return Interpreter
