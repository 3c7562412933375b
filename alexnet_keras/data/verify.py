"""Read a prepared dataset again, all of it: checksums, images and counts."""

from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from alexnet_keras.data.dataset import PreparedDataset, Shard
from alexnet_keras.data.manifest import fingerprint
from alexnet_keras.data.pipeline import untuned, whole_record
from alexnet_keras.machine import usable_processors
from alexnet_keras.reporter import SILENT, Advance, Reporter
from alexnet_keras.storage.files import sha256_of

REPORT_EVERY = 64  # records


@dataclass
class Verification:
    """The result of reading a dataset again.

    Attributes:
        shards: Shards read.
        examples: Records whose image could be decoded.
        problems: A sentence for each thing that is wrong.
    """

    shards: int = 0
    examples: int = 0
    problems: list[str] = field(default_factory=list)


def verify(data: PreparedDataset, reporter: Reporter = SILENT) -> Verification:
    """Compare every file's checksum with the manifest's, decode every image, and count every class.

    Args:
        data: An opened dataset.
        reporter: Reports progress.
    """
    result = Verification()
    checksums = {}
    with reporter.progress("verifying", sum(map(data.examples, data.splits))) as advance:
        for split, shards in data.splits.items():
            entry = data.manifest["splits"][split]
            counts = np.zeros(len(data.classes), np.int64)
            for shard, listed in zip(shards, entry["shards"], strict=True):
                result.shards += 1
                checksums[shard.path.name] = listed["sha256"]
                if sha256_of(shard.path) != listed["sha256"]:
                    result.problems.append(f"{shard.path.name}: its checksum is not the manifest's.")
                _decode(data, shard, result, counts, advance)
            if different := int((counts != entry["class_counts"]).sum()):
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


def _decode(data: PreparedDataset, shard: Shard, result: Verification, counts: np.ndarray, advance: Advance) -> None:
    """Decode every record of a shard, count its labels, and add its problems to the result."""
    read = 0
    records = tf.data.TFRecordDataset(str(shard.path))
    records = records.map(whole_record(data), num_parallel_calls=usable_processors(), deterministic=True)
    iterator = iter(untuned(records))
    while True:
        try:
            _, label, _ = next(iterator)
            result.examples += 1
            counts[int(label)] += 1
        except StopIteration:
            break
        except IndexError:
            result.problems.append(f"{shard.path.name}: record {read} has the label {int(label)}.")
        except tf.errors.InvalidArgumentError as error:  # this record only: the stream continues
            result.problems.append(f"{shard.path.name}: record {read} cannot be decoded ({_short(error)}).")
        except tf.errors.DataLossError as error:  # the rest of the file
            result.problems.append(f"{shard.path.name}: it cannot be read after record {read} ({_short(error)}).")
            break
        read += 1
        if read % REPORT_EVERY == 0:
            advance(REPORT_EVERY)
    advance(read % REPORT_EVERY)
    if read != shard.examples:
        result.problems.append(f"{shard.path.name}: it has {read} records instead of {shard.examples}.")


def _short(error: tf.errors.OpError) -> str:
    return str(error.message).splitlines()[0][:80]
