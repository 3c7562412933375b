"""The built-in demo set: images drawn by code from a seed, written as ordinary JPEG files in class folders.

Twelve classes: red or blue, disc or square or triangle, with horizontal or vertical stripes. None of the three
properties follows from the others or from the background, and shapes of all three kinds cover the same area. Everything
else varies from image to image: its size and proportions, the shape's position, size and tilt, the stripes' period and
phase, hue, brightness, light and background. The files are then listed, and prepared, like any other folder."""

import colorsys
import itertools
import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.data.sources.source import Source, no_progress
from alexnet_keras.errors import UsageError
from alexnet_keras.reporter import Advance
from alexnet_keras.storage.documents import write_json
from alexnet_keras.storage.files import PARTIAL, write_by_rename
from alexnet_keras.storage.locks import locked


class Kind(NamedTuple):
    """The properties of a class."""

    color: str
    shape: str
    stripes: str

    @property
    def folder(self) -> str:
        """The class's name as a folder: "red-disc-vertical"."""
        return "-".join(self)


_PROPERTIES = (("red", "blue"), ("disc", "square", "triangle"), ("horizontal", "vertical"))
KINDS = tuple(itertools.starmap(Kind, itertools.product(*_PROPERTIES)))
HUES = {"red": 0.995, "blue": 0.605}  # around the circle 0..1, each +-0.025
SHORT_SIDE = (200, 320)  # pixels
LONG_SIDE = 420
TILT = 10.0  # degrees either way


def draw(kind: Kind, seed: int, split: str, index: int) -> np.ndarray:
    """Draw image `index` of a kind in a split, (height, width, 3) uint8; it depends only on these arguments."""
    rng = np.random.default_rng([seed, zlib.crc32(split.encode()), KINDS.index(kind), index])
    short = int(rng.integers(*SHORT_SIDE, endpoint=True))
    long = min(int(short * rng.uniform(1.0, 1.45)), LONG_SIDE)
    width, height = (short, long) if rng.random() < 0.5 else (long, short)
    canvas = _background(rng, width, height)

    # The shape stays inside the centred square that preparation keeps.
    radius = short * rng.uniform(0.17, 0.27)
    reach = 1.5 if kind.shape == "triangle" else 1.2
    room = max(short * 0.47 - reach * radius, 0)
    x, y = np.float32(width / 2 + rng.uniform(-room, room)), np.float32(height / 2 + rng.uniform(-room, room))
    tilt = np.deg2rad(rng.uniform(-TILT, TILT))
    rows = np.arange(height, dtype=np.float32)[:, None] - y
    columns = np.arange(width, dtype=np.float32)[None] - x
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    u, v = columns * cos + rows * sin, rows * cos - columns * sin

    drop = radius * 0.12
    shadow = np.clip(0.5 - (_distance(kind.shape, u - drop, v - drop, radius) / (radius * 0.35)), 0, 1)
    canvas *= 1 - np.float32(rng.uniform(0.2, 0.4)) * (shadow * shadow)[..., None]

    outside = _distance(kind.shape, u, v, radius)
    cover = np.clip(0.5 - outside, 0, 1)[..., None]  # antialiasing: an edge is one pixel wide
    return np.clip(canvas + (_surface(kind, rng, u, v, outside, radius) - canvas) * cover, 0, 255).astype(np.uint8)


def _distance(shape: str, u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """Pixels to the outline, negative inside; the three shapes have the area of a disc of this radius."""
    if shape == "disc":
        return np.sqrt(u * u + v * v) - radius
    rounding = 0.1 * radius
    if shape == "square":
        half = radius * 0.89 - rounding
        across, down = np.abs(u) - half, np.abs(v) - half
        corner = np.sqrt(np.maximum(across, 0) ** 2 + np.maximum(down, 0) ** 2)
        return corner + np.minimum(np.maximum(across, down), 0) - rounding
    inner = radius * 0.79  # of the circle inside an equilateral triangle of the same area
    sides = [v - inner, *(np.float32(s * 0.8660254) * u - 0.5 * v - inner for s in (1, -1))]
    # A smooth maximum of the three, which rounds the corners.
    sharpness = np.float32(4 / rounding)
    greatest = np.maximum(np.maximum(sides[0], sides[1]), sides[2])
    return greatest + np.log(sum(np.exp((side - greatest) * sharpness) for side in sides)) / sharpness


def _surface(
    kind: Kind, rng: np.random.Generator, u: np.ndarray, v: np.ndarray, outside: np.ndarray, radius: float
) -> np.ndarray:
    """(height, width, 3) float32, 0..255: light and dark stripes of one colour, lit from above left."""
    hue = (HUES[kind.color] + rng.uniform(-0.025, 0.025)) % 1.0
    light = _rgb(hue, rng.uniform(0.25, 0.45), rng.uniform(0.92, 1.0))
    dark = _rgb(hue, rng.uniform(0.8, 1.0), rng.uniform(0.5, 0.75))
    period = radius * rng.uniform(0.42, 0.68)
    along = v if kind.stripes == "horizontal" else u
    wave = np.sin(along * np.float32(2 * np.pi / period) + np.float32(rng.uniform(0, 2 * np.pi)))
    mix = (0.5 + 0.5 * np.tanh(np.float32(period / 5) * wave))[..., None]
    shade = 1 - np.float32(rng.uniform(0.08, 0.2)) * (u + v) / radius
    rim = 0.3 * np.exp(np.minimum(outside, 0) / np.float32(0.12 * radius))
    return (dark + (light - dark) * mix) * (shade - rim)[..., None]


def _background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """(height, width, 3) float32, 0..255: soft patches of any colour, and a little grain."""
    canvas = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((int(rng.integers(2, 4)), 0.7), (int(rng.integers(5, 8)), 0.3)):
        colors = [_rgb(rng.random(), rng.uniform(0.1, 0.75), rng.uniform(0.35, 1.0)) for _ in range(cells * cells)]
        patches = np.array(colors).reshape(cells, cells, 3).astype(np.uint8)
        canvas += weight * np.asarray(Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC))
    grain = rng.standard_normal((height, width), np.float32) * np.float32(rng.uniform(1, 5))
    return canvas + grain[..., None]


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32) * 255


TRAIN_IMAGES = 100  # of each class
VAL_IMAGES = 25
QUALITY = 92
LOCK = ".demo.lock"  # held while images are drawn
MARKER = ".demo.json"  # marks the folder as a demo set, and holds the options its images were drawn with


def demo_images(train: int = TRAIN_IMAGES, val: int = VAL_IMAGES) -> int:
    """The number of images that `demo_source` draws, of all classes and splits."""
    return len(KINDS) * (train + val)


def demo_source(
    folder: Path,
    *,
    seed: int = 0,
    train: int = TRAIN_IMAGES,
    val: int = VAL_IMAGES,
    overwrite: bool = False,
    advance: Advance = no_progress,
) -> Source:
    """Draw the demo images that a folder lacks, and list them.

    Args:
        folder: Receives `{train,val}/<class>/NNN.jpg`.
        seed: An image depends only on this, its split, its class and its number.
        train: Training images of each class.
        val: Validation images of each class.
        overwrite: Replace demo images of another seed or number.
        advance: Called with the number of images drawn since the last call.

    Raises:
        UsageError: The folder holds something else, or demo images of another seed or number.
    """
    numbers = {"train": train, "val": val}
    wanted = [(split, kind, index) for split, number in numbers.items() for kind in KINDS for index in range(number)]

    def write(split: str, kind: Kind, index: int) -> None:
        path = folder / split / kind.folder / f"{index:03d}.jpg"
        if not path.exists():
            with write_by_rename(path) as partial:
                Image.fromarray(draw(kind, seed, split, index)).save(partial, "JPEG", quality=QUALITY)

    _check_ours(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK, None), ThreadPoolExecutor() as pool:
        _claim(folder, {"seed": seed, **numbers}, overwrite)
        for split, kind, _ in wanted:
            (folder / split / kind.folder).mkdir(parents=True, exist_ok=True)
        drawings = [pool.submit(write, *image) for image in wanted]
        try:
            for drawing in drawings:
                drawing.result()
                advance(1)
        finally:
            pool.shutdown(cancel_futures=True)  # an interruption waits only for the images being drawn
    return folder_source(folder, given="demo")


def _check_ours(folder: Path) -> None:
    """Refuse a folder that holds anything but demo images."""
    if not folder.exists() or (folder / MARKER).exists():
        return
    if not folder.is_dir() or any(not path.name.startswith((LOCK, PARTIAL)) for path in folder.iterdir()):
        raise UsageError(f"The demo images go into {folder}, which holds something else; choose another --out.")


def _claim(folder: Path, options: dict[str, int], overwrite: bool) -> None:
    """Mark the folder as a demo set of these options, and remove images that were drawn with others."""
    marker = folder / MARKER
    if marker.exists():
        try:
            before = json.loads(marker.read_text(encoding="utf-8"))
        except ValueError:
            before = None
        if before == options:
            return
        if not overwrite:
            raise UsageError(
                f"{folder} holds demo images drawn with {before}, not {options}. "
                "Choose another --out, or draw them again with --overwrite."
            )
        for kind in KINDS:
            for image in folder.glob(f"*/{kind.folder}/*.jpg"):
                image.unlink()
    write_json(marker, options, indent=None)
