"""The weights of a layer that stands in every tower, and what each tower reads."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
from keras import ops

from alexnet_keras.backend import Shape, Tensor
from alexnet_keras.layers import placement
from alexnet_keras.layers.each_tower import tower_letter


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
        self._devices = placement.current_devices()

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
            with placement.scope(self._devices, tower):
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
            copies = [placement.share(self._devices, source, x, readers) for source, x in enumerate(inputs)]
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

            with placement.scope(self._devices, tower):
                weights = [ops.convert_to_tensor(kernel), ops.convert_to_tensor(bias)]
            outputs.append(placement.run(self._devices, tower, apply, [*weights, *tensors]))
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
