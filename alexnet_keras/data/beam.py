"""Prepare on Apache Beam: every shard is a unit of work for whichever worker takes it.

Workers see the same file system: each opens the source for itself and writes its shards into their place, just as
`prepare_part` does, so the result has the same bytes. Importing this needs the extra `beam`.
"""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from alexnet_keras import errors
from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.preparation import Preparation, claimed, finish_parts, found_done, write_missing
from alexnet_keras.data.resume import finished_shard
from alexnet_keras.errors import AlexNetError, UsageError
from alexnet_keras.storage.extras import optional

optional("apache_beam", "beam")
import apache_beam as beam  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402

POLL_SECONDS = 1.0  # between two looks at which shards are done


def prepare_with_beam(
    preparation: Preparation,
    make: Callable[[], Preparation],
    runner: str,
    options: Sequence[str] = (),
    *,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda images: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> PreparedDataset:
    """`prepare_all`, its shards made by the workers of a Beam runner.

    Args:
        preparation: What is to be prepared.
        make: Makes the same in a worker, so it has to be picklable.
        runner: As Beam names it: "DirectRunner", "FlinkRunner", "SparkRunner".
        options: Its options, "key=value", or "key" for a flag.
        overwrite: Replace a preparation with other options in the same directory.
        on_progress: Called with the number of images done since the last call, from another thread.
        on_note: Called with a sentence when earlier work is found and used.

    Raises:
        UsageError: Beam knows no such runner or option; as `prepare_all`.
        DataError: As `prepare_all`.
        AlexNetError: The pipeline failed.
    """
    if found := found_done(preparation, overwrite, on_progress, on_note):
        return found
    flags = [f"--runner={runner}", *(f"--{option.lstrip('-')}" for option in options)]
    try:
        pipeline = beam.Pipeline(options=PipelineOptions(flags))
    except (ValueError, SystemExit) as error:
        raise UsageError(f"Apache Beam does not take {' '.join(flags)}: {error}.") from error
    with claimed(preparation, overwrite, alone=False) as found, _watch(preparation, on_progress):
        if found:
            return found
        numbers = pipeline | "shards" >> beam.Create(range(len(preparation.shards))) | beam.Reshuffle()
        _ = numbers | "write" >> beam.ParDo(WriteShard(make))
        try:
            pipeline.run().wait_until_finish()
        except Exception as error:  # a runner raises what it likes, with the worker's error in its text
            raise _as_ours(error) from error
    return finish_parts(preparation, on_note=on_note)


class WriteShard(beam.DoFn):
    """Writes the shard of a number, if it is not there; the source is opened once a worker."""

    def __init__(self, make: Callable[[], Preparation]) -> None:
        self._make = make

    def setup(self) -> None:
        """Open the source."""
        self._preparation = self._make()

    def process(self, number: int) -> None:
        """Write one shard."""
        write_missing(self._preparation, self._preparation.shards[number : number + 1], lambda images: None)


def _as_ours(error: Exception) -> AlexNetError:
    """The worker's error, where it is one of ours; else one that quotes the runner's."""
    if isinstance(error, AlexNetError):
        return error
    lines = str(error).strip().splitlines() or [type(error).__name__]
    for line in reversed(lines):
        if found := re.search(r"alexnet_keras\.errors\.(\w+): (.*?)( \[while running .*)?$", line):
            return getattr(errors, found.group(1))(found.group(2))
    return AlexNetError(f"The Beam pipeline failed: {lines[-1][:300]}. What was finished is kept.")


@contextmanager
def _watch(preparation: Preparation, on_progress: Callable[[int], None]) -> Iterator[None]:
    """Report shards as they appear, since workers cannot."""
    pending, over = list(preparation.shards), threading.Event()

    def look() -> None:
        for shard in list(pending):
            if record := finished_shard(preparation.out, shard.filename):
                pending.remove(shard)
                on_progress(record.examples + len(record.rejected))

    def watch() -> None:
        while not over.wait(POLL_SECONDS):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    look()
