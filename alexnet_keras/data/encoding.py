"""How a 256x256 picture is stored in a record: as JPEG, as PNG, or as its bytes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from alexnet_keras.data.decode import IMAGE_SIZE

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_datasets as tfds

KINDS = ("jpeg", "png", "raw")
# On photographs this changes a pixel's channel by 1.6 of 255 on average (quality 90: 2.3; 97: 1.1) for 39 kB
# a picture (27; 51). The colour channels keep their resolution; halving it would add 0.6.
JPEG_QUALITY = 95
# TensorFlow's default shifts red and blue by a level against the stored statistics.
DCT = "INTEGER_ACCURATE"
SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 3)


@dataclass(frozen=True)
class Encoding:
    """A way to store pictures.

    Attributes:
        kind: "jpeg"; "png", without loss in about 110 kB; or "raw", without loss or decoding in 197 kB.
        quality: Of JPEG, 1..100; the others take no notice.
    """

    kind: str = "jpeg"
    quality: int = JPEG_QUALITY

    @property
    def options(self) -> dict[str, Any]:
        """What two preparations have to agree in."""
        return {"encoding": self.kind, "jpeg_quality": self.quality if self.kind == "jpeg" else None}

    def encode(self, square: "tf.Tensor") -> "tf.Tensor":
        """(256, 256, 3) uint8 tensor to a string tensor, which is empty for "raw": see `stored`."""
        import tensorflow as tf

        if self.kind == "jpeg":
            return tf.io.encode_jpeg(square, quality=self.quality, chroma_downsampling=False)
        return tf.io.encode_png(square) if self.kind == "png" else tf.constant(b"")

    def stored(self, encoded: bytes, square: np.ndarray) -> bytes:
        """What the record holds of a picture: what `encode` made of it, or its bytes."""
        return square.tobytes() if self.kind == "raw" else encoded

    def decode(self, encoded: "tf.Tensor") -> "tf.Tensor":
        """String tensor to (256, 256, 3) uint8."""
        import tensorflow as tf

        if self.kind == "jpeg":
            image = tf.io.decode_jpeg(encoded, channels=3, dct_method=DCT)
        elif self.kind == "png":
            image = tf.io.decode_png(encoded, channels=3)
        else:
            image = tf.reshape(tf.io.decode_raw(encoded, tf.uint8), SHAPE)
        return tf.ensure_shape(image, SHAPE)

    def decode_crop(
        self, encoded: "tf.Tensor", top: "tf.Tensor", left: "tf.Tensor", height: "tf.Tensor", width: "tf.Tensor"
    ) -> "tf.Tensor":
        """The (height, width, 3) uint8 crop whose upper left corner is at (top, left)."""
        import tensorflow as tf

        if self.kind == "jpeg":
            return tf.io.decode_and_crop_jpeg(encoded, [top, left, height, width], channels=3, dct_method=DCT)
        return tf.slice(self.decode(encoded), [top, left, 0], [height, width, 3])

    def feature(self) -> "tfds.features.FeatureConnector":
        """The TFDS feature that decodes it."""
        import tensorflow_datasets as tfds

        if self.kind == "raw":
            return tfds.features.Tensor(shape=SHAPE, dtype=np.uint8, encoding=tfds.features.Encoding.BYTES)
        return tfds.features.Image(shape=SHAPE, encoding_format=self.kind)
