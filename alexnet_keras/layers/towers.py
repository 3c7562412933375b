"""Layers in several towers: the paper's grouped convolution, dense layers, and ordinary layers in or across towers.

A tower layer takes and returns a list with one tensor per tower, and has one kernel and one bias per tower in every
placement."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import keras
from keras import ops

from alexnet_keras import backend
from alexnet_keras.backend import CHANNELS_LAST, Shape, Tensor
from alexnet_keras.errors import whole_number
from alexnet_keras.layers.relu import relu


class TowerLayer(keras.layers.Layer):
    """Base of tower convolution and tower dense: one kernel and one bias per tower, separate in every placement.

    Args:
        towers: Number of towers that have this layer.
        reads: `"own"` (a tower reads its own tensor of the input) or `"all"` (every tower reads all of them,
            joined along the last axis). An input that is one tensor is read by all.
        kernel_initializer: A Keras initializer. One with a seed s, or with a `SeedGenerator` of it, uses s + i in tower
            i, so that the towers start different and repeatably.
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
        self.towers, self.reads = whole_number("towers", towers), reads
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self._devices = backend.current_devices()

    @property
    def dtype_policy(self) -> keras.DTypePolicy:
        """The policy of the layer's computations and weights; one that quantizes is refused."""
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
        """True if each tower has a device of its own."""
        return self._devices is not None

    def input_channels(self, input_shape: Shape) -> int:
        """Return the number of channels that one tower reads."""
        if is_one_shape(input_shape):
            return input_shape[-1]
        if self.reads == "all":
            return sum(shape[-1] for shape in input_shape)
        if len(input_shape) != self.towers:
            raise ValueError(
                f"{self.name}: reads='own' needs one input per tower. Received: {len(input_shape)} inputs, "
                f"towers={self.towers}"
            )
        if len(channels := {shape[-1] for shape in input_shape}) > 1:
            raise ValueError(
                f"{self.name}: with reads='own' the inputs of all towers have the same number of channels. Received: "
                f"{sorted(channels)} channels"
            )
        return input_shape[0][-1]

    def add_tower_weights(self, kernel_shape: tuple[int, ...]) -> None:
        """Add `kernel_a`, `bias_a`, `kernel_b`, ... on their towers' devices. The last axis is the outputs."""
        kinds = {"kernel": (kernel_shape, self.kernel_initializer), "bias": (kernel_shape[-1:], self.bias_initializer)}
        for tower in range(self.towers):
            with backend.scope(self._devices, tower):
                for kind, (shape, initializer) in kinds.items():
                    name = f"{kind}_{tower_letter(tower)}"
                    setattr(self, name, self.add_weight(shape, _for_tower(initializer, tower), name=name))

    def call_towers(self, inputs: Tensor | list[Tensor], function: Callable) -> list:
        """Return [function(x, kernel, bias) for each tower], x being what the tower reads."""

        def apply(*tensors: Tensor) -> Tensor:
            kernel, bias, *read = (ops.cast(tensor, self.compute_dtype) for tensor in tensors)
            return function(_join(read), kernel, bias)

        outputs = []
        parts = zip(self.kernels, self.biases, self._tensors_read(inputs), strict=True)
        for tower, (kernel, bias, read) in enumerate(parts):
            with backend.scope(self._devices, tower):
                weights = [ops.convert_to_tensor(kernel), ops.convert_to_tensor(bias)]
            outputs.append(backend.run(self._devices, tower, apply, [*weights, *read]))
        return outputs

    def _tensors_read(self, inputs: Tensor | list[Tensor]) -> list[list[Tensor]]:
        """Return the tensors that each tower reads, several of which it joins."""
        if not isinstance(inputs, list | tuple):
            return [[inputs]] * self.towers
        if self.reads == "own":
            return [[x] for x in inputs]
        if self._devices is None:
            return [[_join(inputs)]] * self.towers
        # joined where they are read, so that each crosses once
        copies = [backend.share(self._devices[tower], x, self.towers) for tower, x in enumerate(inputs)]
        return [list(tensors) for tensors in zip(*copies, strict=True)]

    def quantize(self, mode: str | None = None, type_check: bool = True, config: Any = None) -> None:
        """Leave the layer as it is, which `keras.Model.quantize` reports as a warning."""
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
    """Return True for the shape of one tensor, False for those of a list of them (a saved shape is a list, too)."""
    return input_shape[-1] is None or isinstance(input_shape[-1], int)


def _join(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else ops.concatenate(list(tensors), axis=-1)


def _for_tower(original: Any, tower: int, **changes: Any) -> Any:
    """Return a copy of an initializer or a layer with every seed in it moved on by the tower's number."""

    def moved(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: moved(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [moved(each) for each in value]
        return value + tower if key == "seed" and isinstance(value, int) else value

    return type(original).from_config(moved({**original.get_config(), **changes}))


FEW_CHANNELS = 16  # in bfloat16 processors multiply 32 at a time


def in_blocks(images: Tensor, kernel: Tensor, size: int, after: int = 0) -> tuple[Tensor, Tensor]:
    """Return images and kernels whose convolution of stride 1 is that of stride `size` of the originals.

    Every block of size x size pixels becomes one pixel with size^2 as many channels. Kernels are filled up with
    zeros to whole blocks, images to the number of blocks that the last kernel reaches; pixels beyond are cut off.

    Args:
        images: `(batch, height, width, channels)`.
        kernel: `(side, side, channels, filters)`.
        size: The stride.
        after: Zeros below and to the right of the images, pixels.
    """
    side, _, channels, filters = kernel.shape
    across = -(-side // size)
    kernel = ops.pad(kernel, [(0, across * size - side)] * 2 + [(0, 0)] * 2)
    kernel = ops.reshape(kernel, (across, size, across, size, channels, filters))
    kernel = ops.reshape(ops.transpose(kernel, (0, 2, 1, 3, 4, 5)), (across, across, size * size * channels, filters))
    blocks = [(length + after - side) // size + across for length in images.shape[1:3]]
    images = images[:, : blocks[0] * size, : blocks[1] * size]
    missing = [count * size - length for count, length in zip(blocks, images.shape[1:3], strict=True)]
    images = ops.pad(images, [(0, 0), *((0, count) for count in missing), (0, 0)])
    images = ops.reshape(images, (-1, blocks[0], size, blocks[1], size, channels))
    images = ops.transpose(images, (0, 1, 3, 2, 4, 5))
    return ops.reshape(images, (-1, *blocks, size * size * channels)), kernel


@keras.saving.register_keras_serializable(package="alexnet_keras")
class TowerConv2D(TowerLayer):
    """A convolution in every tower, reading its own tower's maps or those of all towers.

    With `reads="own"` this is grouped convolution, one group per tower; it is computed as one ordinary convolution
    per tower, which on processors is several times faster than a framework's grouped one.

    Args:
        filters: Number of kernels per tower.
        kernel_size: Side of a kernel, pixels.
        strides: Pixels.
        padding: `(before, after)`: zeros added above and left, below and right. Net 145's conv1 is `(0, 3)`:
            cuda-convnet lets the last window reach past the image, (224 + 3 - 11) / 4 + 1 = 55.
        **kwargs: `towers`, `reads`, `kernel_initializer` and `bias_initializer` of `TowerLayer`.

    Input shape: a list with one `(batch, height, width, maps)` per tower, or one such tensor that all read.
    Output shape: a list with one `(batch, new_height, new_width, filters)` per tower.

    Raises:
        ValueError: There is no such `reads`, or with `"own"` not one input per tower, all of so many channels; a number
            is not whole or too small; the maps are smaller than a kernel; or the dtype policy quantizes.

    Reference: paper, section 3.2 and figure 2; net 145, layers conv1 to conv5.
    """

    def __init__(
        self, filters: int, kernel_size: int, strides: int = 1, padding: tuple[int, int] = (0, 0), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size = whole_number("filters", filters), whole_number("kernel_size", kernel_size)
        self.strides = whole_number("strides", strides)
        if not isinstance(padding, list | tuple) or len(padding) != 2:
            raise ValueError(f"padding must be two numbers of pixels, (before, after). Received: padding={padding!r}")
        self.padding = tuple(whole_number("padding", pixels, least=0) for pixels in padding)

    def build(self, input_shape: Shape) -> None:
        self.compute_output_shape(input_shape)  # refuses maps that are too small
        side = self.kernel_size
        self.add_tower_weights((side, side, self.input_channels(input_shape), self.filters))

    def call(self, inputs: Tensor | list[Tensor]) -> list[Tensor]:
        return self.call_towers(inputs, self._convolve)

    def _convolve(self, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        before, after = self.padding
        if before == after == (self.kernel_size - 1) / 2 and self.strides == 1:
            maps = ops.conv(x, kernel, strides=1, padding="same", data_format=CHANNELS_LAST)
            return backend.add_bias(maps, bias)
        strides = self.strides
        few = x.shape[-1] < FEW_CHANNELS and keras.backend.standardize_dtype(x.dtype) == "bfloat16"
        blocks = few and strides > 1 and None not in x.shape[1:3]
        margin = 0 if blocks else after  # in blocks images are padded once, to whole blocks
        if before or margin:
            x = ops.pad(x, [(0, 0), (before, margin), (before, margin), (0, 0)])
        if blocks:
            x, kernel = in_blocks(x, kernel, strides, after)
            strides = 1
        return backend.add_bias(ops.conv(x, kernel, strides, "valid", data_format=CHANNELS_LAST), bias)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, _ = input_shape if is_one_shape(input_shape) else input_shape[0]

        def side(length: int | None) -> int | None:
            if length is None:
                return None
            if length + sum(self.padding) < self.kernel_size:
                raise ValueError(
                    f"{self.name}: kernels of {self.kernel_size} pixels do not fit into the maps. Received: "
                    f"input_shape={input_shape}"
                )
            return (length + sum(self.padding) - self.kernel_size) // self.strides + 1

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
        units: Number of neurons per tower.
        **kwargs: `towers`, `reads`, `kernel_initializer` and `bias_initializer` of `TowerLayer`.

    Input shape: a list with one `(batch, features)` per tower, or one such tensor that all read.
    Output shape: a list with one `(batch, units)` per tower.

    Raises:
        ValueError: As `TowerConv2D`.

    Reference: paper, figure 2; net 145, layers fc6 to fc8 (fc8 is on the first device alone: `towers=1`).
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = whole_number("units", units)

    def build(self, input_shape: Shape) -> None:
        self.add_tower_weights((self.input_channels(input_shape), self.units))

    def call(self, inputs: Tensor | list[Tensor]) -> list[Tensor]:
        return self.call_towers(inputs, lambda x, kernel, bias: ops.matmul(x, kernel) + bias)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        *before, _ = input_shape if is_one_shape(input_shape) else input_shape[0]
        return [(*before, self.units)] * self.towers

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="alexnet_keras")
class EachTower(keras.layers.Layer):
    """An ordinary layer applied to each tower's tensor, on that tower's device.

    Every tower has its own copy of the layer (its own weights and random numbers, where it has any), named after
    the layer and the tower: `pool1_a`, `pool1_b`. A seed s in the layer, or in an initializer of it, is s + i in tower
    i.

    Args:
        layer: A Keras layer from one tensor to one tensor, not yet built.

    Input shape: a list with one tensor per tower. Output shape: the same, with the layer's output shapes.

    Raises:
        ValueError: The input is no list.
    """

    def __init__(self, layer: keras.layers.Layer, name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        # with another dtype than the layer's, every tensor would be cast on the way in and back again
        super().__init__(name=name or layer.name, dtype=dtype or layer.dtype_policy, **kwargs)
        self.layer = left_as_it_is(layer)
        self._devices = backend.current_devices()
        self.copies: list[keras.layers.Layer] = []

    def build(self, input_shape: Shape) -> None:
        self._check_towers(input_shape)
        for tower, shape in enumerate(input_shape):
            letter = tower_letter(tower)
            with backend.scope(self._devices, tower):
                copy = left_as_it_is(_for_tower(self.layer, tower, name=f"{self.name}_{letter}"))
                if getattr(copy, "activation", None) is keras.activations.relu:
                    copy.activation = relu  # the same, faster; in a saved model it is Keras's
                copy.build(shape)
            self.copies.append(copy)
            setattr(self, f"copy_{letter}", copy)  # tf.train.Checkpoint does not look into lists

    def call(self, inputs: list[Tensor], training: bool | None = None) -> list[Tensor]:
        return [
            backend.run(self._devices, tower, _in_mode(copy, training), [x])
            for tower, (copy, x) in enumerate(zip(self.copies, inputs, strict=True))
        ]

    def _check_towers(self, input_shape: Shape) -> None:
        if is_one_shape(input_shape):
            raise ValueError(
                f"{self.name} takes a list with one tensor per tower. Received: one of shape {tuple(input_shape)}"
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self._check_towers(input_shape)
        return [self.layer.compute_output_shape(shape) for shape in input_shape]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})


@keras.saving.register_keras_serializable(package="alexnet_keras")
class AcrossTowers(EachTower):
    """An ordinary layer applied to the tensors of all towers joined along the last axis, its output parted again.

    Args:
        layer: A Keras layer without weights that keeps the number of maps.

    Input shape: a list with one tensor per tower. Output shape: the same, with the layer's output shapes.

    Reference: the normalisation of Caffe's AlexNet, whose windows reach over the groups of the convolution before it.
    """

    def build(self, input_shape: Shape) -> None:
        self._check_towers(input_shape)
        joined = (*input_shape[0][:-1], sum(shape[-1] for shape in input_shape))
        self.copy_all = left_as_it_is(_for_tower(self.layer, 0, name=f"{self.name}_all"))
        self.copy_all.build(joined)
        self.copies = [self.copy_all]

    def call(self, inputs: list[Tensor], training: bool | None = None) -> list[Tensor]:
        apply, towers = _in_mode(self.copy_all, training), len(inputs)

        def parts(*tensors: Tensor) -> list[Tensor]:
            return ops.split(apply(ops.concatenate(tensors, axis=-1)), towers, axis=-1)

        if towers == 1:
            return [apply(inputs[0])]
        if self._devices is None:
            return parts(*inputs)
        # each device computes the whole: what crosses is then as little as where a convolution reads all towers
        copies = [backend.share(self._devices[tower], x, towers) for tower, x in enumerate(inputs)]
        return [
            backend.run(self._devices, tower, lambda *xs, tower=tower: parts(*xs)[tower], read)
            for tower, read in enumerate(zip(*copies, strict=True))
        ]


def _in_mode(layer: keras.layers.Layer, training: bool | None) -> Callable:
    """Return a layer as a function of its input alone, in training or not."""
    extra = {"training": training} if layer._call_has_training_arg else {}
    return lambda x: layer(x, **extra)


def left_as_it_is(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return the layer itself, made to be passed over by `keras.Model.quantize`: saved, it has to be what it was."""

    def quantize(mode: str | None = None, **kwargs: Any) -> None:
        if layer.weights:  # else there is nothing to quantize, which is no news
            raise NotImplementedError(f"{layer.name} stays as it is: a layer inside a tower has no {mode} form.")

    layer.quantize = quantize
    return layer


def tower_letter(tower: int) -> str:
    """Return a for tower 0, b for tower 1, ..."""
    return chr(ord("a") + tower)
