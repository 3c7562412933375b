"""The images of figures: chosen by a seed, of different classes, with their captions, predictions and neighbours."""

import numpy as np
import pytest
from PIL import Image

from alexnet_keras import AlexNet
from alexnet_keras.errors import DataError
from alexnet_keras.evaluation.classifier import ClassProbability
from alexnet_keras.evaluation.image_inputs import stacked_images
from alexnet_keras.evaluation.predictions import Predictions
from alexnet_keras.visualization import images as drawing
from alexnet_keras.visualization.images import (
    CaptionedImage,
    draw_contact_sheet,
    draw_predictions,
    images_from_split,
    nearest_training_images,
    predicted_images,
)


@pytest.fixture
def predictions(prepared, tmp_path):
    """Predictions of the validation split that are right for all but the last two images."""
    count = prepared.examples("val")
    _, labels, _ = stacked_images(prepared, "val", range(count))
    probabilities = np.full((count, 3), 0.1, np.float32)
    predicted = np.where(np.arange(count) < count - 2, labels, (labels + 1) % 3)
    probabilities[np.arange(count), predicted] = 0.8
    return Predictions(tmp_path, {"run": "a-run", "split": "val"}, probabilities, labels)


def test_images_of_a_split_are_chosen_by_the_seed_of_every_class(prepared):
    first, again, other = (images_from_split(prepared, 3, seed) for seed in (1, 1, 2))
    assert sorted(image.label for image in first) == [0, 1, 2]
    assert [image.caption for image in first] == [prepared.titles[image.label] for image in first]
    assert all((one.image == two.image).all() for one, two in zip(first, again, strict=True))
    assert not all((one.image == two.image).all() for one, two in zip(first, other, strict=True))


def test_only_errors_are_chosen_on_request(prepared, predictions):
    assert len(predicted_images(predictions, prepared, 5)) == 5
    wrong = predicted_images(predictions, prepared, 5, only_errors=True)
    assert len(wrong) == 2
    for image in wrong:
        assert image.predictions[0].label == (image.label + 1) % 3
        assert [each.probability for each in image.predictions] == pytest.approx([0.8, 0.1, 0.1])


def test_a_run_without_errors_has_none_to_show(prepared, predictions):
    predictions.probabilities[:] = np.eye(3, dtype=np.float32)[predictions.labels]
    with pytest.raises(DataError, match="The run a-run makes no error on the val split"):
        predicted_images(predictions, prepared, 5, only_errors=True)


def test_the_nearest_training_image_of_a_training_image_is_itself(prepared, tiny):
    model = AlexNet(tiny, classes=3, seed=0)
    images, labels, filenames = stacked_images(prepared, "train", [4, 9])
    found = nearest_training_images(model, images, prepared, 2)
    assert [nearest.filenames[0] for nearest in found] == filenames
    assert [nearest.labels[0] for nearest in found] == labels.tolist()
    assert all(nearest.distances[0] == pytest.approx(0, abs=1e-2) for nearest in found)


def test_more_neighbours_than_training_images_are_refused(prepared, tiny):
    with pytest.raises(DataError, match="36 training images, too few for 37"):
        nearest_training_images(AlexNet(tiny, classes=3), np.zeros((1, 256, 256, 3), np.uint8), prepared, 37)


@pytest.mark.parametrize(("most", "shown"), [(3, 1), (48, 4)])
def test_a_contact_sheet_shows_as_many_images_as_there_are_class_by_class(
    prepared, tmp_path, monkeypatch, figures, most, shown
):
    monkeypatch.setattr(drawing, "SHEET_IMAGES", most)
    draw_contact_sheet(prepared, tmp_path / "sheet.png", "val")
    titles = [axis.get_title() for axis in figures[0].axes if axis.images]
    assert titles == [title for title in prepared.titles for _ in range(shown)]
    assert Image.open(tmp_path / "sheet.png").width > 2000


@pytest.mark.parametrize(
    ("label", "said"),
    [(1, "Green: the right class"), (0, "Green: the right class; red: the right class, where another is likelier")],
)
def test_the_colours_of_captions_are_explained(tmp_path, figures, label, said):
    guesses = [ClassProbability(1, "b", "b", 0.9), ClassProbability(0, "a", "a", 0.1)]
    image = CaptionedImage(np.zeros((256, 256, 3), np.uint8), "ab"[label], label, guesses)
    draw_predictions([image], tmp_path / "predictions.png")
    assert figures[0].axes[0].get_title(loc="left") == said
