"""What the live page shows of an image: likeliest classes, heat map, first layer's maps, nearest indexed images."""

from dataclasses import asdict, replace
from typing import Any

import keras
import numpy as np

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.images import SHAPE
from alexnet_keras.errors import DataError
from alexnet_keras.evaluation.classifier import Classifier, ClassProbability
from alexnet_keras.evaluation.features import FeatureExtractor
from alexnet_keras.evaluation.image_inputs import stacked_images
from alexnet_keras.layers.towers import tower_letter
from alexnet_keras.network.summary import tower_layers
from alexnet_keras.reports.page import lossless, photograph
from alexnet_keras.runs import IMPORTED, Run
from alexnet_keras.search.index import check_same_model, latest_index, open_index
from alexnet_keras.visualization.activations import feature_maps, map_image
from alexnet_keras.visualization.grad_cam import GradCAM

MOST_PIXELS = 64_000_000  # of an image; takes 0.6 GB to decode
NEIGHBORS = 6
NEIGHBOR_SIDE = 128  # pixels


class NearestImages:
    """The indexed images nearest to an image, by a run's best model and latest index, and the dataset of that.

    Attributes:
        title: What they are, as a heading; training images only where the run was trained on them.

    Raises:
        UsageError: FAISS is missing, or the run has no index.
        DataError: The index is damaged, of another model or of other data.
    """

    def __init__(self, run: Run, model: keras.Model, data: PreparedDataset) -> None:
        self.index, self.data = open_index(latest_index(run)), data
        self.index.hold()
        check_same_model(self.index, run)
        if self.index.origin.fingerprint != data.fingerprint:
            raise DataError(f"The index {self.index.path} was built from other data than {data.path}.")
        split = self.index.origin.split
        trained = run.status != IMPORTED and run.facts["data"].get("fingerprint") == data.fingerprint
        known = trained and split == "train"
        self.title = "Nearest training images" if known else f"Nearest images of {data.name}, {split}"
        self.extract = FeatureExtractor(model, self.index.origin.layer)

    def __call__(self, square: np.ndarray) -> list[dict[str, Any]]:
        """Find the six images nearest to an image uint8 `(256, 256, 3)`, nearest first: class, distance and image.

        Raises:
            DataError: A file of the index or a record of the dataset is damaged.
        """
        found = self.index.exact(self.extract(square[None]), NEIGHBORS)
        images, labels, _ = stacked_images(self.data, self.index.origin.split, found.rows[0])
        titles = [self.index.titles[label] for label in labels]
        return [
            {"title": title, "distance": distance, "image": asdict(photograph(image, NEIGHBOR_SIDE, ""))}
            for title, distance, image in zip(titles, found.distances[0].tolist(), images, strict=True)
        ]


class Viewer:
    """A classifier, with figures that explain its answers and, where it has an index, the nearest images.

    Images stay in memory and are forgotten with the answer.

    Raises:
        NotFiniteError: The network's outputs are not finite.
    """

    def __init__(self, classifier: Classifier, nearest: NearestImages | None = None) -> None:
        self.classifier, self.nearest = classifier, nearest
        self.explain_heat = GradCAM(classifier.model)
        self.first_layer = tower_layers(classifier.model)[0].name
        decoding = classifier.preparation.decoding
        decoding = replace(decoding, max_pixels=min(decoding.max_pixels, MOST_PIXELS))
        self.preparation = replace(classifier.preparation, decoding=decoding)
        self._explain(np.zeros(SHAPE, np.uint8))  # what is compiled at its first use, before anybody waits for it

    def classify(self, encoded: bytes) -> dict[str, Any]:
        """Name the five likeliest classes of an image file's bytes, as `alexnet predict --json` does.

        Raises:
            UnreadableImage: The bytes are no image that can be used; the message is the reason.
        """
        return _named(self._predictions(self.preparation.square(encoded)))

    def explain(self, encoded: bytes) -> dict[str, Any]:
        """Classify an image file's bytes, and explain the likeliest class.

        Returns:
            `predictions` as of `classify`; `crop` and `heat`, the network's input and its heat map; `maps` of the first
            layer's towers; the `nearest` images and `nearest_title`, which says what they are, None without an index.

        Raises:
            UnreadableImage: The bytes are no image that can be used; the message is the reason.
        """
        return self._explain(self.preparation.square(encoded))

    def _predictions(self, square: np.ndarray) -> list[ClassProbability]:
        return self.classifier.decode(self.classifier.predictor(square[None])[0])

    def _explain(self, square: np.ndarray) -> dict[str, Any]:
        predictions = self._predictions(square)
        title, heat = predictions[0].title, self.explain_heat(square, predictions[0].label)
        found = feature_maps(self.classifier.model, self.first_layer, square)
        side = len(heat.crop)
        place = _place_of(heat.heat)
        return _named(predictions) | {
            "crop": asdict(photograph(heat.crop, side, "The centre of the image, which the network sees.")),
            "heat": asdict(photograph(heat.overlay, side, f"Heat map for {title}: {place}.")),
            "maps": [
                {
                    "tower": tower_letter(number),
                    "layer": self.first_layer,
                    "count": maps.shape[-1],
                    "image": asdict(lossless(map_image(maps), f"Maps of tower {tower_letter(number)}.")),
                }
                for number, maps in enumerate(found.towers)
            ],
            "nearest_title": self.nearest and self.nearest.title,
            "nearest": self.nearest and self.nearest(square),
        }


def _named(predictions: list[ClassProbability]) -> dict[str, Any]:
    return {"predictions": [each.to_dict() for each in predictions]}


def _place_of(heat: np.ndarray) -> str:
    """Say where a heat map `(side, side)` is hottest, for those who do not see it."""
    if not heat.any():
        return "nothing in the image speaks for this class"
    row, column = (
        3 * place // side for place, side in zip(np.unravel_index(heat.argmax(), heat.shape), heat.shape, strict=True)
    )
    vertical, horizontal = ("top", "", "bottom")[row], ("left", "", "right")[column]
    return f"hottest at the {' '.join(filter(None, (vertical, horizontal))) or 'centre'}"
