"""An ordinary layer, once in every tower."""

from collections.abc import Callable
from typing import Any, Self

import keras

from alexnet_keras.backend import Shape, Tensor
from alexnet_keras.layers import placement


@keras.saving.register_keras_serializable(package="alexnet_keras")
class EachTower(keras.layers.Layer):
    """Applies an ordinary layer to each tower's tensor, on that tower's device.

    Every tower has its own copy of the layer (its own weights and random numbers, where it has any), named after
    the layer and the tower: `pool1_a`, `pool1_b`.

    Args:
        layer: a Keras layer from one tensor to one tensor, not yet built.

    Input shape: a list with one tensor a tower. Output shape: the same, each as the layer makes it.
    """

    def __init__(self, layer: keras.layers.Layer, name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        # with another dtype than the layer's, every tensor would be cast on the way in and back again
        super().__init__(name=name or layer.name, dtype=dtype or layer.dtype_policy, **kwargs)
        self.layer = left_as_it_is(layer)
        self._devices = placement.current_devices()
        self.copies: list[keras.layers.Layer] = []

    def build(self, input_shape: Shape) -> None:
        config = self.layer.get_config()
        for tower, shape in enumerate(input_shape):
            own = {"name": f"{self.name}_{tower_letter(tower)}"}
            if isinstance(config.get("seed"), int):
                own["seed"] = config["seed"] + tower
            with placement.scope(self._devices, tower):
                copy = left_as_it_is(type(self.layer).from_config({**config, **own}))
                copy.build(shape)
            self.copies.append(copy)
            setattr(self, f"copy_{tower_letter(tower)}", copy)  # tf.train.Checkpoint does not look into lists

    def call(self, inputs: list[Tensor], training: bool | None = None) -> list[Tensor]:
        def apply(copy: keras.layers.Layer) -> Callable:
            extra = {"training": training} if copy._call_has_training_arg else {}
            return lambda x: copy(x, **extra)

        return [
            placement.run(self._devices, tower, apply(copy), [x])
            for tower, (copy, x) in enumerate(zip(self.copies, inputs, strict=True))
        ]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return [self.layer.compute_output_shape(shape) for shape in input_shape]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})


def left_as_it_is(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The layer itself, which `keras.Model.quantize` now passes over: saved, it has to be what it was made as."""

    def quantize(mode: str | None = None, **kwargs: Any) -> None:
        if layer.weights:  # else there is nothing to quantize, which is no news
            raise NotImplementedError(f"{layer.name} stays as it is: a layer inside a tower has no {mode} form.")

    layer.quantize = quantize
    return layer


def tower_letter(tower: int) -> str:
    """a for tower 0, b for tower 1, ..."""
    return chr(ord("a") + tower)
