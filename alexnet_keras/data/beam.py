"""Prepare on Apache Beam: every shard is a unit of work for whichever worker takes it.

Workers see the same file system: each opens the source for itself and writes its shards into their place, just as
`Preparation.make_part` does, so the result has the same bytes. Importing this needs the extra `beam`.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from alexnet_keras import errors
from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.preparation import Preparation
from alexnet_keras.data.shards import finished_shard
from alexnet_keras.errors import AlexNetError, UsageError
from alexnet_keras.storage.extras import optional

optional("apache_beam", "beam")
import apache_beam as beam  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402
from apache_beam.utils.shared import Shared  # noqa: E402

DASK = "apache_beam.runners.dask.dask_runner.DaskRunner"  # Beam knows the other runners by their short names
DASK_PARTITIONS = ("--dask_npartitions", "--dask_partition_size")
POLL_SECONDS = 1.0  # between two looks at which shards are done


def make_shards(preparation: Preparation, runner: str, options: Sequence[str] = ()) -> PreparedDataset | None:
    """Make all shards of a preparation by the workers of a Beam runner.

    Workers open the source again, so it has to be given by its name. The runner and its options are those of
    `Preparation.complete`.

    Returns:
        The dataset, if it is there already; else None: `Preparation.finish` remains to be called.

    Raises:
        UsageError: Beam knows no such runner or option, or the runner's library is not installed; as
            `Preparation.complete`.
        DataError: As `Preparation.complete`.
        AlexNetError: The pipeline failed.
    """
    flags = [f"--runner={runner}", *(f"--{option.lstrip('-')}" for option in options)]
    chosen = list(flags)
    if runner.lower() in ("dask", "daskrunner", DASK.lower()):
        chosen[0] = f"--runner={DASK}"
        if not any(flag.startswith(DASK_PARTITIONS) for flag in flags):
            chosen.append("--dask_partition_size=1")  # or 128 shards are one task, and one worker makes them
    try:
        pipeline = beam.Pipeline(options=PipelineOptions(chosen))
    except (ValueError, SystemExit) as error:
        raise UsageError(f"Apache Beam does not take {' '.join(flags)}: {error}.") from error
    except ImportError as error:
        raise UsageError(f"Apache Beam's {runner} needs a library that is not installed: {error}.") from error
    if preparation.overwrite:
        with preparation.claimed(alone=True):  # which leaves nothing there; the workers then share the directory
            pass
    with preparation.claimed(alone=False) as data:
        if data:
            return data
        numbers = pipeline | "shards" >> beam.Create(range(len(preparation.shards))) | beam.Reshuffle()
        _ = numbers | "write" >> beam.ParDo(WriteShard(preparation.for_workers()))
        try:
            with _reported(preparation):
                pipeline.run().wait_until_finish()
        except Exception as error:  # a runner may raise anything, with the worker's error in its text
            raise _as_ours(error) from error
    return None


class WriteShard(beam.DoFn):
    """Writes a shard, by its number, if it is not there. The source is opened once per worker process."""

    def __init__(self, preparation: Preparation) -> None:
        self._preparation = preparation
        self._shared = Shared()

    def process(self, number: int) -> None:
        """Write one shard."""
        preparation = self._shared.acquire(self._opened)
        preparation.write_missing(preparation.shards[number : number + 1])

    def _opened(self) -> Preparation:
        """The preparation, its shards planned. A runner may copy this object for every element, as Dask's does."""
        _ = self._preparation.shards
        return self._preparation


def _as_ours(error: Exception) -> AlexNetError:
    """The worker's error, if it is one of this package's; else one that quotes the runner's."""
    text = re.sub(r" \[while running .*$", "", str(error).strip(), flags=re.MULTILINE)
    if isinstance(error, AlexNetError):
        return type(error)(text)
    lines = text.splitlines() or [type(error).__name__]
    for line in reversed(lines):
        if match := re.search(r"alexnet_keras\.errors\.(\w+): (.*)$", line):
            return getattr(errors, match[1])(match[2])
    return AlexNetError(f"The Beam pipeline failed: {lines[-1][:300]}. What was finished is kept.")


@contextmanager
def _reported(preparation: Preparation) -> Iterator[None]:
    """Report progress by the shards that appear, since workers cannot report it."""
    pending, over = list(preparation.shards), threading.Event()
    total = sum(len(shard.images) for shard in pending)
    with preparation.reporter.progress("preparing", total) as advance:

        def watch() -> None:
            last = False
            while not last:
                last = over.wait(POLL_SECONDS)
                for shard in list(pending):
                    if record := finished_shard(preparation.directory, shard.filename):
                        pending.remove(shard)
                        advance(record.images)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
