"""How many floating-point operations a network takes, counted from its own layers, and how fast this machine does them.

A multiply-add is two operations. Only convolutions and matrix products count: what else a network does (normalisation,
pooling, the update of the weights) takes time and is no part of the count.
"""

import time
from collections.abc import Callable

import keras
import tensorflow as tf

from alexnet_keras.model_summary import summarize

PRODUCT_SIDE = 4096  # of the square matrices whose product is timed
PRODUCT_SECONDS = 0.5  # products are repeated for so long, at least


def forward_operations(model: keras.Model) -> int:
    """Floating-point operations of the forward pass of one image."""
    return 2 * sum(row.multiply_adds for row in summarize(model))


def training_operations(model: keras.Model) -> int:
    """Floating-point operations of one image in a training step.

    Forward, the gradient of the weights, and the gradient of the input, each as many again; nobody asks for the
    gradient of the image.
    """
    return sum(2 * (2 if row.reads == "image" else 3) * row.multiply_adds for row in summarize(model))


def matrix_product(dtype: str, side: int = PRODUCT_SIDE) -> Callable[[], float]:
    """A function that multiplies two square matrices in TensorFlow and returns the rate, in operations a second.

    Args:
        dtype: of the matrices, such as "float32" or "bfloat16".
        side: rows and columns.
    """
    random = tf.random.Generator.from_seed(0)
    left, right = (tf.cast(random.normal((side, side)), dtype) for _ in range(2))
    product = tf.function(lambda: tf.matmul(left, right)[0, 0], autograph=False)
    float(product())  # traced, and its memory taken

    def rate() -> float:
        start, products = time.perf_counter(), 0
        while (passed := time.perf_counter() - start) < PRODUCT_SECONDS or not products:
            float(product())
            products += 1
        return 2 * side**3 * products / passed

    return rate
