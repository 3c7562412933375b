"""Which devices a process takes, and how batches get there."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from alexnet_keras.backend import tensor_float_32, use_gpus
from alexnet_keras.errors import UsageError
from alexnet_keras.training.devices import Placement, choose_placement, copied_ahead

MIRRORED = Placement("mirrored", ("/CPU:0", "/CPU:1"))


@pytest.fixture
def machine(monkeypatch):
    """A machine with eight GPUs, of which TensorFlow keeps which are visible and whose memory grows."""
    gpus = [SimpleNamespace(name=f"/physical_device:GPU:{index}", device_type="GPU") for index in range(8)]
    found = SimpleNamespace(visible=gpus, growing=[], made=False)

    def show(devices, kind):
        assert kind == "GPU"
        if found.made and devices != found.visible:
            raise RuntimeError("Visible devices cannot be modified after being initialized")
        found.visible = devices

    def grow(gpu, enable):
        assert enable and not found.made
        found.growing.append(gpu.name[-1])

    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: list(found.visible))
    monkeypatch.setattr(tf.config, "set_visible_devices", show)
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", grow)
    found.names = lambda: [gpu.name[-1] for gpu in found.visible]
    return found


@pytest.mark.parametrize(
    ("kind", "gpus", "expected"),
    [(None, None, "0"), ("one", 1, "0"), (None, 2, "01"), ("mirrored", 3, "012"), (None, 0, ""), (None, 8, "01234567")],
)
def test_only_the_gpus_asked_for_are_taken_and_their_memory_as_it_is_needed(machine, kind, gpus, expected):
    placement = choose_placement(kind, gpus, towers=2, strict=True)
    assert machine.names() == machine.growing == list(expected)
    assert placement.on_gpus == bool(expected) and len(placement.devices) == max(1, len(expected))


def test_gpus_that_the_program_has_hidden_stay_hidden(machine):
    machine.visible = machine.visible[5:7]
    choose_placement("one", 1, towers=2, strict=True)
    assert machine.names() == ["5"]
    assert "has 1 GPU, not 2" in choose_placement("mirrored", 2, towers=2, strict=False).warning


def test_a_process_that_has_computed_keeps_its_gpus(machine, monkeypatch):
    use_gpus(2)
    machine.made = True
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, enable: None)  # as before: accepted
    use_gpus(1)
    use_gpus(2)
    assert machine.names() == ["0", "1"]
    with pytest.raises(UsageError, match="with 2 GPUs in this process"):
        use_gpus(0)


def test_limits_of_memory_that_a_program_has_set_stay(machine, monkeypatch):
    def limited(gpu, enable):
        raise ValueError("Cannot set memory growth on device when virtual devices configured")

    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", limited)
    use_gpus(1)
    assert machine.names() == ["0"]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_as_it_was_after_its_scope(before, allowed):
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    with tensor_float_32(before):
        with pytest.raises(LookupError), tensor_float_32(allowed):
            assert enabled() is allowed
            raise LookupError
        assert enabled() is before
    assert enabled()


def counted(rows):
    """A dataset of uint8 images and labels in pieces of 4, and the list of the numbers that were read."""
    read = []

    def note(number):
        read.append(int(number))
        return np.full((6, 6, 3), number, np.uint8)

    def image(number):
        pixels = tf.ensure_shape(tf.numpy_function(note, [number], tf.uint8), (6, 6, 3))
        return pixels, number

    return tf.data.Dataset.range(rows).map(image).batch(4, drop_remainder=True), read


def test_batches_are_in_the_memory_of_the_device_as_bytes():
    dataset, _ = counted(12)
    found = list(copied_ahead(dataset, "/CPU:1"))
    assert [tensor.device[-5:] for pair in found for tensor in pair] == ["CPU:1"] * 6
    assert all(images.dtype == tf.uint8 for images, _ in found)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in found]), np.arange(12))


def test_batches_are_copied_ahead_on_gpus_alone(monkeypatch):
    monkeypatch.setattr("alexnet_keras.training.devices.copied_ahead", lambda dataset, device: (dataset, device))
    for kind, devices in (("one", ("/GPU:0",)), ("towers", ("/GPU:0", "/GPU:1"))):
        assert Placement(kind, devices).feed(lambda: "batches") == ("batches", "/GPU:0")
    assert Placement("one", ("/CPU:0",)).feed(lambda: "batches") == "batches"


def test_replicas_get_their_pieces_in_turn_and_nothing_is_read_twice():
    made = []

    def pieces():
        dataset, read = counted(16)
        made.append(read)
        return dataset

    batches = list(MIRRORED.feed(pieces))
    assert len(batches) == 2
    for number, (images, labels) in enumerate(batches):
        own = MIRRORED.strategy.experimental_local_results(labels)
        assert [each.numpy().tolist() for each in own] == [
            list(range(8 * number + first, 8 * number + first + 4)) for first in (0, 4)
        ]
        images = MIRRORED.strategy.experimental_local_results(images)
        assert [(each.dtype, each.device[-5:]) for each in images] == [(tf.uint8, "CPU:0"), (tf.uint8, "CPU:1")]
    (read,) = made
    assert sorted(read) == list(range(16))
