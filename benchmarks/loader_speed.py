"""The input pipeline next to a PyTorch `DataLoader` that does the same work with Pillow.

    pip install -r benchmarks/requirements.txt
    python benchmarks/loader_speed.py data/imagenette

Both read the training split of a prepared dataset of JPEGs in a seeded random order, decode, crop 224x224 at random,
flip half of the images, and make uint8 batches of 128 in memory; nothing is trained. The `DataLoader` reads the same
JPEGs as files, with as many worker processes as there are processors. In every round each makes the same number of
batches, one after the other; what counts is the ratio within a round. A third pipeline only decodes: TensorFlow's own
decoder on JPEGs in memory, the middle of each, in a fixed order; it says how much of the time is decoding.
"""

import argparse
import itertools
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import torch
from batches import BATCH, SIZE, epochs
from PIL import Image
from tables import rate_table, ratio_line
from torch.utils.data import DataLoader, Dataset

from alexnet_keras import open_prepared

WARM_UP, MARGIN = 4, 33


class ImageList(Dataset):
    """JPEG files as random crops, uint8 `(224, 224, 3)`, and labels."""

    def __init__(self, paths: list[str], labels: list[int]) -> None:
        self.paths, self.labels = paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int):
        top, left = torch.randint(MARGIN, (2,)).tolist()
        image = Image.open(self.paths[index]).convert("RGB").crop((left, top, left + SIZE, top + SIZE))
        if torch.rand(()) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(image)), self.labels[index]


def write_files(data, folder: str) -> tuple[list[str], list[int]]:
    """Every training JPEG of a prepared dataset as a file of its own."""
    import tensorflow as tf

    paths, labels = [], []
    features = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
    for record in tf.data.TFRecordDataset([str(shard.path) for shard in data.splits["train"]]):
        example = tf.io.parse_single_example(record, features)
        path = Path(folder) / f"{len(paths):07}.jpg"
        path.write_bytes(example["image"].numpy())
        paths.append(str(path))
        labels.append(int(example["label"]))
    return paths, labels


def theirs(dataset: Dataset):
    """The same of PyTorch's."""
    loader = DataLoader(
        dataset,
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=os.cpu_count() or 1,
        persistent_workers=True,
        multiprocessing_context="spawn",  # a fork would hold TensorFlow's threads
    )
    while True:
        yield from loader


def decoding(paths: list[str]):
    """The middles of the images, with nothing done but decode and batch them."""
    import tensorflow as tf

    from alexnet_keras.data.images import DCT

    middle = [MARGIN // 2, MARGIN // 2, SIZE, SIZE]

    def decode(encoded):
        image = tf.io.decode_and_crop_jpeg(encoded, middle, channels=3, dct_method=DCT)
        return tf.ensure_shape(image, (SIZE, SIZE, 3)), 0

    encoded = tf.data.Dataset.from_tensor_slices([Path(path).read_bytes() for path in paths]).repeat()
    yield from encoded.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).prefetch(4)


def rate(start, batches: int) -> float:
    """Images per second of a pipeline that has been started anew and warmed up."""
    stream = start()
    for _ in itertools.islice(stream, WARM_UP):
        pass
    begin = time.perf_counter()
    for images, _ in itertools.islice(stream, batches):
        assert tuple(images.shape) == (BATCH, SIZE, SIZE, 3)
    found = batches * BATCH / (time.perf_counter() - begin)
    stream.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a prepared dataset of JPEGs")
    parser.add_argument("--rounds", type=int, default=5, help="[default: 5]")
    parser.add_argument("--batches", type=int, default=60, help="timed in a round [default: 60]")
    options = parser.parse_args()
    data = open_prepared(options.data)
    with tempfile.TemporaryDirectory() as folder:
        dataset = ImageList(*write_files(data, folder))
        pipelines = {
            "alexnet_keras": lambda: epochs(data),
            "DataLoader": lambda: theirs(dataset),
            "decoding alone": lambda: decoding(dataset.paths),
        }
        rates: dict[str, list[float]] = {name: [] for name in pipelines}
        for number in range(options.rounds):
            for name, start in pipelines.items():
                rates[name].append(rate(start, options.batches))
            print(f"round {number + 1}: {', '.join(f'{n} {r[-1]:.0f}' for n, r in rates.items())}", file=sys.stderr)  # noqa: T201
    lines = [
        f"batch {BATCH}, {os.cpu_count()} processors, {platform.machine()}, {options.rounds} rounds of "
        f"{options.batches} batches, {data.encoding.kind} of {data.path.name}",
        "",
        *rate_table(rates, "pipeline"),
        ratio_line("the DataLoader", rates["alexnet_keras"], rates["DataLoader"]),
    ]
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
