"""A run as a TFLite file, for phones and small machines, in float32, float16 or int8.

int8 is of convolutions and dense layers. The arithmetic between them stays in float32: the squares that the
normalisations add up span too many orders of magnitude for 256 levels, and with them quantised the probabilities of a
trained network moved by up to 0.35.
"""

import json
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from alexnet_keras.data.decode import IMAGE_SIZE
from alexnet_keras.interop.export_network import ExportedNetwork

IN_FLOAT = ["SUB", "PAD", "SQUARE", "STRIDED_SLICE", "ADD", "MUL", "SQRT", "RSQRT", "POW", "CAST"]
LABELS, PROVENANCE = "labels.txt", "provenance.json"


def write_tflite(
    network: ExportedNetwork, path: Path, quantize: str | None = None, calibration: np.ndarray | None = None
) -> None:
    """Writes a TFLite file: uint8 `(batch, 256, 256, 3)` to probabilities, float32 `(batch, classes)`.

    Behind the network the file is a ZIP archive, as TFLite's associated files are, with `labels.txt` (the classes in
    words, a line each) and `provenance.json`.

    Args:
        quantize: None for float32, `"float16"` for weights of half the size, `"int8"` for weights and activations.
        calibration: pictures for int8 to take the ranges of activations from, uint8 `(n, 256, 256, 3)`.
    """
    images = tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 3), tf.uint8, "images")
    module = tf.Module()
    module.weights = [variable.value for variable in network.model.variables]
    traced = tf.function(network.probabilities, input_signature=[images], autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()], module)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if quantize == "int8":
            assert calibration is not None, "int8 needs pictures for its calibration"
            content = _quantized(converter, calibration)
        else:
            content = _converted(converter, quantize)
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(LABELS, "".join(f"{title}\n" for title in network.titles))
        archive.writestr(PROVENANCE, json.dumps({**network.provenance, "quantize": quantize}, indent=1) + "\n")


def _converted(converter: tf.lite.TFLiteConverter, quantize: str | None) -> bytes:
    if quantize == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


def _quantized(converter: tf.lite.TFLiteConverter, calibration: np.ndarray) -> bytes:
    """int8 but for the operations that stay in float32, which only the converter's debugger can leave out."""

    def pictures() -> Iterator[list[np.ndarray]]:
        return ([picture[None]] for picture in calibration)

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = pictures
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=IN_FLOAT)
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=pictures, debug_options=options
    )
    return debugger.get_nondebug_quantized_model()


def open_tflite(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What the interpreter makes of pictures: uint8 `(batch, 256, 256, 3)` to float32 `(batch, classes)`."""
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
