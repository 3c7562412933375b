"""A training run from its first epoch, or its last saved one, to its end."""

import csv
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.data.pipeline import iterate, steps_per_epoch, training_batches
from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.errors import AlexNetError, DataError, DivergedError, UsageError
from alexnet_keras.evaluation.errors import Predictor, evaluate
from alexnet_keras.files import write_by_rename
from alexnet_keras.layers import ColorNoise
from alexnet_keras.model import AlexNet
from alexnet_keras.recipes import Recipe
from alexnet_keras.runs import Run
from alexnet_keras.training.checkpoint import load_state, save_state
from alexnet_keras.training.devices import Placement
from alexnet_keras.training.optimizer import AlexNetSGD
from alexnet_keras.training.schedule import plan_epoch
from alexnet_keras.training.step import make_training_step


class Observer(Protocol):
    """Whoever watches a run: the command line's progress display, or a test."""

    def on_epoch_begin(self, epoch: int, steps: int) -> None: ...
    def on_step(self, epoch: int, step: int, loss: float, images: int) -> None: ...
    def on_epoch_end(self, row: dict[str, float]) -> None: ...


@dataclass
class Trainer:
    """Trains one run. `fit` returns the history: one row an epoch, as in history.csv.

    Raises, from `fit`:
        DivergedError: the loss left the finite numbers; the run keeps its last good epoch.
        DataError: the state to resume from is damaged, or the dataset is too small.
    """

    run: Run
    data: PreparedDataset
    placement: Placement
    seed: int
    precision: str
    observer: Observer
    recipe: Recipe = field(init=False)

    def __post_init__(self) -> None:
        self.recipe = self.run.recipe
        self.steps = steps_per_epoch(self.data.examples("train"), self.recipe.training.batch_size)
        replicas = self.placement.strategy.num_replicas_in_sync
        if self.recipe.training.batch_size % replicas:
            raise UsageError(
                f"A batch of {self.recipe.training.batch_size} cannot be shared equally by {replicas} replicas."
            )
        if "val" not in self.data.splits:
            raise DataError(f"The dataset {self.data.path} has no val split to measure the error on.")

    def fit(self, resume: bool = False) -> list[dict[str, float]]:
        try:
            history = self._fit(resume)
        except KeyboardInterrupt:
            self.run.update({"status": "interrupted"})
            raise
        except DivergedError:
            self.run.update({"status": "diverged"})
            raise
        self.run.update({"status": "finished"})
        return history

    def _fit(self, resume: bool) -> list[dict[str, float]]:
        training = self.recipe.training
        with self.placement.scope():
            model = self._new_model()
            optimizer = AlexNetSGD(
                training.weight_rate,
                training.bias_rate,
                training.momentum,
                training.weight_decay,
                training.bias_decay,
                layers=("conv1",),
            )
            optimizer.build(model.trainable_variables)
        history = self._restore(model, optimizer) if resume else []
        events = tf.summary.create_file_writer(str(self.run.events_path))
        step = make_training_step(model, optimizer, self.placement.strategy, self.seed)
        predictor = Predictor(model)
        noise_on = True
        for epoch in range(len(history), training.epochs):
            plan = plan_epoch(training, epoch, [row["val_top1_error"] for row in history])
            if plan.stop:
                break
            optimizer.set_rates(plan.rates)
            if plan.color_noise != noise_on:
                noise_on = plan.color_noise
                _switch_color_noise(model, noise_on)
                step = make_training_step(model, optimizer, self.placement.strategy, self.seed)
            row = self._train_epoch(step, epoch, events)
            validation = evaluate(predictor, self.data, "val")
            row |= {
                "val_loss": validation.loss,
                "val_top1_error": validation.top1.error,
                "val_top5_error": validation.top5.error,
                **{f"rate_{kind}": rate for kind, rate in plan.rates.items()},
            }
            best = not history or row["val_top1_error"] < min(r["val_top1_error"] for r in history)
            history.append(row)
            self._save(model, optimizer, history, best, events)
            self.observer.on_epoch_end(row)
        with write_by_rename(self.run.last_model_path) as path:
            model.save(path)
        return history

    def _new_model(self) -> keras.Model:
        statistics = self.data.statistics
        return AlexNet(
            self.recipe,
            classes=len(self.data.classes),
            mean_image=statistics.mean_image,
            color_stds=statistics.standard_deviations,
            color_vectors=statistics.eigenvectors,
            seed=self.seed,
            dtype=self.precision,
        )

    def _restore(self, model: keras.Model, optimizer: AlexNetSGD) -> list[dict[str, float]]:
        """Weights, velocities and history as of the last saved epoch."""
        position = load_state(self.run.state_path, model, optimizer)
        history = position["history"]
        self.run.write_history(history)
        _keep_lines(self.run.steps_path, 1 + len(history) * self.steps)
        return history

    def _train_epoch(self, step: Any, epoch: int, events: Any) -> dict[str, float]:
        training = self.recipe.training
        batches = training_batches(
            self.data,
            self.recipe.augmentation,
            batch_size=training.batch_size,
            crop_size=self.recipe.network.input_size,
            seed=self.seed,
            epoch=epoch,
        )
        if self.placement.strategy.num_replicas_in_sync > 1:
            batches = self.placement.strategy.experimental_distribute_dataset(batches)
        self.observer.on_epoch_begin(epoch, self.steps)
        losses, wrongs = [], []
        start = time.monotonic()
        new = not self.run.steps_path.exists()
        with self.run.steps_path.open("a", encoding="utf-8", newline="") as file, events.as_default():
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "epoch", "loss", "top1_error"])
            for index, (images, labels) in enumerate(iterate(self.data, batches)):
                number = epoch * self.steps + index
                try:
                    loss, wrong = (float(x) for x in step(images, labels, tf.constant(number, tf.int64)))
                except tf.errors.ResourceExhaustedError as error:
                    raise AlexNetError(
                        f"A batch of {training.batch_size} images does not fit into memory: train with a smaller "
                        "--batch-size, on more devices, or with --precision mixed_bfloat16."
                    ) from error
                if not np.isfinite(loss):
                    raise DivergedError(
                        f"The loss became {loss} in step {number} (epoch {epoch + 1}): the learning rate of "
                        f"{training.weight_rate} is too high for this data. The run {self.run.path} keeps what "
                        "earlier epochs reached; try --set training.weight_rate with a smaller value."
                    )
                losses.append(loss)
                wrongs.append(wrong)
                writer.writerow([number, epoch, repr(loss), repr(wrong)])
                tf.summary.scalar("step/loss", loss, number)
                self.observer.on_step(epoch, index, loss, training.batch_size)
        seconds = time.monotonic() - start
        return {
            "epoch": epoch,
            "seconds": round(seconds, 3),
            "images_per_second": round(self.steps * training.batch_size / seconds, 2),
            "loss": float(np.mean(losses)),
            "top1_error": float(np.mean(wrongs)),
        }

    def _save(self, model, optimizer, history, best: bool, events) -> None:
        """After an epoch: the best model if it is, then the state, then the history that people read."""
        row = history[-1]
        if best:
            with write_by_rename(self.run.model_path) as path:
                model.save(path)
        save_state(self.run.state_path, model, optimizer, {"history": history})
        self.run.write_history(history)
        if best:
            self.run.update({"best": {"epoch": row["epoch"], "val_top1_error": row["val_top1_error"]}})
        with events.as_default():
            for name, value in row.items():
                tf.summary.scalar(f"epoch/{name}", value, row["epoch"])
        events.flush()


def _switch_color_noise(model: keras.Model, on: bool) -> None:
    for layer in model.layers:
        if isinstance(layer, ColorNoise):
            layer.active = on


def _keep_lines(path, count: int) -> None:
    """Cuts what an interrupted epoch wrote off the end of a file of lines."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        with write_by_rename(path) as unfinished:
            unfinished.write_text("".join(lines[:count]), encoding="utf-8")
