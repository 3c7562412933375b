"""Random numbers that belong to the example, not to the device that happens to compute it."""

from collections.abc import Callable

import keras
from keras import ops


def for_examples(draw: Callable, batch_size):
    """`draw(rows)`, one row an example, so that splitting a batch over replicas changes no example's numbers.

    In a replica of a TensorFlow distribution strategy the rows of the whole batch are drawn and the replica's own
    are kept; all replicas have equally many.
    """
    if keras.backend.backend() != "tensorflow":
        return draw(batch_size)
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    replicas = replica.num_replicas_in_sync if replica else 1
    if replicas == 1:
        return draw(batch_size)
    start = ops.cast(replica.replica_id_in_sync_group, "int32") * batch_size
    return tf.slice(
        rows := draw(replicas * batch_size),
        [start] + [0] * (len(rows.shape) - 1),
        [batch_size, *rows.shape[1:]],
    )
