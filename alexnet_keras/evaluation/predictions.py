"""A run's probabilities for every image of a split, kept in the run so that they are computed once."""

import atexit
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.evaluation.errors import Evaluation, Tally, check_finite, check_fits, images_in, label_ranks
from alexnet_keras.reporter import SILENT, Advance, Reporter
from alexnet_keras.runs import Run
from alexnet_keras.storage.documents import write_json
from alexnet_keras.storage.files import allocate, known_sha256, save_array, sha256_of, write_by_rename
from alexnet_keras.storage.kept import kept

ROWS = 4096  # of probabilities in memory at a time
MOST_BYTES = 8 * 2**30  # of probabilities that are kept whole; of larger splits only what figures and tables need
TOP = 5  # likeliest classes in a summary
FACTS, PROBABILITIES, LABELS, FILENAMES = "facts.json", "probabilities.npy", "labels.npy", "filenames.json"
SUMMARY, LOCK = "summary.npz", "lock"


@dataclass(frozen=True, eq=False)
class Summary:
    """The part of the probabilities that figures and tables need; one row per image.

    Attributes:
        top: `(images, 5)` int32, the likeliest classes, the likeliest first; fewer where there are fewer classes. Of
            equally likely ones the right one comes last, as ties count against the network.
        top_probabilities: The same shape, float32.
        at_label: `(images,)` float32, the probability of the right class.
        ranks: `(images,)` int32, the number of other classes at least as likely as the right one.
    """

    top: np.ndarray
    top_probabilities: np.ndarray
    at_label: np.ndarray
    ranks: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray) -> "Summary":
        """Summarise probabilities `(images, classes)` with labels `(images,)`."""
        top = top_classes(probabilities, labels)
        return cls(
            top=top,
            top_probabilities=np.take_along_axis(probabilities, top, axis=1),
            at_label=probabilities[np.arange(len(labels)), labels],
            ranks=label_ranks(probabilities, labels),
        )

    @classmethod
    def joined(cls, parts: Sequence["Summary"]) -> "Summary":
        """Join the summaries of consecutive images."""
        return cls(*(np.concatenate(column) for column in zip(*(vars(part).values() for part in parts), strict=True)))


def top_classes(probabilities: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """Sort out the likeliest classes of each row of `(images, classes)`, the likeliest first; int32, five at most.

    Equally likely ones are in order, but for the right one, which is behind them where `labels` tell it.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    if labels is not None:
        tied = (probabilities == np.take_along_axis(probabilities, labels[:, None], axis=1)).sum(axis=1) > 1
        is_right = np.arange(probabilities.shape[1]) == labels[tied, None]
        order[tied] = np.lexsort((is_right, -probabilities[tied]))
    return order[:, :TOP].astype(np.int32)


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of one model on one split, in the split's stored order.

    Attributes:
        path: The directory that holds them.
        facts: Their inputs: SHA-256 of the model, fingerprint of the data, split, views; and names for people.
        probabilities: `(images, classes)` float32, mapped from the file, averaged over the views; None of splits for
            which that would be more than MOST_BYTES.
        labels: `(images,)` int64.
    """

    path: Path
    facts: dict[str, Any]
    probabilities: np.ndarray | None
    labels: np.ndarray

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.facts["classes"] if self.probabilities is None else self.probabilities.shape[1]

    @cached_property
    def filenames(self) -> list[str]:
        """The name of each image's file, as the dataset has it.

        Raises:
            UsageError: Another process has put other predictions in the place of these since.
        """
        content = (self.path / FILENAMES).read_bytes()
        if self.facts.get("files", {}).get(FILENAMES) not in (None, hashlib.sha256(content).hexdigest()):
            raise UsageError(f"{self.path} was changed by another process meanwhile: run the command again.")
        return json.loads(content)

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Iterate over probabilities and labels, ROWS images at a time, so that any split fits into memory.

        Raises:
            UsageError: Not all probabilities were kept, because there are too many.
            NotFiniteError: Some probabilities are not finite, as an earlier version may have kept them.
        """
        if self.probabilities is None:
            size = len(self.labels) * self.classes * 4 / 1e9
            raise UsageError(
                f"{self.path} has the {TOP} likeliest classes of each image, not the probabilities of all "
                f"{self.classes:,}, which would take {size:,.0f} GB; an ensemble needs them all."
            )
        for start in range(0, len(self.labels), ROWS):
            probabilities = np.asarray(self.probabilities[start : start + ROWS])
            yield check_finite(probabilities, f"The probabilities in {self.path}"), self.labels[start : start + ROWS]

    @cached_property
    def summary(self) -> Summary:
        """The part of the probabilities that figures and tables need."""
        if self.probabilities is not None:
            return Summary.joined([Summary.of(*chunk) for chunk in self.chunks()])
        with np.load(self.path / SUMMARY) as file:
            return Summary(**{field.name: file[field.name] for field in fields(Summary)})

    @property
    def top(self) -> np.ndarray:
        """`(images, 5)` int32, the likeliest classes by the probabilities alone, the likeliest first."""
        return np.concatenate([top_classes(probabilities) for probabilities, _ in self.chunks()])

    def evaluation(self) -> Evaluation:
        """Compute top-1 and top-5 error, with intervals."""
        tally = Tally.of_ranks(self.summary.ranks, self.summary.at_label)
        return Evaluation.of(tally, self.facts["split"], self.facts["views"], self.classes)


def predictions_of(
    run: Run,
    data: PreparedDataset,
    split: str,
    views: str = "centre",
    *,
    which: str = "best",
    reporter: Reporter = SILENT,
) -> Predictions:
    """Return a run's predictions on a split: those it keeps of the same model, data, split and views, or new ones.

    New ones are kept in the run. Of two processes that need the same ones, the second waits for the first. Where the
    run cannot be written, they are in a temporary directory until the process ends.

    The reporter's `progress` is entered only if something has to be computed, before TensorFlow is imported.

    Raises:
        UsageError: The run has no such model yet, or the dataset no such split.
        DataError: The split is empty, of other classes, or damaged; the model is damaged.
        NotFiniteError: The model's probabilities are not finite.
    """
    model, images = run.path_of_model(which), images_in(data, split)
    facts = {
        "run": run.name,
        "model": which,
        "model_sha256": known_sha256(model),
        "data": str(data.path),
        "data_fingerprint": data.fingerprint,
        "split": split,
        "views": views,
    }
    path = run.predictions_path(f"{which}-{data.path.name}-{split}-{views}")
    if run.is_writable:
        path.mkdir(parents=True, exist_ok=True)

    def predict() -> Predictions:
        with reporter.progress(f"{run.name}, {split}, {views}", images) as advance:
            loaded, facts["model_sha256"] = run.load_model_with_sha256(which)  # a training may have written another
            folder = path if run.is_writable else _temporary_folder(path.name)
            return _predict(folder, facts, loaded, data, advance)

    return kept(
        lambda: _find(path, facts),
        predict,
        lock=path / LOCK if run.is_writable else None,
        on_wait=lambda: reporter.note(f"Waiting for another process that evaluates {run.name} on the same images."),
    )


def kept_predictions(run: Run, fingerprint: str, split: str, views: str) -> Predictions | None:
    """Find what a run keeps of its best model and of data that need not exist any more; None without it."""
    folders = sorted(file.parent for file in (run.path / "evaluations").glob(f"*/{FACTS}"))
    if not folders:
        return None
    model_sha256 = known_sha256(run.path_of_model())
    facts = {"model_sha256": model_sha256, "data_fingerprint": fingerprint, "split": split, "views": views}
    return next((found for folder in folders if (found := _find(folder, facts))), None)


def _find(path: Path, facts: dict[str, Any]) -> Predictions | None:
    """Return the predictions in a directory, if they are whole and of the same model, images and views."""
    try:
        document = json.loads((path / FACTS).read_text(encoding="utf-8"))
        # neither the name of the run nor the place of the data changes what was predicted
        same = all(document[key] == facts[key] for key in ("model_sha256", "data_fingerprint", "split", "views"))
        checksums = document.get("files", {})  # none of those that 0.1 wrote
        if not same or any(sha256_of(path / name) != checksum for name, checksum in checksums.items()):
            return None
        labels = np.load(path / LABELS)
        probabilities = None if SUMMARY in checksums else np.load(path / PROBABILITIES, mmap_mode="r")
        if labels.ndim != 1 or not (path / FILENAMES).exists():
            return None
        if probabilities is not None and (probabilities.ndim != 2 or len(probabilities) != len(labels)):
            return None
    except DAMAGED:
        return None
    return Predictions(path, {**document, **facts}, probabilities, labels)


def _temporary_folder(name: str) -> Path:
    """Make a directory that exists until the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="alexnet-predictions-")) / name
    folder.mkdir()
    atexit.register(shutil.rmtree, folder.parent, ignore_errors=True)
    return folder


def _predict(path: Path, facts: dict[str, Any], model: Any, data: PreparedDataset, advance: Advance) -> Predictions:
    """Compute and write the predictions of a split; facts.json, written last, makes them count."""
    from alexnet_keras.data.pipeline import evaluation_batches
    from alexnet_keras.evaluation.predictor import Predictor

    split = facts["split"]
    predictor = Predictor(model, facts["views"])
    images, classes = check_fits(predictor.classes, data, split), predictor.classes
    (path / FACTS).unlink(missing_ok=True)
    is_whole = images * classes * np.dtype(np.float32).itemsize <= MOST_BYTES
    name, other = (PROBABILITIES, SUMMARY) if is_whole else (SUMMARY, PROBABILITIES)
    (path / other).unlink(missing_ok=True)
    labels, filenames, parts, done = [], [], [], 0
    with write_by_rename(path / name) as partial:
        if is_whole:
            whole = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=(images, classes))
            allocate(partial)  # a full disk is reported here; on a page that is not there the process would end
        for batch, batch_labels, names in evaluation_batches(data, split, predictor.images_at_a_time):
            probabilities = check_finite(predictor(batch), f"The probabilities of the run {facts['run']}")
            if is_whole:
                whole[done : done + len(probabilities)] = probabilities
            else:
                parts.append(Summary.of(probabilities, batch_labels.numpy()))
            done += len(probabilities)
            labels.append(batch_labels.numpy())
            filenames += [filename.decode("utf-8", "replace") for filename in names.numpy()]
            advance(len(probabilities))
        if done != images:
            raise DataError(f"{data.path} has {done} {split} images instead of {images}: prepare it again.")
        if is_whole:
            whole.flush()
            del whole
        else:
            with partial.open("wb") as file:
                np.savez(file, **vars(Summary.joined(parts)))
    save_array(path / LABELS, np.concatenate(labels))
    write_json(path / FILENAMES, filenames, indent=None)
    checksums = {each: sha256_of(path / each) for each in (name, LABELS, FILENAMES)}
    write_json(path / FACTS, {**facts, "classes": classes, "files": checksums})
    if (saved := _find(path, facts)) is None:
        raise UsageError(f"{path} was changed by another process while it was written: run the command again.")
    return saved
