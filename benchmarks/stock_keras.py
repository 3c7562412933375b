"""Net 145 as a Keras user would write it from the library's own parts: `Conv2D(groups=2)` and TensorFlow's LRN.

The same network as the recipe `source`, except that both towers are one tensor: LRN windows then cross the tower
boundary (four maps of each layer), which changes no cost. Dropout is Keras's, which costs the same as the paper's.
"""

import keras
import tensorflow as tf
from keras import layers


class LocalResponseNormalization(layers.Layer):
    """TensorFlow's, in float32: it has no kernel for bfloat16 on a processor. Its alpha is not divided by 5."""

    def call(self, x):
        return tf.cast(tf.nn.local_response_normalization(tf.cast(x, tf.float32), 2, 2.0, 1e-4 / 5, 0.75), x.dtype)


class SpatialNormalization(layers.Layer):
    """Net 145's normalisation over a 5x5 neighbourhood of the same map."""

    def call(self, x):
        # zeros count as neighbours at the border, which average pooling would leave out
        wide = tf.cast(x, tf.float32)
        squares = tf.pad(tf.square(wide), [[0, 0], [2, 2], [2, 2], [0, 0]])
        mean_square = tf.nn.avg_pool2d(squares, 5, 1, "VALID")
        return tf.cast(wide * tf.pow(1.0 + 0.001 * mean_square, -0.75), x.dtype)


def alexnet(mean: tuple[float, float, float], classes: int = 1000) -> keras.Model:
    """From uint8 crops `(batch, 224, 224, 3)` to logits `(batch, classes)`, compiled with momentum and decay."""

    def weights(std, bias):
        return {
            "kernel_initializer": keras.initializers.RandomNormal(0.0, std),
            "bias_initializer": keras.initializers.Constant(bias),
        }

    image = keras.Input((224, 224, 3), dtype="uint8")
    x = layers.Rescaling(1.0, [-value for value in mean])(image)
    x = layers.ZeroPadding2D(((0, 3), (0, 3)))(x)
    x = layers.Conv2D(96, 11, 4, **weights(0.01, 0.0))(x)
    x = LocalResponseNormalization()(x)
    x = layers.ReLU()(layers.MaxPooling2D(3, 2)(x))
    x = layers.Conv2D(256, 5, padding="same", groups=2, activation="relu", **weights(0.01, 1.0))(x)
    x = SpatialNormalization()(LocalResponseNormalization()(x))
    x = layers.MaxPooling2D(3, 2)(x)
    x = layers.Conv2D(384, 3, padding="same", activation="relu", **weights(0.03, 0.0))(x)
    x = layers.Conv2D(384, 3, padding="same", groups=2, activation="relu", **weights(0.03, 1.0))(x)
    x = layers.Conv2D(256, 3, padding="same", groups=2, activation="relu", **weights(0.03, 1.0))(x)
    x = layers.Flatten()(layers.MaxPooling2D(3, 2)(x))
    x = layers.Dropout(0.5)(layers.Dense(4096, activation="relu", **weights(0.01, 1.0))(x))
    x = layers.Dropout(0.5)(layers.Dense(4096, activation="relu", **weights(0.01, 1.0))(x))
    model = keras.Model(image, layers.Activation("linear", dtype="float32")(layers.Dense(classes)(x)))
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9, weight_decay=0.0005),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model
