"""Batches as training with the recipe `source` sees them."""

import itertools
from collections.abc import Iterator

from alexnet_keras import load_recipe
from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.pipeline import training_batches

BATCH, SIZE = 128, 224


def epochs(data: PreparedDataset) -> Iterator[tuple]:
    """Images, uint8 `(128, 224, 224, 3)`, and labels, without end."""
    augmentation = load_recipe("source").augmentation
    for epoch in itertools.count():
        yield from training_batches(data, augmentation, batch_size=BATCH, crop_size=SIZE, seed=0, epoch=epoch)
