"""Layers in several towers: the paper's grouped convolution, dense layers, and ordinary layers in or across towers.

A tower layer takes and returns a list with one tensor for each tower, and has one kernel and one bias for each tower in
every placement."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import keras
from keras import ops

from alexnet_keras.backend import CHANNELS_LAST, Shape, Tensor
from alexnet_keras.layers import execution


class TowerLayer(keras.layers.Layer):
    """What tower convolution and tower dense share: one kernel and one bias a tower, separate in every placement.

    Args:
        towers: how many towers have this layer.
        reads: `"own"` (a tower reads its own tensor of the input) or `"all"` (every tower reads all of them,
            joined along the last axis). An input that is one tensor is read by all.
        kernel_initializer: A Keras initializer. One with an integer seed s uses s + i in tower i, so that the towers
            start different and repeatably.
        bias_initializer: The same for the biases.
    """

    def __init__(
        self,
        towers: int = 2,
        reads: Literal["own", "all"] = "own",
        kernel_initializer: str | dict | keras.Initializer = "glorot_uniform",
        bias_initializer: str | dict | keras.Initializer = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs, autocast=False)  # each tower casts what it reads, on its own device
        self._check_policy(self.dtype_policy)
        if reads not in ("own", "all"):
            raise ValueError(f"reads must be 'own' or 'all'. Received: reads={reads!r}")
        self.towers, self.reads = towers, reads
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self._devices = execution.current_devices()

    @property
    def dtype_policy(self) -> keras.DTypePolicy:
        """What the layer computes in and keeps its weights in; one that quantizes is refused."""
        return keras.layers.Layer.dtype_policy.fget(self)

    @dtype_policy.setter
    def dtype_policy(self, value: str | dict | keras.DTypePolicy) -> None:
        self._check_policy(keras.dtype_policies.get(value))
        keras.layers.Layer.dtype_policy.fset(self, value)

    def _check_policy(self, policy: keras.DTypePolicy) -> None:
        if policy.quantization_mode:
            raise ValueError(f"{self.name} has no {policy.quantization_mode} form. Received: dtype={policy.name!r}")

    @property
    def kernels(self) -> list[keras.Variable]:
        """The kernel of each tower; none before the layer is built."""
        return self._of_towers("kernel")

    @property
    def biases(self) -> list[keras.Variable]:
        """The bias of each tower; none before the layer is built."""
        return self._of_towers("bias")

    def _of_towers(self, kind: str) -> list[keras.Variable]:
        # attributes, not lists: tf.train.Checkpoint saves and restores nothing that is in a list of ours
        names = (f"{kind}_{tower_letter(tower)}" for tower in range(self.towers))
        return [getattr(self, name) for name in names if hasattr(self, name)]

    @property
    def on_devices(self) -> bool:
        """Whether each tower has a device of its own."""
        return self._devices is not None

    def input_channels(self, input_shape: Shape) -> int:
        """Channels that one tower reads."""
        if is_one_shape(input_shape):
            return input_shape[-1]
        if self.reads == "all":
            return sum(shape[-1] for shape in input_shape)
        if len(input_shape) != self.towers:
            raise ValueError(
                f"{self.name}: reads='own' needs one input a tower. Received: {len(input_shape)} inputs, "
                f"towers={self.towers}"
            )
        return input_shape[0][-1]

    def add_tower_weights(self, kernel_shape: tuple[int, ...]) -> None:
        """Makes `kernel_a`, `bias_a`, `kernel_b`, ... on their towers' devices. The last axis is the outputs."""
        for tower in range(self.towers):
            letter = tower_letter(tower)
            kinds = (
                ("kernel", kernel_shape, self.kernel_initializer),
                ("bias", kernel_shape[-1:], self.bias_initializer),
            )
            with execution.scope(self._devices, tower):
                for kind, shape, initializer in kinds:
                    name = f"{kind}_{letter}"
                    setattr(self, name, self.add_weight(shape, _for_tower(initializer, tower), name=name))

    def call_towers(self, inputs: Tensor | list[Tensor], function: Callable) -> list:
        """[function(x, kernel, bias) for each tower], x being what the tower reads."""
        outputs = []
        shared = None
        copies = []  # of tower i's tensor, one for each tower that reads it
        if self._devices is not None and isinstance(inputs, list | tuple) and self.reads == "all":
            readers = len(self.kernels)
            copies = [execution.share(self._devices, source, x, readers) for source, x in enumerate(inputs)]
        for tower, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            if not isinstance(inputs, list | tuple):
                tensors = [inputs]
            elif self.reads == "own":
                tensors = [inputs[tower]]
            elif self._devices is None:
                shared = shared if shared is not None else _join(inputs)
                tensors = [shared]
            else:
                tensors = [each[tower] for each in copies]  # joined where they are read, so that each crosses once

            def apply(*tensors: Tensor) -> Tensor:
                kernel, bias, *read = (ops.cast(tensor, self.compute_dtype) for tensor in tensors)
                return function(_join(read), kernel, bias)

            with execution.scope(self._devices, tower):
                weights = [ops.convert_to_tensor(kernel), ops.convert_to_tensor(bias)]
            outputs.append(execution.run(self._devices, tower, apply, [*weights, *tensors]))
        return outputs

    def quantize(self, mode: str | None = None, type_check: bool = True, config: Any = None) -> None:
        """Leaves the layer as it is, which `keras.Model.quantize` reports as a warning."""
        raise NotImplementedError(
            f"{self.name} stays as it is: towers have no {mode} form. `alexnet export --to tflite` has one in int8."
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "towers": self.towers,
            "reads": self.reads,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }


def is_one_shape(input_shape: Shape) -> bool:
    """Whether this is the shape of one tensor rather than of a list of them (a saved shape is a list too)."""
    return input_shape[-1] is None or isinstance(input_shape[-1], int)


def _join(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else ops.concatenate(list(tensors), axis=-1)


def _for_tower(initializer: keras.Initializer, tower: int) -> keras.Initializer:
    config = initializer.get_config()
    if not isinstance(config.get("seed"), int):
        return initializer.clone()
    return type(initializer).from_config({**config, "seed": config["seed"] + tower})


FEW_CHANNELS = 16  # in bfloat16 processors multiply 32 at a time


def in_blocks(images: Tensor, kernel: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Images and kernels for a convolution of stride 1 that computes what one of stride `size` does with the originals.

    Every block of size x size pixels becomes one pixel with size^2 as many channels. Kernels are filled up with
    zeros to whole blocks, images to as many as the last kernel reaches; what they had left over is cut off.

    Args:
        images: `(batch, height, width, channels)`.
        kernel: `(side, side, channels, filters)`.
        size: the stride.
    """
    side, _, channels, filters = kernel.shape
    across = -(-side // size)
    kernel = ops.pad(kernel, [(0, across * size - side)] * 2 + [(0, 0)] * 2)
    kernel = ops.reshape(kernel, (across, size, across, size, channels, filters))
    kernel = ops.reshape(ops.transpose(kernel, (0, 2, 1, 3, 4, 5)), (across, across, size * size * channels, filters))
    blocks = [(length - side) // size + across for length in images.shape[1:3]]
    images = images[:, : blocks[0] * size, : blocks[1] * size]
    missing = [count * size - length for count, length in zip(blocks, images.shape[1:3], strict=True)]
    images = ops.pad(images, [(0, 0), *((0, count) for count in missing), (0, 0)])
    images = ops.reshape(images, (-1, blocks[0], size, blocks[1], size, channels))
    images = ops.transpose(images, (0, 1, 3, 2, 4, 5))
    return ops.reshape(images, (-1, *blocks, size * size * channels)), kernel


@keras.saving.register_keras_serializable(package="alexnet_keras")
class TowerConv2D(TowerLayer):
    """A convolution in every tower, reading its own tower's maps or those of all towers.

    With `reads="own"` this is grouped convolution, one group a tower; it is computed as one ordinary convolution
    a tower, which on processors is several times faster than a framework's grouped one.

    Args:
        filters: kernels per tower.
        kernel_size: side of a kernel, pixels.
        strides: pixels.
        padding: `(before, after)`: zeros added above and left, below and right. Net 145's conv1 is `(0, 3)`:
            cuda-convnet lets the last window reach past the image, (224 + 3 - 11) / 4 + 1 = 55.
        **kwargs: `towers`, `reads`, `kernel_initializer` and `bias_initializer` of `TowerLayer`.

    Input shape: a list with one `(batch, height, width, maps)` a tower, or one such tensor that all read.
    Output shape: a list with one `(batch, new_height, new_width, filters)` a tower.

    Reference: paper, section 3.2 and figure 2; net 145, layers conv1 to conv5.
    """

    def __init__(
        self, filters: int, kernel_size: int, strides: int = 1, padding: tuple[int, int] = (0, 0), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides
        self.padding = tuple(padding)

    def build(self, input_shape: Shape) -> None:
        side = self.kernel_size
        self.add_tower_weights((side, side, self.input_channels(input_shape), self.filters))

    def call(self, inputs: Tensor | list[Tensor]) -> list[Tensor]:
        return self.call_towers(inputs, self._convolve)

    def _convolve(self, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        before, after = self.padding
        if before == after == (self.kernel_size - 1) / 2 and self.strides == 1:
            return ops.conv(x, kernel, strides=1, padding="same", data_format=CHANNELS_LAST) + bias
        if before or after:
            x = ops.pad(x, [(0, 0), (before, after), (before, after), (0, 0)])
        strides = self.strides
        few = x.shape[-1] < FEW_CHANNELS and keras.backend.standardize_dtype(x.dtype) == "bfloat16"
        if few and strides > 1 and None not in x.shape[1:3]:
            x, kernel = in_blocks(x, kernel, strides)
            strides = 1
        return ops.conv(x, kernel, strides=strides, padding="valid", data_format=CHANNELS_LAST) + bias

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, _ = input_shape if is_one_shape(input_shape) else input_shape[0]

        def side(length: int | None) -> int | None:
            return None if length is None else (length + sum(self.padding) - self.kernel_size) // self.strides + 1

        return [(batch, side(height), side(width), self.filters)] * self.towers

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
        }


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
        self._devices = execution.current_devices()
        self.copies: list[keras.layers.Layer] = []

    def build(self, input_shape: Shape) -> None:
        config = self.layer.get_config()
        for tower, shape in enumerate(input_shape):
            own = {"name": f"{self.name}_{tower_letter(tower)}"}
            if isinstance(config.get("seed"), int):
                own["seed"] = config["seed"] + tower
            with execution.scope(self._devices, tower):
                copy = left_as_it_is(type(self.layer).from_config({**config, **own}))
                copy.build(shape)
            self.copies.append(copy)
            setattr(self, f"copy_{tower_letter(tower)}", copy)  # tf.train.Checkpoint does not look into lists

    def call(self, inputs: list[Tensor], training: bool | None = None) -> list[Tensor]:
        def apply(copy: keras.layers.Layer) -> Callable:
            extra = {"training": training} if copy._call_has_training_arg else {}
            return lambda x: copy(x, **extra)

        return [
            execution.run(self._devices, tower, apply(copy), [x])
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


@keras.saving.register_keras_serializable(package="alexnet_keras")
class AcrossTowers(EachTower):
    """Applies an ordinary layer to the tensors of all towers joined along the last axis, and parts its output again.

    Args:
        layer: a Keras layer without weights that keeps the number of maps.

    Input shape: a list with one tensor a tower. Output shape: the same, each as the layer makes it.

    Reference: the normalisation of Caffe's AlexNet, whose windows reach over the groups of the convolution before it.
    """

    def build(self, input_shape: Shape) -> None:
        joined = (*input_shape[0][:-1], sum(shape[-1] for shape in input_shape))
        copy = type(self.layer).from_config({**self.layer.get_config(), "name": f"{self.name}_all"})
        self.copies = [left_as_it_is(copy)]
        self.copies[0].build(joined)
        self.copy_all = self.copies[0]  # tf.train.Checkpoint does not look into lists

    def call(self, inputs: list[Tensor], training: bool | None = None) -> list[Tensor]:
        (copy,), towers = self.copies, len(inputs)
        extra = {"training": training} if copy._call_has_training_arg else {}

        def part(tower: int, *tensors: Tensor) -> Tensor:
            return ops.split(copy(ops.concatenate(tensors, axis=-1), **extra), towers, axis=-1)[tower]

        if towers == 1:
            return [copy(inputs[0], **extra)]
        if self._devices is None:
            return ops.split(copy(ops.concatenate(inputs, axis=-1), **extra), towers, axis=-1)
        # each device computes the whole: what crosses is then as little as where a convolution reads all towers
        read = [execution.share(self._devices, tower, x, towers) for tower, x in enumerate(inputs)]
        return [
            execution.run(self._devices, tower, lambda *xs, tower=tower: part(tower, *xs), [x[tower] for x in read])
            for tower in range(towers)
        ]
