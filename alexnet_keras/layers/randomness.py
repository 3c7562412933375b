"""Random numbers that belong to the example, not to the device that happens to compute it."""

from collections.abc import Callable

from keras import ops

from alexnet_keras.backend import Tensor, replica


def for_examples(draw: Callable, batch_size: int | Tensor) -> Tensor:
    """`draw(rows)`, one row an example, so that splitting a batch over replicas changes no example's numbers.

    In a replica of a TensorFlow distribution strategy the rows of the whole batch are drawn and the replica's own
    are kept; all replicas have equally many.
    """
    index, replicas = replica()
    if replicas == 1:
        return draw(batch_size)
    rows = draw(replicas * batch_size)
    start = ops.cast(index, "int32") * batch_size
    return ops.slice(rows, [start] + [0] * (len(rows.shape) - 1), [batch_size, *rows.shape[1:]])
