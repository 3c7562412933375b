"""What the pages take for granted: photographs, ImageNet, other people's weights, runs, prepared datasets. Small."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from imagenet import as_tars
from narrow import FILTERS, UNITS
from plain_networks import random_arrays
from published_files import publish_torchvision
from written_files import binaryproto, caffemodel, state_names, write_pth

from alexnet_keras.data.dataset import PreparedDataset


@dataclass(frozen=True)
class Surroundings:
    """Makes what a page takes for granted, in the folder in which its commands are run.

    Attributes:
        folder: That folder.
        draw: `draw_images` of the tests' conftest.
        prepared: A small prepared dataset, of which every named one is a copy.
        run: A trained run's directory, likewise.
    """

    folder: Path
    draw: Callable[..., Path]
    prepared: PreparedDataset
    run: Path

    def make(self, name: str) -> None:
        """Makes one thing by its path; what no case names is an image."""
        first = name.partition("/")[0]
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match first:
            case "data":
                shutil.copytree(self.prepared.path, path)
            case "saved_models":
                shutil.copytree(self.run, path)
            case "elsewhere":
                as_tars(path)
            case "photos" | "trashnet":
                self.draw(path, {"cat": 10, "dog": 10})
            case "holiday":
                self._image(path / "beach.jpg")
                self._image(path / "mountain.jpg")
            case "bvlc_alexnet.caffemodel":
                sizes = (UNITS, UNITS, len(self.prepared.classes))
                path.write_bytes(caffemodel(random_arrays((FILTERS,) * 5, sizes)))
            case "imagenet_mean.binaryproto":
                path.write_bytes(binaryproto(np.full((3, 256, 256), 110, np.float32)))
            case "synset_words.txt":
                path.write_text("".join(f"{name}\n" for name in self.prepared.classes))
            case _:
                self._image(path)

    def publish(self, patch: pytest.MonkeyPatch) -> None:
        """Puts torchvision's weights, as narrow as the recipes, where PyTorch keeps what it downloads."""
        states = state_names(random_arrays((FILTERS,) * 5, (UNITS, UNITS, 1000), groups=1))
        publish_torchvision(patch, self.folder / ".torch", lambda path: write_pth(path, states))

    def _image(self, path: Path) -> None:
        drawn = self.draw(self.folder / ".drawn" / path.name, {"one": 1})
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(drawn / "one" / "000.jpg", path)
