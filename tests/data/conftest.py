"""Small images made by hand, in class folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


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
