"""An ordinary layer over the kernel maps of all towers, side by side."""

import keras
from keras import ops

from alexnet_keras.backend import Shape, Tensor
from alexnet_keras.layers import placement
from alexnet_keras.layers.each_tower import EachTower, left_as_it_is


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
        read = [placement.share(self._devices, tower, x, towers) for tower, x in enumerate(inputs)]
        return [
            placement.run(self._devices, tower, lambda *xs, tower=tower: part(tower, *xs), [x[tower] for x in read])
            for tower in range(towers)
        ]
