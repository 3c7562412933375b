"""What a training leaves in its run: the records, the saved states, the best model and the last one."""

from typing import Any

import keras

from alexnet_keras.errors import AlexNetError
from alexnet_keras.reporter import Reporter
from alexnet_keras.runs import Run, best_epoch
from alexnet_keras.storage.files import Disk, replace, sha256_of, write_by_rename
from alexnet_keras.training.checkpoint import Position, save_state
from alexnet_keras.training.optimizer import AlexNetSGD
from alexnet_keras.training.records import LayerRow, Records


class Keeper:
    """Writes the files of one run, such that those of an epoch belong together whenever the process is killed.

    Args:
        run: The run; None in a worker that is not its cluster's chief, which writes nothing.
        model: The model that is trained.
        optimizer: Its optimizer, built.
        average: The running average of its weights, which is validated and kept instead of them; None without one.
        owner: Properties that a state must share with the run that resumes from it.
        reporter: Receives warnings of records and models that are not those that were written.

    Attributes:
        saved: The step of the last saved state; None before the first.
    """

    def __init__(
        self,
        run: Run | None,
        model: keras.Model,
        optimizer: AlexNetSGD,
        average: keras.Model | None,
        owner: dict[str, Any],
        reporter: Reporter,
    ) -> None:
        self.run, self.model, self.optimizer, self.average = run, model, optimizer, average
        self.owner, self.reporter = owner, reporter
        self.saved: int | None = None
        self._kept_epoch = False  # of those that this process trained
        self._records: Records | None = None
        self._disk = Disk()

    @property
    def result(self) -> keras.Model:
        """The model that is validated and kept: the running average of the weights where the recipe has one."""
        return self.model if self.average is None else self.average

    def open_records(self, position: Position) -> None:
        """Begin to write records from a position on."""
        if self.run:
            self._records = Records(self.run, position, self.model, self.reporter)

    def close_records(self) -> None:
        """Close the records, if they were opened."""
        if self._records:
            self._records.close()

    def record_step(self, position: Position, loss: float, top1_error: float) -> None:
        """Write the record of the step at a position."""
        if self._records:
            self._records.step(position.total_steps, position.epoch, loss, top1_error)

    def keep_epoch(self, position: Position, best: bool, layers: list[LayerRow]) -> None:
        """Write the records of a finished epoch, and its model if it is the best; its state has to be saved next.

        A new best model waits next to the states until the state that knows it is saved and `settle_best` moves it, so
        that model.keras, run.json and the state belong to the same epoch.

        Args:
            position: The position after the epoch, which gets the best model's checksum.
            best: The epoch is the best so far.
            layers: The sizes of weights and updates.
        """
        if not self.run:
            return
        self._check_there()
        self._kept_epoch = True
        if best:
            with write_by_rename(self.run.waiting_model_path) as path:
                self.result.save(path)
            position.best_sha256 = sha256_of(self.run.waiting_model_path)
        if self._records:
            self._records.epoch(position.history, layers, position.total_steps)

    def save(self, position: Position) -> None:
        """Save the state at a position, after the records that it relies on.

        Raises:
            AlexNetError: The run's directory was moved or removed.
        """
        if self.run:
            self._check_there()
            if self._records:
                self._records.flush()
            states = self.run.states_path
            save_state(states, self.model, self.optimizer, position, self.owner, self.average, self._disk)
        self.saved = position.total_steps

    def settle_best(self, position: Position) -> None:
        """Move the best model that the last state knows to its place, if it is not there."""
        self.wait()
        known, row = position.best_sha256, best_epoch(position.history)
        if not (self.run and row and known):  # states of version 0.1 know none
            return
        waiting, kept = self.run.waiting_model_path, self.run.model_path
        if waiting.exists() and sha256_of(waiting) == known:
            replace(waiting, kept)
        waiting.unlink(missing_ok=True)  # of an epoch that will be trained again
        if not kept.exists() or sha256_of(kept) != known:
            self.reporter.warn(f"{kept} is not the model of the epoch {row['epoch'] + 1:.0f} that the run wrote.")
        best = {"epoch": row["epoch"], "val_top1_error": row["val_top1_error"]}
        if (self.run.facts.get("best"), self.run.facts.get("best_sha256")) != (best, known):
            self.run.update({"best": best, "best_sha256": known})

    def keep_last(self, position: Position) -> None:
        """Write the model after the last finished epoch, unless it is there, or the training stopped within another."""
        epochs = len(position.history)
        if not self.run or position.step:
            return
        is_there = self.run.facts.get("last_epochs") == epochs and self.run.last_model_path.exists()
        if is_there and not self._kept_epoch:  # else it can be that of an epoch that was trained again
            return
        with write_by_rename(self.run.last_model_path) as path:
            self.result.save(path)
        self.run.update({"last_epochs": epochs})

    def wait(self) -> None:
        """Wait until the saved states are on the disk."""
        self._disk.wait()

    def _check_there(self) -> None:
        """Refuses to write where the run is no more: a second directory of its name would take what comes."""
        if self.run and not self.run.is_there:
            raise AlexNetError(
                f"The directory {self.run.path} was moved or removed while the run was trained: resume it where it is "
                "now, from its last saved state."
            )
