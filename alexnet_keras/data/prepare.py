"""Prepare: turn the pictures of a source into a dataset on disk that training reads and plain TFDS opens.

Everything is decided by a plan made before the first picture is read. Each shard appears by rename with a
record beside it in `.prepare/`; a preparation that was interrupted finds them, does the rest, and ends with
the same bytes. So does one that several processes or machines share, each making a part of the shards. The
manifest is written last.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from alexnet_keras.data.decode import IMAGE_SIZE, Decoding
from alexnet_keras.data.encoding import Encoding
from alexnet_keras.data.finish import tfds_name, write_manifest_and_statistics
from alexnet_keras.data.plan import SHARD_EXAMPLES, ShardPlan, digest_of, plan_shards
from alexnet_keras.data.prepared import DATASET_LOCK, PreparedDataset, open_prepared
from alexnet_keras.data.resume import PLAN_LOCK, already_prepared, clear_for, finished_shard
from alexnet_keras.data.shards import WORK, ShardRecord, record_path, write_shards
from alexnet_keras.data.sources.names import some
from alexnet_keras.data.sources.source import Source
from alexnet_keras.errors import AlexNetError, DataError, UsageError
from alexnet_keras.files import PARTIAL, locked


@dataclass(frozen=True, eq=False)
class Preparation:
    """What is to be prepared, how, and where.

    Attributes:
        source: The pictures.
        out: The directory to make. It may exist if it is empty or an earlier preparation of the same.
        name: The dataset's name; "" for the directory's.
        seed: Decides the order of the pictures.
        encoding: How pictures are stored.
        decoding: How they are read.
        shard_examples: Pictures in a shard at most.
        max_bad: How many pictures may be unusable: a count, or as float a part 0..1 of all pictures. By default
            ten, or one in a hundred where that is more.
    """

    source: Source
    out: Path
    name: str = ""
    seed: int = 0
    encoding: Encoding = Encoding()
    decoding: Decoding = Decoding()
    shard_examples: int = SHARD_EXAMPLES
    max_bad: int | float | None = None

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self.name or self.out.resolve().name

    @cached_property
    def options(self) -> dict[str, Any]:
        """Every choice that decides the result's bytes."""
        return {
            "name": self.dataset,
            "seed": self.seed,
            "image_size": IMAGE_SIZE,
            **self.encoding.options,
            **self.decoding.options,
            "shard_examples": self.shard_examples,
            **self.source.options,
            "pictures": self.source.digest(),
        }

    @cached_property
    def shards(self) -> list[ShardPlan]:
        """The shards of every split, in order."""
        return plan_shards(self.source, tfds_name(self.dataset), self.seed, self.shard_examples)

    @cached_property
    def pictures(self) -> int:
        """Pictures in all splits."""
        return sum(len(pictures) for pictures in self.source.splits.values())

    @property
    def allowed_bad(self) -> int:
        """How many pictures may be unusable."""
        if self.max_bad is None:
            return max(10, self.pictures // 100)
        return int(self.max_bad * self.pictures) if isinstance(self.max_bad, float) else self.max_bad

    def check_bad(self, number: int, last: str) -> None:
        """Raises a DataError, which quotes the last of them, where more pictures are unusable than may be."""
        if number > self.allowed_bad:
            raise DataError(
                f"{number} of {self.pictures} pictures cannot be used and --max-bad allows {self.allowed_bad}. "
                f"The last was {last}. Remove them, or allow more."
            )


def prepare(
    source: Source,
    out: Path,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda pictures: None,
    on_note: Callable[[str], None] = lambda text: None,
    **choices: Any,
) -> PreparedDataset:
    """Prepare a source into a directory, go on with an interrupted preparation, or find it done.

    Args:
        source: The pictures.
        out: The directory to make. It may exist if it is empty or an earlier preparation of the same.
        overwrite: Replace a preparation with other options in the same directory.
        on_progress: Called with the number of pictures done since the last call.
        on_note: Called with a sentence when earlier work is found and used.
        choices: As in `Preparation`: name, seed, encoding, decoding, shard_examples, max_bad.

    Raises:
        UsageError: The directory holds something else.
        DataError: It holds a preparation with other options; too many unusable pictures, or a split with none that can
            be used.
        OSError: The disk is full, or cannot be written.
    """
    return prepare_all(
        Preparation(source, out, **choices), overwrite=overwrite, on_progress=on_progress, on_note=on_note
    )


def prepare_all(
    preparation: Preparation,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda pictures: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> PreparedDataset:
    """`prepare`, of a `Preparation`, with the same arguments and errors."""
    if found := found_done(preparation, overwrite, on_progress, on_note):
        return found
    with claimed(preparation, overwrite, alone=True) as found:
        if found:  # another process has finished it since
            return found
        for leftover in (preparation.out / WORK).glob(f"{PARTIAL}*"):
            leftover.unlink(missing_ok=True)
        write_missing(preparation, preparation.shards, on_progress, on_note)
        return _finish(preparation, on_note)


def prepare_part(
    preparation: Preparation,
    first: int,
    stop: int,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda pictures: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> None:
    """Make the shards `first` to `stop`, exclusive, of a preparation; other processes may make others meanwhile.

    Raises:
        UsageError, DataError, OSError: As `prepare`; UsageError also where there are no such shards.
    """
    number = len(preparation.shards)
    if not 0 <= first < stop or first >= number:
        raise UsageError(f"There is no shard range {first}:{stop}: the shards are 0:{number}.")
    if found_done(preparation, overwrite, on_progress, on_note):
        return
    with claimed(preparation, overwrite, alone=False) as found:
        if not found:
            write_missing(preparation, preparation.shards[first:stop], on_progress, on_note)


def finish_parts(preparation: Preparation, *, on_note: Callable[[str], None] = lambda text: None) -> PreparedDataset:
    """Merge the statistics of all shards and write the metadata, after every part was prepared.

    Raises:
        UsageError: As `prepare`.
        DataError: A shard is missing; as `prepare`.
    """
    if found := found_done(preparation, False, lambda pictures: None, on_note):
        return found
    with claimed(preparation, False, alone=True) as found:
        if found:
            return found
        missing = [
            number
            for number, shard in enumerate(preparation.shards)
            if not finished_shard(preparation.out, shard.filename)
        ]
        if missing:
            raise DataError(
                f"{len(missing)} of the {len(preparation.shards)} shards of {preparation.out} are not there yet: "
                f"{some(_ranges(missing))}. Prepare them with --shard-range, or run without --finish to make them here."
            )
        return _finish(preparation, on_note)


def write_missing(
    preparation: Preparation,
    shards: list[ShardPlan],
    on_progress: Callable[[int], None],
    on_note: Callable[[str], None] = lambda text: None,
) -> None:
    """Write those of the shards that are not there yet.

    Raises:
        DataError: More pictures cannot be used than the preparation allows.
    """
    out, rejected = preparation.out, []

    def reject(filename: str, reason: str) -> None:
        rejected.append(filename)
        preparation.check_bad(len(rejected), f"{filename}: {reason}")

    finished = {}
    for shard in shards:
        if record := finished_shard(out, shard.filename):
            finished[shard.filename] = record
            on_progress(record.examples + len(record.rejected))
            for rejection in record.rejected:
                reject(*rejection)
    if finished:
        on_note(f"Going on with an interrupted preparation: {len(finished)} of {len(shards)} shards are done.")
    pending = [shard for shard in shards if shard.filename not in finished]
    write_shards(pending, preparation.source, out, preparation.encoding, preparation.decoding, on_progress, reject)


def found_done(
    preparation: Preparation, overwrite: bool, on_progress: Callable[[int], None], on_note: Callable[[str], None]
) -> PreparedDataset | None:
    """The dataset, where it is there already, made from the same pictures with the same options.

    Raises:
        UsageError: The directory holds something else.
        DataError: It holds a preparation with other options.
    """
    out = preparation.out
    if not already_prepared(out, preparation.options, overwrite):
        return None
    if (out / WORK).exists():  # of a preparation that was killed when nothing but this was left to do
        with suppress(AlexNetError, OSError), locked(out / DATASET_LOCK, "in use"):
            shutil.rmtree(out / WORK, ignore_errors=True)
    on_progress(preparation.pictures)
    on_note(f"{out} is already prepared from the same pictures with the same options; nothing to do.")
    return open_prepared(out)


@contextmanager
def claimed(preparation: Preparation, overwrite: bool, alone: bool) -> Iterator[PreparedDataset | None]:
    """Hold the directory, alone or together with other parts, and leave nothing in it but parts of this plan.

    It gives the dataset where another process has finished it in the meantime.
    """
    out, work = preparation.out, preparation.out / WORK
    out.mkdir(parents=True, exist_ok=True)
    busy = f"Another process is preparing or reading {out}. Wait for it, or choose another --out."
    with locked(out / DATASET_LOCK, busy, shared=not alone):
        work.mkdir(exist_ok=True)
        with locked(work / PLAN_LOCK, None):
            found = open_prepared(out) if already_prepared(out, preparation.options, overwrite) else None
            if not found:
                clear_for(out, preparation.options, digest_of(preparation.shards), overwrite)
        if found and alone:
            shutil.rmtree(work, ignore_errors=True)
        yield found


def _finish(preparation: Preparation, on_note: Callable[[str], None]) -> PreparedDataset:
    out = preparation.out
    records = [ShardRecord.load(record_path(out, shard.filename)) for shard in preparation.shards]
    rejected = [rejection for record in records for rejection in record.rejected]
    preparation.check_bad(len(rejected), ": ".join(rejected[-1]) if rejected else "")
    for note in write_manifest_and_statistics(
        preparation.source, out, preparation.dataset, preparation.options, preparation.encoding, records
    ):
        on_note(note)
    found = open_prepared(out)
    shutil.rmtree(out / WORK, ignore_errors=True)
    return found


def _ranges(numbers: list[int]) -> list[str]:
    """Ascending numbers as ranges: 3, 4, 5, 9 to "3:6", "9:10"."""
    known = set(numbers)
    starts = [n for n in numbers if n - 1 not in known]
    stops = [n + 1 for n in numbers if n + 1 not in known]
    return [f"{start}:{stop}" for start, stop in zip(starts, stops, strict=True)]
