"""What a run's model says of every picture of a split, kept in the run so that it is computed once."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.evaluation.errors import Evaluation, Tally, check_finite
from alexnet_keras.files import sha256_of, write_by_rename
from alexnet_keras.runs import Run

ROWS = 4096  # of probabilities in memory at a time
FACTS, PROBABILITIES, LABELS, FILENAMES = "facts.json", "probabilities.npy", "labels.npy", "filenames.json"


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of one model on one split, in the split's stored order.

    Attributes:
        path: The directory they are in.
        facts: Whose they are: sha256 of the model, fingerprint of the data, split, views.
        probabilities: `(images, classes)` float32, mapped from the file, averaged over the views.
        labels: `(images,)` int64.
    """

    path: Path
    facts: dict[str, Any]
    probabilities: np.ndarray
    labels: np.ndarray

    @cached_property
    def filenames(self) -> list[str]:
        """The name of each picture's file, as it is in the dataset."""
        return json.loads((self.path / FILENAMES).read_text(encoding="utf-8"))

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Probabilities and labels, so many rows at a time that any split fits into memory.

        Raises:
            NotFiniteError: some probabilities are not finite, as an earlier version may have kept them.
        """
        for start in range(0, len(self.labels), ROWS):
            probabilities = np.asarray(self.probabilities[start : start + ROWS])
            yield check_finite(probabilities, f"The probabilities in {self.path}"), self.labels[start : start + ROWS]

    def evaluation(self) -> Evaluation:
        """Top-1 and top-5 error, with intervals."""
        tally = Tally()
        for probabilities, labels in self.chunks():
            tally += Tally.of(probabilities, labels)
        return Evaluation.of(tally, self.facts["split"], self.facts["views"], self.probabilities.shape[1])


def predictions_of(
    run: Run,
    data: PreparedDataset,
    split: str,
    views: str = "centre",
    *,
    which: str = "best",
    on_start: Callable[[], None] = lambda: None,
    on_progress: Callable[[int], None] = lambda images: None,
) -> Predictions:
    """A run's predictions: those it has, if model, data, split and views are the same, or new ones, which are saved.

    Args:
        views: `"centre"` or `"ten-crop"`.
        which: the `"best"` or the `"last"` model of the run.
        on_start: called before anything is computed, and not where nothing has to be.
        on_progress: called with the number of pictures done since the last call.

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
    on_start()
    return _predict(path, facts, run.load_model(which), data, on_progress)


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
    """What is in a directory, if it is whole and of the same model, pictures and views."""
    try:
        found = json.loads((path / FACTS).read_text(encoding="utf-8"))
        # neither the name of the run nor where the data is changes what was predicted
        same = all(found[key] == facts[key] for key in ("model_sha256", "data_fingerprint", "split", "views"))
        probabilities = np.load(path / PROBABILITIES, mmap_mode="r")
        labels = np.load(path / LABELS)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    whole = probabilities.ndim == 2 and len(probabilities) == len(labels) and (path / FILENAMES).exists()
    return Predictions(path, {**found, **facts}, probabilities, labels) if same and whole else None


def _predict(
    path: Path, facts: dict[str, Any], model: Any, data: PreparedDataset, on_progress: Callable[[int], object]
) -> Predictions:
    from alexnet_keras.data.pipeline import evaluation_batches
    from alexnet_keras.evaluation.predictor import Predictor, check_fits

    split = facts["split"]
    predictor = Predictor(model, facts["views"])
    check_fits(predictor.classes, data, split)
    path.mkdir(parents=True, exist_ok=True)
    (path / FACTS).unlink(missing_ok=True)  # written last: without it nothing in the directory counts
    labels, filenames, done = [], [], 0
    with write_by_rename(path / PROBABILITIES) as partial:
        shape = (data.examples(split), predictor.classes)
        probabilities = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
        for images, batch_labels, names in evaluation_batches(data, split, predictor.pictures_at_a_time):
            found = check_finite(predictor(images), f"The probabilities of the run {facts['run']}")
            probabilities[done : done + len(batch_labels)] = found
            done += len(batch_labels)
            labels.append(batch_labels.numpy())
            filenames += [name.decode("utf-8", "replace") for name in names.numpy()]
            on_progress(len(batch_labels))
        if done != shape[0]:
            raise DataError(f"{data.path} has {done} {split} images instead of {shape[0]}: prepare it again.")
        probabilities.flush()
        del probabilities
    with write_by_rename(path / LABELS) as partial, partial.open("wb") as file:
        np.save(file, np.concatenate(labels))
    with write_by_rename(path / FILENAMES) as partial:
        partial.write_text(json.dumps(filenames), encoding="utf-8")
    with write_by_rename(path / FACTS) as partial:
        partial.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    saved = _saved(path, facts)
    if saved is None:
        raise UsageError(f"{path} was changed by another process while it was written: run the command again.")
    return saved
