"""Dropout as the paper wrote it."""

from typing import Any

import keras
from keras import ops

from alexnet_keras.backend import Shape, Tensor, for_examples


@keras.saving.register_keras_serializable(package="alexnet_keras")
class PlainDropout(keras.layers.Layer):
    """Dropout: a product with a random mask of zeros and ones in training, and with the share kept otherwise.

    `keras.layers.Dropout` is the inverted form: it divides by the share kept in training, so that with the same
    initial weights the activations are twice as large there as in 2012.

    Args:
        rate: Share set to zero, 0 <= rate < 1. Paper, section 4.2, and net 145: 0.5 in fc6 and fc7.
        seed: An integer for repeatable masks.

    Input and output shape: `(batch, ...)`, any float dtype.

    Raises:
        ValueError: `rate` is outside its range.
    """

    def __init__(self, rate: float = 0.5, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1). Received: rate={rate}")
        self.rate, self.seed = rate, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Tensor, training: bool | None = False) -> Tensor:
        if not training:
            return inputs * ops.cast(1.0 - self.rate, inputs.dtype)
        seed = self.seed_generator

        def draw(rows: int | Tensor) -> Tensor:
            return keras.random.uniform((rows, *ops.shape(inputs)[1:]), dtype="float32", seed=seed)

        kept = for_examples(draw, ops.shape(inputs)[0]) >= self.rate
        return ops.where(kept, inputs, ops.zeros_like(inputs))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
