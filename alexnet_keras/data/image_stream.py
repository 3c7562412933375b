"""A stream of images: read, decoded, brought to 256x256 and encoded again, in order.

TensorFlow's own threads decode and encode, while Python reads files ahead of them. Measured against a pool of
Python threads that call the same operations, this is one and a half times as fast.
"""

import errno
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from alexnet_keras.data.image_formats import UPRIGHT, Decoding, UnreadableImage
from alexnet_keras.data.images import (
    LARGE,
    SHAPE,
    Encoding,
    fit_to_square,
    is_jpeg_or_png,
    orientation,
    square_from_jpeg_or_png,
)
from alexnet_keras.errors import DataError
from alexnet_keras.machine import usable_processors

# Errors of the machine and not of the file: they may be gone when the same command is run again.
_NAMES = ("EIO", "ESTALE", "EMFILE", "ENFILE", "ENOMEM", "ETIMEDOUT", "EAGAIN", "ENOTCONN", "ECONNRESET", "EHOSTDOWN")
OF_THE_MACHINE = {getattr(errno, name) for name in _NAMES if hasattr(errno, name)}
READERS = 4  # threads that read: a disk or server that answers slowly gets several requests at once
READ_AHEAD = 16  # images that a reader reads in one go
BATCH = 64  # images handed on at once
IN_FLIGHT = 4  # images in work for each processor: a large one delays its successors, not their decoding


class EncodedBatch(NamedTuple):
    """Consecutive images of the stream.

    Attributes:
        stop: The position after the last image of this batch.
        positions: (n,) int64, ascending, the positions of the usable images.
        orientations: (n,) int32, their EXIF orientations, 1..8, whether `decoding` follows them or not.
        encoded: n encoded images.
        pixels: (n, 256, 256, 3) uint8, the same before they were encoded.
        rejected: (position, reason) of each of the others.
    """

    stop: int
    positions: np.ndarray
    orientations: np.ndarray
    encoded: list[bytes]
    pixels: np.ndarray
    rejected: list[tuple[int, str]]


def encoded_images(
    read: Callable[[int], bytes], number: int, encoding: Encoding, decoding: Decoding
) -> Iterator[EncodedBatch]:
    """Read and encode the images at positions 0 to `number`, exclusive, in order.

    `read` returns the encoded bytes of the image at a position. It is called from other threads, ahead of time; an
    OSError makes the image a rejected one.
    """

    def one_by_one(start: int, stop: int, ready: dict[int, tuple[int, bytes, np.ndarray]]) -> Iterator[EncodedBatch]:
        """Batches from `start` to `stop`: the images that are ready, and the others one at a time."""
        for first in range(start, stop, BATCH):
            last = min(first + BATCH, stop)
            positions, orientations, stored, squares, rejected = [], [], [], [], []
            for position in range(first, last):
                try:
                    turned, encoded, square = ready.get(position) or _encode_one(read, position, encoding, decoding)
                except UnreadableImage as error:
                    rejected.append((position, str(error)))
                    continue
                positions.append(position)
                orientations.append(turned)
                stored.append(encoded)
                squares.append(square)
            pixels = np.array(squares, np.uint8).reshape(-1, *SHAPE)
            turned_by = np.array(orientations, np.int32)
            yield EncodedBatch(last, np.array(positions, np.int64), turned_by, stored, pixels, rejected)

    reached = 0
    for positions, orientations, encoded, pixels in _decoded_by_tensorflow(read, number, encoding, decoding):
        stop = int(positions[-1]) + 1
        stored = [encoding.stored(*pair) for pair in zip(encoded.tolist(), pixels, strict=True)]
        if stop - reached == len(positions):
            yield EncodedBatch(stop, positions, orientations, stored, pixels, [])
        else:
            ready = dict(zip(positions.tolist(), zip(orientations, stored, pixels, strict=True), strict=True))
            yield from one_by_one(reached, stop, ready)
        reached = stop
    yield from one_by_one(reached, number, {})


def cut_at(edges: Iterable[int], batches: Iterable[EncodedBatch]) -> Generator[EncodedBatch, None, None]:
    """Cut batches so that none reaches over an edge, a position in the stream."""
    edges = np.unique(np.fromiter(edges, np.int64))
    reached = 0
    for batch in batches:
        start = 0
        inside = edges[np.searchsorted(edges, reached, "right") : np.searchsorted(edges, batch.stop)].tolist()
        reached = batch.stop
        for edge in [*inside, batch.stop]:
            stop = int(np.searchsorted(batch.positions, edge))
            rejected = [bad for bad in batch.rejected if bad[0] < edge]
            if stop > start or rejected:
                part = slice(start, stop)
                yield EncodedBatch(
                    edge,
                    batch.positions[part],
                    batch.orientations[part],
                    batch.encoded[part],
                    batch.pixels[part],
                    rejected,
                )
            start = stop
            batch = batch._replace(rejected=batch.rejected[len(rejected) :])


def _decoded_by_tensorflow(
    read: Callable[[int], bytes], number: int, encoding: Encoding, decoding: Decoding
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """(positions, EXIF orientations, encoded images, pixels) of every image that TensorFlow decodes, in order."""
    import tensorflow as tf

    from alexnet_keras.data.pipeline import untuned

    failures: list[Exception] = []

    def read_ahead() -> Iterator[tuple[np.ndarray, ...]]:
        # tf.data takes an exception in here for one more image to leave out, so it is carried past it.
        try:
            yield from _read_in_threads(read, number)
        except Exception as error:
            failures.append(error)

    signature = tuple(tf.TensorSpec([None], kind) for kind in (tf.int64, tf.string, tf.int32))
    decode = square_from_jpeg_or_png(decoding)

    def fit(position: "tf.Tensor", encoded: "tf.Tensor", turned: "tf.Tensor") -> tuple:
        square = decode(encoded, turned)
        return position, turned, encoding.encode(square), square

    dataset = (
        tf.data.Dataset.from_generator(read_ahead, output_signature=signature)
        .unbatch()
        .map(fit, num_parallel_calls=IN_FLIGHT * usable_processors(), deterministic=True)
        .ignore_errors(log_warning=False)
        .batch(BATCH)
        .prefetch(2)
    )
    yield from untuned(dataset).as_numpy_iterator()
    if failures:
        raise failures[0]


def _read_in_threads(read: Callable[[int], bytes], number: int) -> Iterator[tuple[np.ndarray, ...]]:
    """(positions, bytes, EXIF orientations) of images in order, a few at once."""

    def read_some(start: int) -> tuple[np.ndarray, ...]:
        positions, contents, orientations = [], [], []
        for position in range(start, min(start + READ_AHEAD, number)):
            try:
                content = read(position)
            except OSError:
                continue  # read again, and reported, by `_encode_one`
            if len(content) > LARGE:
                continue  # read again, and decoded while no other is in memory
            positions.append(position)
            contents.append(content)
            orientations.append(orientation(content) if is_jpeg_or_png(content) else UPRIGHT)  # others: `_encode_one`
        return np.array(positions, np.int64), np.array(contents, object), np.array(orientations, np.int32)

    with ThreadPoolExecutor(READERS) as pool:
        pending: deque = deque()
        for start in range(0, number, READ_AHEAD):
            pending.append(pool.submit(read_some, start))
            if len(pending) > READERS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _encode_one(
    read: Callable[[int], bytes], position: int, encoding: Encoding, decoding: Decoding
) -> tuple[int, bytes, np.ndarray]:
    try:
        contents = read(position)
    except OSError as error:
        if error.errno in OF_THE_MACHINE:
            raise DataError(
                f"An image cannot be read ({error}): once it can, the same command goes on where it stopped; or move "
                "it away and begin anew with --overwrite."
            ) from error
        raise UnreadableImage(f"cannot be read ({error.strerror})") from error
    square = fit_to_square(contents, decoding)
    return orientation(contents), encoding.stored(encoding.encode(square).numpy(), square), square
