"""What a run's model says of every image of a split, kept in the run so that it is computed once."""

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.evaluation.errors import Evaluation, Tally, check_finite
from alexnet_keras.runs import Run
from alexnet_keras.storage.files import allocate, locked, sha256_of, write_by_rename

ROWS = 4096  # of probabilities in memory at a time
MOST_BYTES = 8 * 2**30  # of probabilities that are kept whole; of larger splits only what figures and tables need
TOP = 5  # likeliest classes in a summary
FACTS, PROBABILITIES, LABELS, FILENAMES = "facts.json", "probabilities.npy", "labels.npy", "filenames.json"
SUMMARY, LOCK = "summary.npz", "lock"


@dataclass(frozen=True, eq=False)
class Summary:
    """What figures and tables need of the probabilities of some images; of each image a row.

    Attributes:
        top: `(images, 5)` int32, the likeliest classes, the likeliest first; fewer where there are fewer classes.
        top_probabilities: the same shape, float32.
        at_label: `(images,)` float32, the probability of the right class.
        ranks: `(images,)` int32, how many other classes are at least as likely as the right one.
    """

    top: np.ndarray
    top_probabilities: np.ndarray
    at_label: np.ndarray
    ranks: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray) -> "Summary":
        """The summary of probabilities `(images, classes)` and labels `(images,)`."""
        at_label = probabilities[np.arange(len(labels)), labels]
        top = top_classes(probabilities)
        found = np.take_along_axis(probabilities, top, axis=1)
        return cls(top, found, at_label, (probabilities >= at_label[:, None]).sum(axis=1, dtype=np.int32) - 1)

    @classmethod
    def joined(cls, parts: Sequence["Summary"]) -> "Summary":
        """The summaries of consecutive images as one."""
        return cls(*(np.concatenate(column) for column in zip(*(vars(part).values() for part in parts), strict=True)))

    def tally(self) -> Tally:
        """What error rates are computed from."""
        loss = -np.log(np.maximum(self.at_label.astype(np.float64), 1e-12)).sum()
        return Tally(len(self.ranks), float(loss), int((self.ranks >= 1).sum()), int((self.ranks >= 5).sum()))


def top_classes(probabilities: np.ndarray) -> np.ndarray:
    """The likeliest classes of each row of `(images, classes)`, the likeliest first, int32; five at most."""
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP].astype(np.int32)


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of one model on one split, in the split's stored order.

    Attributes:
        path: The directory they are in.
        facts: Whose they are: sha256 of the model, fingerprint of the data, split, views.
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
        """How many classes there are."""
        return self.facts["classes"] if self.probabilities is None else self.probabilities.shape[1]

    @cached_property
    def filenames(self) -> list[str]:
        """The name of each image's file, as it is in the dataset."""
        return json.loads((self.path / FILENAMES).read_text(encoding="utf-8"))

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Probabilities and labels, so many rows at a time that any split fits into memory.

        Raises:
            UsageError: there are so many that they were not kept.
            NotFiniteError: some probabilities are not finite, as an earlier version may have kept them.
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
        """What figures and tables need of the probabilities."""
        if self.probabilities is not None:
            return Summary.joined([Summary.of(*chunk) for chunk in self.chunks()])
        with np.load(self.path / SUMMARY) as file:
            return Summary(**{field.name: file[field.name] for field in fields(Summary)})

    def evaluation(self) -> Evaluation:
        """Top-1 and top-5 error, with intervals."""
        return Evaluation.of(self.summary.tally(), self.facts["split"], self.facts["views"], self.classes)


def predictions_of(
    run: Run,
    data: PreparedDataset,
    split: str,
    views: str = "centre",
    *,
    which: str = "best",
    on_start: Callable[[], None] = lambda: None,
    on_wait: Callable[[], None] = lambda: None,
    on_progress: Callable[[int], None] = lambda images: None,
) -> Predictions:
    """A run's predictions: those it has, if model, data, split and views are the same, or new ones, which are saved.

    Of two processes that want the same ones, the second waits for the first. Where the run cannot be written, they are
    in a temporary directory until the process ends.

    Args:
        views: `"centre"` or `"ten-crop"`.
        which: the `"best"` or the `"last"` model of the run.
        on_start: called before anything is computed, and not where nothing has to be.
        on_wait: called before waiting for another process.
        on_progress: called with the number of images done since the last call.

    Raises:
        UsageError: the run has no such model yet, or the dataset no such split.
        DataError: the split is empty, of other classes, or damaged; the model is damaged.
        NotFiniteError: what the model says is not finite.
    """
    model = run.path_of_model(which)
    if not data.examples(split):
        raise DataError(f"The split {split!r} of {data.path} has no images.")
    facts = {
        "run": run.name,
        "model": which,
        "model_sha256": sha256_of(model),
        "data": str(data.path),
        "data_fingerprint": data.fingerprint,
        "split": split,
        "views": views,
    }
    path = run.predictions_path(f"{which}-{data.path.name}-{split}-{views}")
    saved = _saved(path, facts)
    if saved is not None:
        return saved
    kept = run.is_writable
    if kept:
        path.mkdir(parents=True, exist_ok=True)
    else:
        path = Path(tempfile.mkdtemp(prefix="alexnet-predictions-")) / path.name
        path.mkdir()
        atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    with locked(path / LOCK, None, on_wait=on_wait) if kept else nullcontext():
        saved = _saved(path, facts)  # by the process that had the lock
        if saved is not None:
            return saved
        on_start()
        while True:
            loaded = run.load_model(which)
            if (checksum := sha256_of(model)) == facts["model_sha256"]:
                return _predict(path, facts, loaded, data, on_progress)
            facts["model_sha256"] = checksum  # its training has just written a better one


def kept_predictions(run: Run, fingerprint: str, split: str, views: str) -> Predictions | None:
    """What the run's best model said of a split when it was evaluated; None if it was not, or the data was another.

    Args:
        fingerprint: of the data, which need not be there any more.
    """
    folders = sorted(file.parent for file in (run.path / "evaluations").glob(f"*/{FACTS}"))
    if not folders:
        return None
    facts = {
        "model_sha256": sha256_of(run.path_of_model()),
        "data_fingerprint": fingerprint,
        "split": split,
        "views": views,
    }
    return next((found for folder in folders if (found := _saved(folder, facts))), None)


def _saved(path: Path, facts: dict[str, Any]) -> Predictions | None:
    """What is in a directory, if it is whole and of the same model, images and views."""
    try:
        found = json.loads((path / FACTS).read_text(encoding="utf-8"))
        # neither the name of the run nor where the data is changes what was predicted
        same = all(found[key] == facts[key] for key in ("model_sha256", "data_fingerprint", "split", "views"))
        checksums = found.get("files", {})  # none of those that 0.1 wrote
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
    return Predictions(path, {**found, **facts}, probabilities, labels)


def _predict(
    path: Path, facts: dict[str, Any], model: Any, data: PreparedDataset, on_progress: Callable[[int], object]
) -> Predictions:
    from alexnet_keras.data.pipeline import evaluation_batches
    from alexnet_keras.evaluation.predictor import Predictor, check_fits

    split = facts["split"]
    predictor = Predictor(model, facts["views"])
    check_fits(predictor.classes, data, split)
    (path / FACTS).unlink(missing_ok=True)  # written last: without it nothing in the directory counts
    images, classes = data.examples(split), predictor.classes
    is_whole = images * classes * np.dtype(np.float32).itemsize <= MOST_BYTES
    name, other = (PROBABILITIES, SUMMARY) if is_whole else (SUMMARY, PROBABILITIES)
    (path / other).unlink(missing_ok=True)
    labels, filenames, parts, done = [], [], [], 0
    with write_by_rename(path / name) as partial:
        if is_whole:
            whole = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=(images, classes))
            allocate(partial)  # a full disk is told here; on a page that is not there the process would end
        for batch, batch_labels, names in evaluation_batches(data, split, predictor.images_at_a_time):
            found = check_finite(predictor(batch), f"The probabilities of the run {facts['run']}")
            if is_whole:
                whole[done : done + len(found)] = found
            else:
                parts.append(Summary.of(found, batch_labels.numpy()))
            done += len(found)
            labels.append(batch_labels.numpy())
            filenames += [filename.decode("utf-8", "replace") for filename in names.numpy()]
            on_progress(len(found))
        if done != images:
            raise DataError(f"{data.path} has {done} {split} images instead of {images}: prepare it again.")
        if is_whole:
            whole.flush()
            del whole
        else:
            with partial.open("wb") as file:
                np.savez(file, **vars(Summary.joined(parts)))
    with write_by_rename(path / LABELS) as partial, partial.open("wb") as file:
        np.save(file, np.concatenate(labels))
    with write_by_rename(path / FILENAMES) as partial:
        partial.write_text(json.dumps(filenames), encoding="utf-8")
    checksums = {each: sha256_of(path / each) for each in (name, LABELS, FILENAMES)}
    with write_by_rename(path / FACTS) as partial:
        written = {**facts, "classes": classes, "files": checksums}
        partial.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    saved = _saved(path, facts)
    if saved is None:
        raise UsageError(f"{path} was changed by another process while it was written: run the command again.")
    return saved
