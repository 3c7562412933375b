"""Requests to stop (Ctrl-C, SIGTERM, SIGHUP), divergence, a stalled start, and too little memory."""

import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy import stats

from alexnet_keras.errors import AlexNetError, DivergedError
from alexnet_keras.layers.towers import tower_letter
from alexnet_keras.network.summary import weights_not_finite

STOPPING = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]  # Windows has none


class StopSignals:
    """Requests to stop: inside `with StopSignals() as signals`, SIGINT, SIGTERM and SIGHUP set `signals.requested`.

    A second signal raises KeyboardInterrupt. A SIGHUP that is ignored, as under nohup, stays ignored. Outside the main
    thread, where Python delivers no signals, nothing is ever requested.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if number is signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


STALL_STEPS = 500  # steps after which the loss should have left that of guessing
STALL_LAST = 100  # steps before that whose mean loss is compared with it
STALL_WITHIN = 0.01  # of the loss of guessing


def where_not_finite(model: keras.Model, images: Any) -> str:
    """Name the first part of the network, in the order of the forward pass, with numbers that are not finite.

    Args:
        model: The model with the weights it had before the step.
        images: The images of the step, or one replica's share of them.
    """
    if path := weights_not_finite(model):
        return f"the weights {path}"
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    every_output = keras.Model(model.input, [layer.output for layer in layers])
    outputs = tf.function(lambda images: every_output(images, training=True), autograph=False)(images)
    for layer, output in zip(layers, outputs, strict=True):
        towers = output if isinstance(output, list | tuple) else [output]
        for tower, tensor in enumerate(towers):
            if not np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))).all():
                return f"the output of {layer.name}" + (f", tower {tower_letter(tower)}" if len(towers) > 1 else "")
    return "the loss itself"


def status_after(error: BaseException) -> str:
    """Return the status of a run that this error ended."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "diverged" if isinstance(error, DivergedError) else "failed"


def divergence(what: str, step: int, epoch: int, rate: float, saved: int | None) -> DivergedError:
    """Return the error of a run whose numbers are no longer finite.

    Args:
        what: The observation, up to the word "step".
        step, epoch: Step and epoch, counted from 0.
        rate: The learning rate of the weights.
        saved: The step of the last saved state, None if there is none.
    """
    kept = "had saved no state yet" if saved is None else f"keeps its state of step {saved}"
    return DivergedError(
        f"{what} step {step} (epoch {epoch + 1}): the learning rate of {rate:g} is too high for this data. The run "
        f"{kept}; start another with a smaller one, --set training.weight_rate=..."
    )


def too_large(batch_size: int, fitting: int | None) -> AlexNetError:
    """Return the error of a batch that does not fit into memory, with the number of images that was tried and fits."""
    advice = f"a batch of {fitting} does (tried): --batch-size {fitting}" if fitting else "try a smaller --batch-size"
    return AlexNetError(
        f"A batch of {batch_size} images does not fit into memory; {advice}, more devices, or --precision "
        "mixed_bfloat16."
    )


def loss_of_guessing(counts: Sequence[int], label_smoothing: float = 0.0) -> float:
    """Return the least loss of a network that finds the same in every image: the entropy of classes of these sizes.

    Args:
        counts: The number of images of each class, or what they count together in the loss.
        label_smoothing: The share of the target that is spread over all classes, 0..1.
    """
    shares = np.asarray(counts, np.float64) / np.sum(counts)
    return float(stats.entropy((1 - label_smoothing) * shares + label_smoothing / len(shares)))


def stalled(losses: list[float], chance: float) -> bool:
    """Return True if the mean of the last losses is within one per cent of `chance`, the loss of guessing."""
    return chance > 0 and abs(float(np.mean(losses[-STALL_LAST:])) - chance) < STALL_WITHIN * chance


def stall_advice(chance: float) -> str:
    """Return a sentence with the usual causes of a stalled start."""
    return (
        f"after {STALL_STEPS} steps the loss is still {chance:.3f}, that of guessing. Likely "
        "causes: initial weights too small for this data (the recipe `paper` on a small set: use `source`), a learning "
        "rate too low or so high that the ReLUs died (--set training.weight_rate), or labels that do not match "
        "the images (alexnet info data --sheet)."
    )


def batch_that_fits(rows: int, run: Callable[[int], None]) -> int | None:
    """Return the largest of rows / 2, rows / 4, ... with which `run` does not run out of memory; None if all do."""
    while rows := rows // 2:
        try:
            run(rows)
        except tf.errors.ResourceExhaustedError:
            continue
        return rows
    return None
