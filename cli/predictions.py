"""A run's predictions, computed with progress where it has none yet."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

from alexnet_keras.cli import console

if TYPE_CHECKING:
    from alexnet_keras.data.dataset import PreparedDataset
    from alexnet_keras.evaluation.predictions import Predictions
    from alexnet_keras.runs import Run


def predictions_with_progress(
    run: "Run", dataset: "PreparedDataset", split: str, views: str = "centre", which: str = "best"
) -> "Predictions":
    """The run's saved predictions on a split, or new ones."""
    from alexnet_keras.evaluation.predictions import predictions_of

    with ExitStack() as stack:
        advance = [lambda images: None]

        def start() -> None:
            console.start_tensorflow()
            images = dataset.examples(split)
            advance[0] = stack.enter_context(console.progress(f"{run.name}, {split}, {views}", images))

        def wait() -> None:
            console.note(f"Waiting for another process, which evaluates {run.name} on the same images.")

        return predictions_of(
            run,
            dataset,
            split,
            views,
            which=which,
            on_start=start,
            on_wait=wait,
            on_progress=lambda images: advance[0](images),
        )
