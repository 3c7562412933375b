"""The training loop: a run from its first step, or the last one that was saved, to its end."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, astuple, dataclass, field
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.pipeline import ORDER, WorkerPart, iterate, steps_per_epoch, training_batches
from alexnet_keras.errors import DataError, DivergedError, NotFiniteError, UsageError
from alexnet_keras.evaluation.errors import Tally
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.layers import ColorNoise
from alexnet_keras.network.summary import parameters_of, weights_not_finite
from alexnet_keras.recipes import toml
from alexnet_keras.recipes.edits import check_something_learns, frozen_layers
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.reporter import SILENT, Reporter
from alexnet_keras.runs import Run, best_epoch
from alexnet_keras.storage.places import command
from alexnet_keras.training import guards
from alexnet_keras.training.callbacks import Callbacks, checked, epoch_logs, step_logs, test_logs
from alexnet_keras.training.checkpoint import Position
from alexnet_keras.training.devices import Placement, check_batch
from alexnet_keras.training.guards import StopSignals
from alexnet_keras.training.keeper import Keeper
from alexnet_keras.training.losses import balanced_weights
from alexnet_keras.training.optimizer import LossScale
from alexnet_keras.training.records import layer_sizes
from alexnet_keras.training.schedule import EpochPlan, has_stalled, layer_rate_factors, plan_epoch
from alexnet_keras.training.start import LayerOrigin, initialize, new_model, new_network, restore, warn_of_untrained
from alexnet_keras.training.step import StepResult, TrainingStep


@dataclass
class Trainer:
    """Trains one run.

    Args:
        run: The directory that everything is written to; None in a worker that is not its cluster's chief.
        recipe: The network, the augmentation and the schedule.
        data: The dataset, with the splits train and val.
        placement: The devices.
        seed: The seed of weights, order, crops, noise and dropout.
        precision: A Keras dtype policy: float32, mixed_bfloat16 or mixed_float16.
        save_every: Steps between two saved states; None for one per epoch.
        initial: Copies the weights that the run starts from into its model; None for new weights.
        reporter: Receives warnings and the events of the training.
        callbacks: Keras callbacks that watch the training, and may stop it.

    Raises:
        UsageError: Every layer is frozen, `save_every` is below 1, or the replicas cannot share a batch equally.
        DataError: The dataset has no val split.
    """

    run: Run | None
    recipe: Recipe
    data: PreparedDataset
    placement: Placement
    _: KW_ONLY
    seed: int = 0
    precision: str = "float32"
    save_every: int | None = None
    initial: Callable[[keras.Model], list[LayerOrigin]] | None = None
    reporter: Reporter = SILENT
    callbacks: Sequence[keras.callbacks.Callback] = ()
    position: Position = field(init=False, default_factory=lambda: Position(order=ORDER))

    def __post_init__(self) -> None:
        check_something_learns(self.recipe.network)
        self.callbacks = checked(self.callbacks)
        if self.save_every is not None and self.save_every < 1:
            raise UsageError(f"save_every must be at least 1 step. Received: save_every={self.save_every}")
        batch_size = self.recipe.training.batch_size
        self.steps = steps_per_epoch(self.data.examples("train"), batch_size)
        check_batch(batch_size, self.placement.replicas)
        if "val" not in self.data.splits:
            raise DataError(f"The dataset {self.data.path} has no val split to measure the error on.")
        self.cluster = self.placement.cluster
        self.part = WorkerPart(self.cluster.index, len(self.cluster.workers))
        self.scale = LossScale()
        self.training_step: TrainingStep | None = None
        self.recent: list[float] = []  # losses, until the start is judged
        self._stopped = ""  # where a callback stopped the training
        self._begun = False  # True once run.json says that the run is trained

    def fit(self, resume: bool = False, restored: Callable[[int, bool], None] | None = None) -> list[dict[str, float]]:
        """Train to the end of the schedule.

        Args:
            resume: Continue from the last saved state, if there is one.
            restored: Called, by the chief alone, once the state was restored, with the steps trained before, and
                whether there is something left to train.

        Returns:
            The history: one row per epoch, as in history.csv.

        Raises:
            Exception: Whatever a callback raises; the state was saved.
            UsageError: Another process has trained the run beyond the recipe's epochs meanwhile.
            DivergedError: The loss became infinite or NaN; the run keeps its last good state.
            DataError: No saved state can be read, or the state belongs to another recipe; or an image cannot be read,
                and the state was saved.
            AlexNetError: A batch does not fit into memory; a worker died; another process trains the run, or moves it.
            KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; the state was saved.
        """
        if self.run is None:
            with self.cluster.reporting_lost_workers():
                return self._fit(resume, restored)
        with self.run.training_lock():
            self._begun = not resume  # what refuses a resumption leaves the run as it was
            try:
                with self.cluster.reporting_lost_workers():
                    history = self._fit(resume, restored)
            except BaseException as error:
                with contextlib.suppress(OSError):  # the error itself reports a full disk
                    if self._begun and self.run.is_there:
                        self.run.update({"status": guards.status_after(error), "ended": str(error)})
                raise
            status = "interrupted" if self.position.step else "finished"
            self.run.update({"status": status, "ended": self._stopped, "parameters": parameters_of(self.model)})
        return history

    def _fit(self, resume: bool, restored: Callable[[int, bool], None] | None) -> list[dict[str, float]]:
        with StopSignals() as self.signals:
            with self.placement.scope():
                self.model, self.optimizer = new_network(self.recipe, self.data, self.seed, self.precision)
                self.average: keras.Model | None = None  # the running average of the weights
                if self.recipe.training.averaging_epochs:
                    self.average = new_model(self.recipe, self.data, self.seed, self.precision)
                self.keeper = Keeper(
                    self.run, self.model, self.optimizer, self.average, self._state_owner(), self.reporter
                )
                self.watching = Callbacks(self.callbacks, self.model, self.optimizer, self.recipe, self.steps)
            resumed = resume and self._restore()
            if self.run:
                self._begun = True
                self.run.update({"status": "running", "ended": ""})
            if self.position.loss_scale:
                self.scale = LossScale(*self.position.loss_scale)
            self.reporter.on_train_begin(self.recipe, self.data.examples("val"), self.position)
            with contextlib.ExitStack() as ending:
                ending.callback(self.reporter.on_train_end)
                if not resumed:
                    self._start()
                ending.callback(self.keeper.close_records)
                self.keeper.open_records(self.position)
                mirrored = self.placement.strategy if self.placement.kind == "mirrored" else None
                self.predictor = Predictor(self.keeper.result, strategy=mirrored)
                self._tell("on_train_begin")
                if self.run and restored:
                    restored(self.position.total_steps, self._goes_on)
                self._epochs()
                self.keeper.keep_last(self.position)  # before a callback may give the model other weights
                self._tell("on_train_end")
        self.keeper.wait()
        position = self.position
        if self._stopped:
            self.reporter.note(self._stopped)
        elif has_stalled(self.recipe.training, self._errors):
            self.reporter.note(f"The training ends after epoch {position.epoch}: the validation error has stalled.")
        return position.history

    def _restore(self) -> bool:
        """Brings weights, velocities and position to the last saved state; False if none was saved."""
        folder, owner = self.run.states_path if self.run else None, self.keeper.owner
        position = restore(folder, self.model, self.optimizer, owner, self.cluster, self.average, self.reporter)
        if position is None:
            return False
        if position.epoch > self.recipe.training.epochs:  # another process has extended the run meanwhile
            raise UsageError(f"The run has trained {position.epoch} epochs meanwhile: resume it again.")
        self.position, self.keeper.saved = position, position.total_steps
        self.keeper.settle_best(position)
        return True

    def _start(self) -> None:
        """Takes the initial weights from another model where one is given."""
        origins = initialize(self.model, self.initial, self.cluster) if self.initial else []
        if self.average is not None:  # so that what is frozen is the same in both
            self.average.set_weights(self.model.get_weights())
        self.reporter.on_initial_weights(origins)
        warn_of_untrained(frozen_layers(self.recipe.network), origins, self.reporter)

    @property
    def _goes_on(self) -> bool:
        """True if there is something left to train or to validate."""
        training = self.recipe.training
        return self.position.epoch < training.epochs and not has_stalled(training, self._errors)

    @property
    def _errors(self) -> list[float]:
        """The validation top-1 error after each epoch so far."""
        return [row["val_top1_error"] for row in self.position.history]

    def _epochs(self) -> None:
        position, training = self.position, self.recipe.training
        while self._goes_on and not self._stopped:
            plan = plan_epoch(training, position.epoch, self._errors, layer_rate_factors(self.recipe.network))
            self._tell("on_epoch_begin", position.epoch)
            self._follow(plan)  # so that the schedule has the last word on the rates
            if position.step < self.steps:
                self._train_epoch(plan)
            if position.step < self.steps:  # a callback stopped it
                return
            self._check_finite()
            row = self._validate(plan)
            best = best_epoch([*position.history, row]) is row
            layers = layer_sizes(self.model, self.optimizer, position.epoch)
            position.history.append(row)
            position.epoch, position.step = position.epoch + 1, 0
            position.loss_sum = position.error_sum = position.seconds = 0.0
            self.cluster.check_same(keras.ops.convert_to_numpy(variable) for variable in self.model.weights)
            self.keeper.keep_epoch(position, best, layers)
            self._save()
            if best:
                self.keeper.settle_best(position)
            self.reporter.on_epoch_end(row, layers)
            self._tell("on_epoch_end", position.epoch - 1, logs=epoch_logs(row))
            if self.cluster.from_chief(lambda: self.watching.stop):
                self._stopped = f"A callback stopped the training after epoch {position.epoch}."

    def _state_owner(self) -> dict[str, Any]:
        """Recipe, seed, precision and classes: a state that differs in any of them belongs to another run."""
        return {
            "recipe": toml.to_dict(self.recipe),
            "seed": self.seed,
            "precision": self.precision,
            "classes": list(self.data.classes),
        }

    def _follow(self, plan: EpochPlan) -> None:
        """Sets the rates, and compiles a new step where the plan switches the colour noise or a layer's learning."""
        self.optimizer.set_rates(plan.rates)
        noises = [layer for layer in self.model.layers if isinstance(layer, ColorNoise)]
        kinds = zip(self.model.trainable_variables, self.optimizer.kinds, strict=True)
        coasting = {variable.path for variable, kind in kinds if plan.rates[kind] == 0}
        switched = any(noise.active != plan.color_noise for noise in noises)
        if self.training_step and not switched and self.training_step.coasting == coasting:
            return
        for noise in noises:
            noise.active = plan.color_noise
        training = self.recipe.training
        average: tuple[keras.Model, float] | None = None
        if self.average is not None:
            average = (self.average, max(0.0, 1 - 1 / (training.averaging_epochs * self.steps)))
        counts = self.data.class_counts("train")
        self.training_step = TrainingStep(
            self.model,
            self.optimizer,
            self.placement.strategy,
            seed=self.seed,
            batch_size=training.batch_size,
            scaled=self.precision == "mixed_float16",
            label_smoothing=training.label_smoothing,
            class_weights=balanced_weights(counts) if training.class_weights == "balanced" else None,
            average=average,
            frozen=frozen_layers(self.recipe.network),
            coasting=coasting,
        )

    def _batches(self) -> Any:
        """The batches that are left of the epoch."""
        local = self.placement.replicas // self.part.count
        dataset = partial(
            training_batches,
            self.data,
            self.recipe.augmentation,
            batch_size=self.recipe.training.batch_size,
            crop_size=self.recipe.network.input_size,
            seed=self.seed,
            epoch=self.position.epoch,
            first_step=self.position.step,
            part=self.part,
            replicas=local,
            order=self.position.order,
        )
        return self.placement.feed(dataset)

    def _saved_from(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches; if one cannot be read, the state is saved first: what was trained is sound."""
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except Exception:
                self._save_once()
                raise
            yield batch

    def _train_epoch(self, plan: EpochPlan) -> None:
        position = self.position
        self.reporter.on_epoch_begin(position.epoch, position.step, self.steps, plan.rates)
        start = time.monotonic()
        for images, labels in self._saved_from(iterate(self.data, self._batches())):
            self._tell("on_train_batch_begin", position.step)
            result = self._take_step(images, labels)
            self.keeper.record_step(position, result.loss, result.top1_error)
            position.step += 1
            position.total_steps += 1
            position.loss_sum += result.loss
            position.error_sum += result.top1_error
            position.seconds, start = position.seconds + time.monotonic() - start, time.monotonic()
            self.reporter.on_step(position.epoch, position.step - 1, result)
            self._tell("on_train_batch_end", position.step - 1, logs=step_logs(position))
            self._watch_start(result.loss)
            if result.stop or self._stops_alone:
                self._stop()
            if self.save_every and position.total_steps % self.save_every == 0:
                self._save()
            if self.watching.stop and self.cluster.is_alone and position.step < self.steps:
                self._save_once()
                self._stopped = f"A callback stopped the training {self._where}."
                return

    def _take_step(self, images: Any, labels: Any) -> StepResult:
        assert self.training_step is not None  # _follow made it
        scaled = self.training_step.scaled
        try:
            result = self.training_step(
                images,
                labels,
                self.position.total_steps,
                scale=self.scale.factor if scaled else 1.0,
                stop=self.signals.requested,
            )
        except tf.errors.ResourceExhaustedError as error:
            batch_size, fitting = self.recipe.training.batch_size, None
            if self.cluster.is_alone:  # another worker may have more memory
                fitting = guards.batch_that_fits(batch_size, self.training_step.try_batch)
            raise guards.too_large(batch_size, fitting) from error
        if scaled:
            self.scale = self.scale.after(result.updated)
            self.position.loss_scale = astuple(self.scale)
        if not np.isfinite(result.loss) or (scaled and self.scale.exhausted):
            own = self.placement.strategy.experimental_local_results(images)[0]
            where = guards.where_not_finite(self.model, own)
            what = "The gradients overflow at any loss scale"
            if not np.isfinite(result.loss):
                what = f"The loss became {result.loss}, first in {where},"
            raise self._diverged(f"{what} in")
        return result

    def _diverged(self, what: str) -> DivergedError:
        position, rate = self.position, self.optimizer.rates["weights"]
        return guards.divergence(what, position.total_steps, position.epoch, rate, self.keeper.saved)

    def _watch_start(self, loss: float) -> None:
        """Warns once if the loss is still that of guessing after the first steps."""
        position = self.position
        if position.stall_told or position.total_steps > guards.STALL_STEPS:
            return
        self.recent.append(loss)
        if position.total_steps < guards.STALL_STEPS:
            return
        training, counts = self.recipe.training, self.data.class_counts("train")
        if training.class_weights == "balanced":
            counts = [min(count, 1) for count in counts]  # a class without images counts nothing
        chance = guards.loss_of_guessing(counts, training.label_smoothing)
        if guards.stalled(self.recent, chance):
            position.stall_told = True
            self.reporter.warn(guards.stall_advice(chance))

    def _validate(self, plan: EpochPlan) -> dict[str, float]:
        """Measures the errors on the validation split; returns the row of the epoch for history.csv."""
        position, training = self.position, self.recipe.training

        def advance(n: int = 1, text: str = "") -> None:
            self.reporter.on_validation(n)
            if self._stops_alone:
                self._stop()

        def add_up(tally: Tally) -> Tally:
            images, loss, *misses = self.cluster.sum(np.array(astuple(tally), np.float64)).tolist()
            return Tally(int(images), loss, *map(int, misses))

        self._tell("on_test_begin")
        try:
            validation = self.predictor.evaluate(self.data, "val", advance, part=self.part, add_up=add_up)
        except NotFiniteError as error:
            raise self._diverged("The probabilities of validation images are no longer finite after") from error
        except Exception:
            self._save_once()
            raise
        row = {
            "epoch": position.epoch,
            "seconds": round(position.seconds, 3),
            "images_per_second": round(position.step * training.batch_size / max(position.seconds, 1e-9), 2),
            "loss": position.loss_sum / position.step,
            "top1_error": position.error_sum / position.step,
            "val_loss": validation.loss,
            "val_top1_error": validation.top1.error,
            "val_top5_error": validation.top5.error,
            **{f"rate_{kind}": rate for kind, rate in plan.rates.items()},
        }
        self._tell("on_test_end", logs=test_logs(row))
        return row

    def _check_finite(self) -> None:
        """Refuses weights that are not finite before anything is saved; ReLUs can hide them from the loss."""
        if path := weights_not_finite(self.model):
            raise self._diverged(f"The weights {path} are no longer finite after")

    def _save(self) -> None:
        self._check_finite()
        self.keeper.save(self.position)

    @property
    def _stops_alone(self) -> bool:
        """True if this process is to stop at once; a worker of a cluster asks the others with its next step."""
        return self.signals.requested and self.cluster.is_alone

    def _stop(self) -> None:
        """Saves the state and ends the run as Ctrl-C would."""
        self._save()
        self.keeper.wait()
        self.cluster.sum(np.float32(0))  # nobody leaves while the chief is still saving
        again = command("train", "--resume", self.run.called if self.run else "RUN")
        raise KeyboardInterrupt(f"Stopped {self._where}; the state is saved. Resume with: {again}")

    @property
    def _where(self) -> str:
        return f"after step {self.position.step} of {self.steps} of epoch {self.position.epoch + 1}"

    def _tell(self, event: str, *where: int, logs: dict[str, float] | None = None) -> None:
        """Calls the callbacks; what one of them raises ends the run, with its state saved."""
        try:
            self.watching.tell(event, *where, logs=logs)
        except Exception:
            self._save_once()
            raise

    def _save_once(self) -> None:
        """Saves the state unless it was saved after the last step."""
        if self.keeper.saved != self.position.total_steps:
            self._save()
        self.keeper.wait()
