"""Generated images, as large as photographs: where there are none to measure or to compare with."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 500, 375  # pixels, the most frequent size in ImageNet
QUALITY = 90  # with the grain below about 95 kB a file; ImageNet's have 110 on average
CLASSES = 4
DISTINCT = 16  # images that are drawn; the others are copies of them
GRAIN = 18.0  # standard deviation, 0..255


def write_images(folder: Path, number: int) -> None:
    """Write `number` images into a new folder, as `{train,val}/<class>/NNNN.jpg`: an eighth in val."""
    drawn = [jpeg(seed) for seed in range(min(DISTINCT, number))]
    held_out = max(CLASSES, number // 8)
    for split, count in (("train", max(CLASSES, number - held_out)), ("val", held_out)):
        for index in range(count):
            path = folder / split / f"class{index % CLASSES}" / f"{index:04d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(drawn[index % len(drawn)])


def jpeg(seed: int) -> bytes:
    """One image as JPEG: patches of all sizes, smaller ones fainter, as in photographs, and grain."""
    random = np.random.default_rng(seed)
    canvas = np.full((HEIGHT, WIDTH, 3), 127.0, np.float32)
    for level in range(1, 8):
        cells = 2**level
        patches = random.normal(0, 1, (max(1, cells * HEIGHT // WIDTH), cells, 3)).astype(np.float32)
        for channel in range(3):
            layer = Image.fromarray(patches[..., channel]).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            canvas[..., channel] += 60.0 / level * np.asarray(layer)
    canvas += random.normal(0, GRAIN, (HEIGHT, WIDTH, 1)).astype(np.float32)
    file = io.BytesIO()
    Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
