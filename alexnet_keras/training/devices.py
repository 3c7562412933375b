"""The devices of a run: one device, explicitly placed towers, mirrored replicas, or the workers of a cluster."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tensorflow as tf

from alexnet_keras.backend import tower_devices, use_gpus
from alexnet_keras.errors import UsageError
from alexnet_keras.training import STRATEGIES
from alexnet_keras.training.cluster import ALONE, Cluster


@dataclass(frozen=True)
class Placement:
    """The devices of a run and how they share the work.

    Attributes:
        kind: One of `training.STRATEGIES`.
        devices: This process's, such as "/GPU:0" or "/CPU:1".
        warning: One sentence if the machine lacks GPUs that were asked for, else "".
        cluster: The processes of the run; this one alone unless kind is "multi-worker".
    """

    kind: str
    devices: tuple[str, ...]
    warning: str = ""
    cluster: Cluster = ALONE

    @property
    def on_gpus(self) -> bool:
        """True if this process computes on GPUs."""
        return "GPU" in self.devices[0]

    @cached_property
    def strategy(self) -> tf.distribute.Strategy:
        """The distribution strategy to run steps under; for one device and towers it is TensorFlow's default."""
        match self.kind:
            case "mirrored":
                # TensorFlow's collectives on logical CPU devices fail in a second model.
                on_cpu = any("CPU" in device for device in self.devices)
                reduction = tf.distribute.ReductionToOneDevice() if on_cpu else None
                return tf.distribute.MirroredStrategy(list(self.devices), reduction)
            case "multi-worker":
                return self.cluster.strategy
            case _:
                return tf.distribute.get_strategy()

    @property
    def replicas(self) -> int:
        """Copies of the network that share a batch, over all processes."""
        return self.strategy.num_replicas_in_sync

    def feed(self, dataset: Callable[[], tf.data.Dataset]) -> Any:
        """Return the batches of a training, uint8, in the memory of the device that needs them before it does.

        Args:
            dataset: Makes the batches of this process; for several replicas, their pieces in turn.
        """
        if self.replicas > 1:
            # One dataset a process, whose elements go to its replicas in turn, by the strategy's own prefetching.
            return self.strategy.distribute_datasets_from_function(lambda context: dataset())
        return copied_ahead(dataset(), self.devices[0]) if self.on_gpus else dataset()

    def scope(self) -> AbstractContextManager:
        """The scope in which the model and the optimizer are made."""
        if self.kind == "towers":
            return tower_devices(*self.devices)
        return self.strategy.scope() if self.replicas > 1 else nullcontext()


def choose_placement(
    kind: str | None, gpus: int | None, *, towers: int, strict: bool, cluster: Cluster = ALONE
) -> Placement:
    """Choose the devices of `--strategy kind --gpus gpus`, and make them, before TensorFlow has used a device.

    TensorFlow sees the GPUs of the placement and no others, and takes their memory as it needs it. On a machine with
    fewer GPUs than asked for the same arithmetic runs on logical CPU devices.

    Args:
        kind: One of `training.STRATEGIES`; None lets the number of GPUs decide.
        gpus: The number of GPUs; None for one if there is one.
        towers: The number of towers of the recipe's network.
        strict: Raise if GPUs are missing; unless `gpus` is 0, also if there is none.
        cluster: The workers of the strategy multi-worker; each uses all GPUs of its machine.

    Raises:
        UsageError: The options contradict each other or the network, GPUs are missing and `strict` is set, or
            TensorFlow has made its devices without those that are asked for.
    """
    placement = plan_placement(kind, gpus, towers=towers, present=gpus_present(), cluster=cluster)
    if strict and (placement.warning or (gpus != 0 and not placement.on_gpus)):
        lack = placement.warning.partition(";")[0] or "this machine has no GPU"
        raise UsageError(f"{lack[0].upper()}{lack[1:]}, and --strict-devices was given.")
    # none for logical CPU devices: TensorFlow would use one for what is placed nowhere
    use_gpus(len(placement.devices) if placement.on_gpus else 0)
    if not placement.on_gpus and len(placement.devices) > 1:
        _make_logical_cpus(len(placement.devices))
    return placement


def check_batch(batch_size: int, replicas: int) -> None:
    """Refuse a batch that replicas cannot share equally.

    Raises:
        UsageError: The message says which batch they can.
    """
    if batch_size % replicas:
        smaller = batch_size - batch_size % replicas
        remedy = f"take --batch-size {smaller}" if smaller else "take fewer devices"
        raise UsageError(f"A batch of {batch_size} cannot be shared equally by {replicas} replicas: {remedy}.")


def copied_ahead(dataset: tf.data.Dataset, device: str) -> tf.data.Dataset:
    """Return a dataset whose elements are in the memory of a device, two of them before they are asked for."""
    return dataset.apply(tf.data.experimental.prefetch_to_device(device, buffer_size=2))


def gpus_present() -> int:
    """Return the number of GPUs that TensorFlow sees on this machine."""
    return len(tf.config.get_visible_devices("GPU"))


def plan_placement(
    kind: str | None, gpus: int | None, *, towers: int, present: int, cluster: Cluster = ALONE
) -> Placement:
    """Return the placement that `choose_placement` makes on a machine with `present` GPUs; no device is made here.

    Without a kind: one device for one GPU or none, the paper's towers for two GPUs, mirrored for more.

    Raises:
        UsageError: The options contradict each other or the network.
    """
    if kind not in (None, *STRATEGIES):
        raise UsageError(f"There is no strategy {kind!r}: choose {', '.join(STRATEGIES)}.")
    if not cluster.is_alone:
        if gpus is not None and gpus != present:
            raise UsageError(
                f"--strategy multi-worker uses every GPU of each machine, and this one has {_count(present, 'GPU')}: "
                "leave --gpus out (CUDA_VISIBLE_DEVICES hides some)."
            )
        return Placement("multi-worker", _devices("GPU", present) or ("/CPU:0",), cluster=cluster)
    if gpus is None:
        gpus = {"towers": towers, "mirrored": max(2, present)}.get(kind or "", min(1, present))
    kind = kind or {0: "one", 1: "one", 2: "towers" if towers == 2 else "mirrored"}.get(gpus, "mirrored")
    if kind == "one" and gpus > 1:
        raise UsageError(f"--strategy one uses one device, not {gpus}: choose --strategy towers or mirrored.")
    if kind == "towers" and (gpus != towers or towers < 2):
        raise UsageError(
            f"--strategy towers puts each of the recipe's {towers} towers on a device of its own: --gpus {towers}"
            + (", which takes a recipe with two towers." if towers < 2 else f", not {gpus}.")
        )
    if kind == "mirrored" and gpus < 2:
        raise UsageError("--strategy mirrored needs --gpus 2 or more.")
    if gpus <= present:
        return Placement(kind, _devices("GPU", gpus) or ("/CPU:0",))
    warning = f"this machine has {_count(present, 'GPU')}, not {gpus}; "
    if gpus == 1:
        return Placement("one", ("/CPU:0",), f"{warning}training on the processor.")
    same = f"the same arithmetic runs on {gpus} logical CPU devices."
    return Placement(kind, _devices("CPU", gpus), warning + same)


def _devices(kind: str, count: int) -> tuple[str, ...]:
    return tuple(f"/{kind}:{index}" for index in range(count))


def _count(number: int, thing: str) -> str:
    return f"{number or 'no'} {thing}{'s' if number > 1 else ''}"


def _make_logical_cpus(count: int) -> None:
    processor = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:  # TensorFlow has made its devices; there may be enough of them
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise UsageError(
                f"{count} logical CPU devices must be made before a process first uses TensorFlow."
            ) from error
