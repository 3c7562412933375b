"""Where a run computes: one device, two explicitly placed towers, or mirrored replicas."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import tensorflow as tf

from alexnet_keras.errors import UsageError
from alexnet_keras.layers.placement import tower_devices

STRATEGIES = ("one", "towers", "mirrored")


@dataclass(frozen=True)
class Placement:
    """The devices of a run and how they share the work."""

    kind: str  # one of STRATEGIES
    devices: tuple[str, ...]  # such as "/GPU:0" or "/CPU:1"
    warning: str = ""  # set where GPUs were asked for that the machine lacks

    @property
    def strategy(self) -> tf.distribute.Strategy:
        """The distribution strategy to run steps under; for one device and towers it is TensorFlow's default."""
        return self._mirrored if self.kind == "mirrored" else tf.distribute.get_strategy()

    def scope(self) -> AbstractContextManager:
        """The scope in which the model and the optimizer are made."""
        match self.kind:
            case "towers":
                return tower_devices(*self.devices)
            case "mirrored":
                return self._mirrored.scope()
            case _:
                return nullcontext()

    def __post_init__(self) -> None:
        mirrored = tf.distribute.MirroredStrategy(list(self.devices)) if self.kind == "mirrored" else None
        object.__setattr__(self, "_mirrored", mirrored)


def choose_placement(kind: str | None, gpus: int | None, *, towers: int, strict: bool) -> Placement:
    """The placement for `--strategy kind --gpus gpus`. Call it before TensorFlow has touched a device.

    Without a kind: one device for one GPU or none, the paper's towers for two GPUs, mirrored for more. A machine
    with fewer GPUs than asked for gets the same arithmetic on as many logical CPU devices, and a warning.

    Args:
        towers: how many towers the recipe's network has.
        strict: raise instead of warning.

    Raises:
        UsageError: the options contradict each other or the network, or GPUs are missing and `strict` is set.
    """
    present = len(tf.config.list_physical_devices("GPU"))
    if gpus is None:
        gpus = {"towers": towers, "mirrored": max(2, present)}.get(kind, min(1, present))
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
    if gpus == 0 or (gpus == 1 and present):
        return Placement("one", ("/GPU:0" if gpus else "/CPU:0",))
    if gpus <= present:
        return Placement(kind, tuple(f"/GPU:{index}" for index in range(gpus)))
    warning = f"this machine has {_count(present, 'GPU')}, not {gpus}"
    if strict:
        raise UsageError(f"{warning[0].upper()}{warning[1:]}, and --strict-devices was given.")
    if gpus == 1:
        return Placement("one", ("/CPU:0",), f"{warning}; training on the processor.")
    _make_logical_cpus(gpus)
    return Placement(
        kind,
        tuple(f"/CPU:{index}" for index in range(gpus)),
        f"{warning}; the same arithmetic runs on {gpus} logical CPU devices.",
    )


def _count(number: int, thing: str) -> str:
    return f"{number or 'no'} {thing}{'s' if number > 1 else ''}"


def _make_logical_cpus(count: int) -> None:
    processor = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:  # TensorFlow has made its devices; there may be enough of them
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise UsageError(
                f"{count} logical CPU devices must be made before TensorFlow is first used in a process."
            ) from error
