"""Read a prepared dataset again, from the first byte to the last, and hold it against its manifest."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from alexnet_keras.data.dataset import PreparedDataset, Shard, fingerprint
from alexnet_keras.storage.files import sha256_of

if TYPE_CHECKING:
    import tensorflow as tf

REPORT_EVERY = 64  # records


@dataclass
class Verification:
    """What was read, and what is wrong with it.

    Attributes:
        shards: Shards read.
        examples: Records whose image could be decoded.
        problems: A sentence for each thing that is wrong; none where all is well.
    """

    shards: int = 0
    examples: int = 0
    problems: list[str] = field(default_factory=list)


def verify(data: PreparedDataset, on_progress: Callable[[int], None] = lambda images: None) -> Verification:
    """Compare every file's checksum with the manifest's, decode every image, and count every class.

    Args:
        data: An opened dataset.
        on_progress: Called with the number of records read since the last call.
    """
    result = Verification()
    checksums = {}
    for split, shards in data.splits.items():
        facts = data.manifest["splits"][split]
        counts = np.zeros(len(data.classes), np.int64)
        for shard, listed in zip(shards, facts["shards"], strict=True):
            result.shards += 1
            checksums[shard.path.name] = listed["sha256"]
            if sha256_of(shard.path) != listed["sha256"]:
                result.problems.append(f"{shard.path.name}: its checksum is not the manifest's.")
            _decode(data, shard, result, counts, on_progress)
        if different := int((counts != facts["class_counts"]).sum()):
            result.problems.append(f"{split}: {different} classes do not have the manifest's number of images.")
    for name, checksum in data.manifest["files"].items():
        file = data.path / name
        if not file.is_file():
            result.problems.append(f"{name}: it is missing.")
        elif sha256_of(file) != checksum:
            result.problems.append(f"{name}: its checksum is not the manifest's.")
    if fingerprint(data.manifest["options"], checksums) != data.fingerprint:
        result.problems.append("manifest.json: its fingerprint does not belong to its options and checksums.")
    return result


def _decode(
    data: PreparedDataset,
    shard: Shard,
    result: Verification,
    counts: np.ndarray,
    on_progress: Callable[[int], None],
) -> None:
    """Decode every record of a shard; note those that are damaged."""
    import tensorflow as tf

    from alexnet_keras.data.pipeline import whole_record

    found = 0
    records = tf.data.TFRecordDataset(str(shard.path))
    iterator = iter(records.map(whole_record(data), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True))
    while True:
        try:
            _, label, _ = next(iterator)
            result.examples += 1
            counts[int(label)] += 1
        except StopIteration:
            break
        except IndexError:
            result.problems.append(f"{shard.path.name}: record {found} has the label {int(label)}.")
        except tf.errors.InvalidArgumentError as error:  # this record only: the stream goes on
            result.problems.append(f"{shard.path.name}: record {found} cannot be decoded ({_short(error)}).")
        except tf.errors.DataLossError as error:  # the rest of the file
            result.problems.append(f"{shard.path.name}: it cannot be read after record {found} ({_short(error)}).")
            break
        found += 1
        if found % REPORT_EVERY == 0:
            on_progress(REPORT_EVERY)
    on_progress(found % REPORT_EVERY)
    if found != shard.examples:
        result.problems.append(f"{shard.path.name}: it has {found} records instead of {shard.examples}.")


def _short(error: "tf.errors.OpError") -> str:
    return str(error.message).splitlines()[0][:80]
