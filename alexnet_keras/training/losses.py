"""The loss and the errors of `alexnet train` for Keras's `compile`, on any backend, and the weights of classes."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from alexnet_keras.backend import Tensor
from alexnet_keras.errors import whole_number

LEAST = float(np.finfo(np.float32).tiny)  # probability whose logarithm is taken: a loss of 87 nats


@keras.saving.register_keras_serializable(package="alexnet_keras")
class CrossEntropy(keras.losses.Loss):
    """Cross-entropy of integer labels, in nats, from logits or probabilities: the loss of `alexnet train`.

    `keras.losses.SparseCategoricalCrossentropy` has no label smoothing, and on JAX and PyTorch it replaces
    probabilities below 1e-7 by that number, where the gradient is 0.

    Args:
        from_logits: True for logits, False for probabilities, float32 `(batch, classes)`. Of a probability that
            float32 rounds to 0, at a logit 87 below the largest, the loss is 87 and the gradient 0.
        label_smoothing: The share of the target that is spread over all classes, 0..1.

    The loss of a label that is no class is NaN.

    Raises:
        ValueError: `label_smoothing` is outside its range; or, from `call`, labels are not `(batch,)` or `(batch, 1)`.
    """

    def __init__(
        self, from_logits: bool = False, label_smoothing: float = 0.0, name: str = "cross_entropy", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing must be in [0, 1]. Received: label_smoothing={label_smoothing}")
        self.from_logits, self.label_smoothing = from_logits, label_smoothing

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        scores = ops.cast(y_pred, "float32")
        logarithms = ops.log_softmax(scores) if self.from_logits else ops.log(ops.maximum(scores, LEAST))
        losses = -_at_label(logarithms, y_true)[:, 0]
        if not self.label_smoothing:
            return losses
        return (1 - self.label_smoothing) * losses - self.label_smoothing * ops.mean(logarithms, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits, "label_smoothing": self.label_smoothing}


def balanced_weights(counts: Sequence[int]) -> np.ndarray:
    """Return the factors of the loss with which every class counts alike, float32 `(classes,)`.

    Args:
        counts: The number of training images of each class.

    Returns:
        Factors whose mean over the training images is 1; 0 for a class without images.
    """
    images = np.asarray(counts, np.float64)
    each = images.sum() / (images > 0).sum()
    return np.divide(each, images, out=np.zeros_like(images), where=images > 0).astype(np.float32)


@keras.saving.register_keras_serializable(package="alexnet_keras")
class TopKError(keras.metrics.MeanMetricWrapper):
    """Top-k error: the share of images of which `k` or more other classes are at least as likely as the right one.

    Args:
        k: The number of guesses.
        name: The name in logs; None for `top1_error`, `top5_error`.

    `update_state` takes labels, integers `(batch,)`, and probabilities or logits, float `(batch, classes)`. A label
    that is no class is an error.

    Raises:
        ValueError: `k` is no positive whole number; or, from `update_state`, the labels have another shape.
    """

    def __init__(self, k: int = 1, name: str | None = None, dtype: Any = None) -> None:
        k = whole_number("k", k)
        super().__init__(_misses, name=name or f"top{k}_error", dtype=dtype, k=k)
        self.k = k
        self._direction = "down"  # what EarlyStopping and the like take for the better one

    def get_config(self) -> dict[str, Any]:
        return {"k": self.k, "name": self.name, "dtype": self.dtype}


def _misses(labels: Tensor, scores: Tensor, k: int) -> Tensor:
    """1.0 for each image that is wrong, else 0.0; ties go against the network, and a score that is NaN is wrong."""
    at_least = ops.sum(ops.cast(scores >= _at_label(scores, labels), "int32"), axis=-1)  # the right class is one
    return 1.0 - ops.cast((at_least >= 1) & (at_least <= k), "float32")


def _at_label(scores: Tensor, labels: Tensor) -> Tensor:
    """Take from `(batch, classes)` the score of each image's class, `(batch, 1)`; NaN where a label is no class."""
    labels = ops.convert_to_tensor(labels)
    known = getattr(labels.shape, "rank", 1) is not None  # TensorFlow may not know how many axes there are
    if known and tuple(labels.shape[1:]) not in ((), (1,), (None,)):
        raise ValueError(f"Labels are integers, (batch,) or (batch, 1). Received: labels of shape {labels.shape}")
    classes = scores.shape[-1]
    wanted = ops.reshape(ops.cast(labels, "int32"), (-1, 1))
    taken = ops.take_along_axis(scores, ops.clip(wanted, 0, classes - 1), axis=-1)
    return ops.where((wanted >= 0) & (wanted < classes), taken, np.nan)
