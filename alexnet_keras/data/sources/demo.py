"""The built-in demo set: pictures drawn by code from a seed, written as ordinary JPEG files in class folders.

Twelve classes: red or blue, disc or square or triangle, with horizontal or vertical stripes. The files are
then listed, and prepared, like any other folder.
"""

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from alexnet_keras.data.sources.demo_drawing import KINDS, Kind, draw
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.data.sources.source import Source
from alexnet_keras.errors import UsageError
from alexnet_keras.files import PARTIAL, write_by_rename

TRAIN_PICTURES = 100  # of each class
VAL_PICTURES = 25
QUALITY = 92
MARKER = ".demo.json"  # says that the folder is ours, and how its pictures were drawn


def demo_pictures(train: int = TRAIN_PICTURES, val: int = VAL_PICTURES) -> int:
    """The number of pictures `demo_source` draws in all."""
    return len(KINDS) * (train + val)


def demo_source(
    folder: Path,
    *,
    seed: int = 0,
    train: int = TRAIN_PICTURES,
    val: int = VAL_PICTURES,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda pictures: None,
) -> Source:
    """Draw the demo pictures into a folder, as far as they are not there, and list them.

    Args:
        folder: Where they go: `{train,val}/<class>/NNN.jpg`.
        seed: A picture depends on this, its split, its class and its number, and on nothing else.
        train: Training pictures of each class.
        val: Validation pictures of each class.
        overwrite: Draw anew where the folder holds demo pictures of another seed or number.
        on_progress: Called with the number of pictures done since the last call.

    Raises:
        UsageError: The folder holds something else, or demo pictures of another seed or number.
    """
    drawing = {"seed": seed, "train": train, "val": val}
    _claim(folder, drawing, overwrite)
    wanted = [
        (kind, split, index)
        for split, number in (("train", train), ("val", val))
        for kind in KINDS
        for index in range(number)
    ]
    for kind in KINDS:
        for split in ("train", "val"):
            (folder / split / kind.folder).mkdir(parents=True, exist_ok=True)
    for _ in _in_threads(lambda picture: _write(folder, seed, *picture), wanted):
        on_progress(1)
    return folder_source(folder, given="demo")


def _claim(folder: Path, drawing: dict[str, int], overwrite: bool) -> None:
    """Make the folder ours, empty of pictures that were drawn otherwise."""
    marker = folder / MARKER
    if not marker.exists():
        if folder.exists() and (not folder.is_dir() or _holds_something(folder)):
            raise UsageError(f"The demo pictures go into {folder}, which holds something else; choose another --out.")
        folder.mkdir(parents=True, exist_ok=True)
    else:
        try:
            found = json.loads(marker.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found == drawing:
            return
        if not overwrite:
            raise UsageError(
                f"{folder} holds demo pictures drawn with {found}, not {drawing}. "
                "Choose another --out, or --overwrite to draw them anew."
            )
        for kind in KINDS:
            for picture in folder.glob(f"*/{kind.folder}/*.jpg"):
                picture.unlink()
    with write_by_rename(marker) as partial:
        partial.write_text(json.dumps(drawing), encoding="utf-8")


def _holds_something(folder: Path) -> bool:
    return any(not path.name.startswith(PARTIAL) for path in folder.iterdir())


def _write(folder: Path, seed: int, kind: Kind, split: str, index: int) -> None:
    from PIL import Image

    path = folder / split / kind.folder / f"{index:03d}.jpg"
    if not path.exists():
        with write_by_rename(path) as partial:
            Image.fromarray(draw(kind, seed, split, index)).save(partial, "JPEG", quality=QUALITY)


def _in_threads(work: Callable, items: list) -> Iterator:
    """Results in order. An interruption waits for the few pictures in hand only."""
    ahead = 4 * (os.cpu_count() or 1)
    with ThreadPoolExecutor() as pool:
        pending: deque = deque()
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
