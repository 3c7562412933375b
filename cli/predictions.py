"""A run's predictions, computed with progress where it has none yet."""

from contextlib import ExitStack

from alexnet_keras.cli import console


def predictions_with_progress(run, dataset, split: str, views: str = "centre", which: str = "best"):
    """The run's saved predictions on a split, or new ones."""
    from alexnet_keras.evaluation.predictions import predictions_of

    with ExitStack() as stack:
        advance = [lambda images: None]

        def start() -> None:
            console.start_tensorflow()
            images = dataset.examples(split)
            advance[0] = stack.enter_context(console.progress(f"{run.name}, {split}, {views}", images))

        return predictions_of(
            run, dataset, split, views, which=which, on_start=start, on_progress=lambda images: advance[0](images)
        )
