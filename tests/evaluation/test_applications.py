"""What users of keras.applications know: `preprocess_input`, `decode_predictions`, and weights by their name."""

import ml_dtypes
import numpy as np
import pytest
from PIL import Image
from plain_networks import random_arrays
from published_files import publish_torchvision
from small_networks import DENSE, FILTERS, small
from untrained import untrained_run
from written_files import state_names, write_pth

from alexnet_keras import AlexNet, Classifier, decode_predictions, preprocess_input
from alexnet_keras.data.class_names import imagenet_words
from alexnet_keras.errors import DataError, NotFiniteError, UsageError
from alexnet_keras.evaluation.image_inputs import UNCOMPRESSED, read_image
from alexnet_keras.interop.import_run import NO_DATA
from alexnet_keras.recipes.built_in import BUILT_IN


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A small network of 1000 classes as torchvision's published weights, and no runs."""
    states = state_names(random_arrays(FILTERS["torchvision"], (*DENSE[:2], 1000), groups=1))
    publish_torchvision(monkeypatch, tmp_path / "torch", lambda path: write_pth(path, states))
    monkeypatch.setitem(BUILT_IN, "torchvision", small("torchvision"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photo(images):
    return next((images / "val" / "red").iterdir())


def test_the_live_page_needs_no_run_either(published):
    pytest.importorskip("flask")
    from alexnet_keras.serving.server import application
    from alexnet_keras.serving.viewer import Viewer

    page = application(Viewer(Classifier(weights="torchvision"))).test_client().get("/").text
    assert "<h1>torchvision</h1>" in page and "goldfish" in page and "1,000 classes" in page


def test_a_classifier_of_published_weights_needs_no_run(published, photo):
    classifier = Classifier("torchvision")
    assert classifier.run is None and classifier.titles[:2] == ["tench", "goldfish"]
    found = classifier(photo)
    assert found == Classifier(weights="torchvision")(photo)
    model = AlexNet("torchvision", weights="imagenet")
    decoded = decode_predictions(model.predict(preprocess_input(photo), verbose=0))
    assert [(each.name, each.label) for each in found] == [(name, _label(name)) for name, _, _ in decoded[0]]
    np.testing.assert_allclose([each.probability for each in found], [one for _, _, one in decoded[0]], rtol=1e-5)


def _label(name):
    return list(imagenet_words()).index(name)


def test_a_run_of_that_name_is_the_one_that_is_meant(published, tiny, prepared, tmp_path):
    untrained_run(tmp_path / "saved_models" / "torchvision", tiny, prepared)
    assert Classifier("torchvision").run.name == "torchvision"
    assert Classifier(weights="torchvision").run is None


def test_what_is_neither_a_run_nor_published_is_refused(published):
    with pytest.raises(UsageError, match="There is no run 'torchvison'"):
        Classifier("torchvison")
    with pytest.raises(UsageError, match=r"weights are torchvision, caffe, caffenet, toronto. Received: weights='vgg'"):
        Classifier(weights="vgg")
    for given in ({"run": "torchvision"}, {"weights": "torchvision"}):
        with pytest.raises(UsageError, match=r"torchvision has one model, which is its best. Received: which='last'"):
            Classifier(**given, which="last")
    with pytest.raises(UsageError, match=r"A classifier has a run or weights. Received: run='a', weights='caffe'"):
        Classifier("a", weights="caffe")


@pytest.mark.parametrize("size", [224, 227])
def test_an_image_becomes_its_centre_as_for_a_run(size, photo):
    first = (256 - size) // 2
    expected = read_image(photo, UNCOMPRESSED)[first : first + size, first : first + size]
    opened = Image.open(photo)
    for image in (photo, str(photo), photo.read_bytes(), opened, np.asarray(opened)):
        crops = preprocess_input(image, size)
        assert crops.dtype == np.uint8
        np.testing.assert_array_equal(crops, expected[None])


def test_a_photograph_from_a_phone_stands_upright(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    upright = Image.open(photo)
    lying = tmp_path / "lying.png"
    upright.rotate(90, expand=True).save(lying, exif=exif)
    np.testing.assert_array_equal(preprocess_input(lying), preprocess_input(upright))
    np.testing.assert_array_equal(preprocess_input(Image.open(lying)), preprocess_input(upright))
    assert NO_DATA["options"]["exif"]


def test_several_images_become_a_batch_and_crops_stay_as_they_are(photo):
    crop = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    np.testing.assert_array_equal(preprocess_input(crop), crop[None])
    np.testing.assert_array_equal(preprocess_input(np.stack([crop, crop]).astype(np.float32)), [crop, crop])
    both = preprocess_input([photo, crop])
    np.testing.assert_array_equal(both[1], crop)
    np.testing.assert_array_equal(both[0], preprocess_input(photo)[0])


def test_images_that_are_none_are_refused(tmp_path):
    normalised = np.random.default_rng(0).normal(0, 1, (1, 224, 224, 3))
    with pytest.raises(DataError, match=r"its values are .* and not 0..255"):
        preprocess_input(normalised)
    with pytest.raises(UsageError, match="There is no file"):
        preprocess_input(tmp_path / "gone.jpg")
    with pytest.raises(UsageError, match="no image in an empty list"):
        preprocess_input([])
    with pytest.raises(UsageError, match=r"size must be 1 to 256. Received: size=257"):
        preprocess_input(normalised, 257)
    with pytest.raises(UsageError, match=r"size must be a whole number. Received: size='224'"):
        preprocess_input(normalised, "224")


def test_the_likeliest_classes_come_first_with_their_words():
    probabilities = np.zeros((2, 1000))
    probabilities[0, [5, 1, 0]] = 0.2, 0.5, 0.3
    probabilities[1, 999] = 1
    first, second = decode_predictions(probabilities, top=3)
    assert first[0] == ("n01443537", "goldfish, Carassius auratus", 0.5)
    assert [name for name, _, _ in first] == ["n01443537", "n01440764", "n01496331"]
    assert second[0][0] == max(imagenet_words()) and second[0][2] == 1.0
    assert [len(found) for found in decode_predictions(probabilities)] == [5, 5]


@pytest.mark.parametrize("shape", [(1000,), (2, 10), (2, 1000, 1)])
def test_probabilities_of_other_classes_are_refused(shape):
    with pytest.raises(UsageError, match=r"Probabilities must be \(images, 1000\). Received: shape="):
        decode_predictions(np.zeros(shape))


def test_probabilities_that_are_not_finite_have_no_classes():
    with pytest.raises(NotFiniteError, match="The probabilities"):
        decode_predictions(np.full((1, 1000), np.nan))
    with pytest.raises(UsageError, match="top must be at least 1"):
        decode_predictions(np.zeros((1, 1000)), top=0)
    with pytest.raises(UsageError, match="top must be a whole number"):
        decode_predictions(np.zeros((1, 1000)), top=2.5)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "bool", "object"])
def test_probabilities_of_a_quantised_network_are_not_ranked_as_if_they_had_no_scale(dtype):
    levels = np.zeros((1, 1000))
    levels[0, 7] = 1
    with pytest.raises(UsageError, match=f"Probabilities are floating-point numbers, 0..1. Received: dtype={dtype}"):
        decode_predictions(levels.astype(dtype))
    for kind in ("float16", ml_dtypes.bfloat16):
        assert decode_predictions(levels.astype(kind))[0][0][2] == 1.0
