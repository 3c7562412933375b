"""Small images made by hand, in class folders."""

from pathlib import Path

import numpy as np
import pytest
from layouts import image
from PIL import Image
from small_sets import COUNTS


@pytest.fixture
def make_folder(tmp_path):
    """`make_folder({"train/cat": 3, "train/dog": 2})`: a folder of random JPEG images of varying size."""

    def make(counts: dict[str, int], name: str = "pictures") -> Path:
        for number, (folder, count) in enumerate(counts.items()):
            (tmp_path / name / folder).mkdir(parents=True)
            for index in range(count):
                rng = np.random.default_rng([number, index])
                coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
                size = (int(rng.integers(40, 400)), int(rng.integers(40, 400)))
                image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
                image.save(tmp_path / name / folder / f"{index:03d}.jpg", quality=90)
        return tmp_path / name

    return make


@pytest.fixture
def folder(make_folder):
    """Twenty training images of cats and dogs, and five to validate on."""
    return make_folder(COUNTS)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """`made("a/1.jpg b/")`: files and folders below "photos"; the working directory is the one above."""
    monkeypatch.chdir(tmp_path)

    def make(spec: str) -> Path:
        for name in spec.split():
            path = Path("photos", name.replace("~", " "))
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.write_bytes(image(1) if path.suffix in (".jpg", ".JPEG", "") else b"no image at all")
        return Path("photos")

    return make
