"""Which picture goes into which shard: shuffled over the whole split, then cut into shards of equal size.

The plan is made from the list of pictures and the seed before anything is read, so that an interrupted
preparation finds the same plan again, and training may read shards in order.
"""

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from alexnet_keras.data.sources.source import Source

SHARD_EXAMPLES = 1024  # at most; about 40 MB, the unit of work that is not done again after an interruption


@dataclass(frozen=True, eq=False)
class ShardPlan:
    """One shard to be written.

    Attributes:
        filename: The name TFDS expects, such as "demo-train.tfrecord-00000-of-00002".
        split: The split it belongs to.
        pictures: (n,) indices into the split's pictures, in the order of the records.
    """

    filename: str
    split: str
    pictures: np.ndarray


def digest_of(shards: Iterable[ShardPlan]) -> str:
    """SHA-256 (hex) over which picture goes where: NumPy does not promise the same order from version to version."""
    digest = hashlib.sha256()
    for shard in shards:
        digest.update(f"{shard.filename}\n".encode())
        digest.update(shard.pictures.astype("<i8").tobytes())
    return digest.hexdigest()


def plan_shards(source: Source, dataset: str, seed: int, shard_examples: int = SHARD_EXAMPLES) -> list[ShardPlan]:
    """The shards of every split, in order.

    Args:
        source: The pictures.
        dataset: The dataset's name as it stands in file names.
        seed: Decides the order, together with the split's name.
        shard_examples: Pictures in a shard at most; shards of a split differ by at most one.
    """
    shards = []
    for split, pictures in source.splits.items():
        order = np.random.default_rng([seed, zlib.crc32(split.encode())]).permutation(len(pictures))
        number = max(1, -(-len(pictures) // shard_examples))
        for index, part in enumerate(np.array_split(order, number)):
            filename = f"{dataset}-{split}.tfrecord-{index:05d}-of-{number:05d}"
            shards.append(ShardPlan(filename, split, part))
    return shards
