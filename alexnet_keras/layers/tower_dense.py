"""A fully-connected layer in two towers."""

from typing import Any

import keras
from keras import ops

from alexnet_keras.backend import Shape, Tensor
from alexnet_keras.layers.tower_weights import TowerLayer, is_one_shape


@keras.saving.register_keras_serializable(package="alexnet_keras")
class TowerDense(TowerLayer):
    """A fully-connected layer in every tower, reading its own tower's vector or those of all towers.

    Args:
        units: neurons per tower.
        **kwargs: `towers`, `reads`, `kernel_initializer` and `bias_initializer` of `TowerLayer`.

    Input shape: a list with one `(batch, features)` a tower, or one such tensor that all read.
    Output shape: a list with one `(batch, units)` a tower.

    Reference: paper, figure 2; net 145, layers fc6 to fc8 (fc8 is on the first device alone: `towers=1`).
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: Shape) -> None:
        self.add_tower_weights((self.input_channels(input_shape), self.units))

    def call(self, inputs: Tensor | list[Tensor]) -> list[Tensor]:
        return self.call_towers(inputs, lambda x, kernel, bias: ops.matmul(x, kernel) + bias)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch = (input_shape if is_one_shape(input_shape) else input_shape[0])[0]
        return [(batch, self.units)] * self.towers

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
