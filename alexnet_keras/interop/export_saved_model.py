"""A run as a TensorFlow SavedModel, which needs TensorFlow and nothing of this package."""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from alexnet_keras.data.decode import IMAGE_SIZE, UPRIGHT, square_from_jpeg_or_png
from alexnet_keras.evaluation.pictures import Preparation
from alexnet_keras.interop.export_network import ExportedNetwork

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
    """A TensorFlow function from (bytes of a JPEG or PNG, orientation) to what training would have read: the picture
    brought to 256x256 and, where the data was stored as JPEG, through JPEG once more; (256, 256, 3) uint8.
    """
    fit, encoding = square_from_jpeg_or_png(preparation.decoding), preparation.encoding

    def square(encoded: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
        fitted = fit(encoded, orientation)
        return encoding.decode(encoding.encode(fitted)) if encoding.kind == "jpeg" else fitted

    return square


def open_saved_model(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What a SavedModel says of pictures: uint8 `(batch, 256, 256, 3)` to probabilities float32 `(batch, classes)`."""
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
