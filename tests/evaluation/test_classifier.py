"""Images named by a run: files are prepared exactly as training's images were."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiers import rest_slow
from untrained import untrained_run

from alexnet_keras import Classifier, Run, publish
from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.data.preparation import prepare
from alexnet_keras.errors import DataError, NotFiniteError, UsageError
from alexnet_keras.evaluation.image_inputs import Preparation, preparation_of, read_image, some_images, stacked_images


@pytest.fixture(scope="module", params=rest_slow((("jpeg", 80), ("raw", None))), ids=["jpeg", "raw"])
def run_and_data(request, tiny, images, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param[0])
    encoding, quality = request.param
    data = prepare(images, root / "data", encoding=encoding, quality=quality)
    return untrained_run(root / "run", tiny, data), data


def test_a_file_is_what_training_read_of_it_bit_for_bit(run_and_data, images):
    run, data = run_and_data
    preparation = preparation_of(run)
    (batch,) = evaluation_batches(data, "val", 100)
    for image, filename in zip(batch[0].numpy(), batch[2].numpy(), strict=True):
        path = next(images.rglob(f"val/{filename.decode().removeprefix('val/')}"))
        np.testing.assert_array_equal(read_image(path, preparation), image)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "https://example.org/a.jpg",
            "^https://example.org/a.jpg is a URL, and nothing is fetched: download it and give",
        ),
        ("gone.jpg", "^There is no file gone.jpg.$"),
        ("a" * 300, "is no file name; give the contents of a file as bytes"),
        ("a/" * 3000, "is no file name; give the contents of a file as bytes"),
        ("a\0.jpg", "is no file name; give the contents of a file as bytes"),
    ],
)
def test_what_is_no_file_name_is_distinguished_from_a_missing_file(name, reason):
    with pytest.raises(UsageError, match=reason):
        read_image(Path(name), Preparation())


def test_three_lines_of_python(run_and_data, images):
    run, data = run_and_data
    classifier = Classifier(run.path)
    path = next((images / "val" / "red").iterdir())
    guesses = classifier(path, count=3)
    expected = classifier.predictor(classifier.square(path)[None])[0]
    assert [found.probability for found in guesses] == sorted(expected.tolist(), reverse=True)
    assert {found.title for found in guesses} == set(data.classes)
    assert classifier(path.read_bytes(), count=3) == guesses


def test_many_files_come_in_order_and_bad_ones_with_their_error(run_and_data, images, tmp_path):
    run, _ = run_and_data
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    files = sorted((images / "val").rglob("*.jpg"))
    files[5:5] = [tmp_path / "bad.jpg", tmp_path / "nowhere.jpg"]
    classifier = Classifier(run)
    answers = list(classifier.many(files, 3))
    assert [answer.path for answer in answers] == files
    assert isinstance(answers[5].error, DataError)
    assert isinstance(answers[6].error, UsageError)
    for answer in answers[:5] + answers[7:]:
        alone = classifier(answer.path, 3)
        assert [found.name for found in answer.predictions] == [found.name for found in alone]
        np.testing.assert_allclose(
            [found.probability for found in answer.predictions], [found.probability for found in alone], rtol=1e-4
        )


def test_bytes_that_are_no_image_are_refused(run_and_data, tmp_path):
    classifier = Classifier(run_and_data[0])
    with pytest.raises(DataError, match="no image"):
        classifier(b"GIF89a, not quite")
    with pytest.raises(DataError, match="cannot be read"):
        classifier(tmp_path)


def test_images_of_every_kind_come_in_order_and_are_answered_as_files_are(run_and_data, images):
    classifier = Classifier(run_and_data[0])
    files = sorted((images / "val").rglob("*.jpg"))[:3]
    opened = [Image.open(file) for file in files]
    same = opened[1]
    mixed = [
        files[0],
        np.asarray(opened[0]),
        same,
        same,
        files[2].read_bytes(),
        files[2].open("rb"),
        None,
        "nowhere.jpg",
    ]
    answers = classifier(mixed, 3)
    assert [answer.path for answer in answers] == [files[0], *[None] * 6, Path("nowhere.jpg")]
    assert [type(answer.error) for answer in answers[-2:]] == [UsageError, UsageError]
    for answer, index in zip(answers[:-2], (0, 0, 1, 1, 2, 2), strict=True):
        expected = classifier(files[index], 3)
        assert [found.name for found in answer.predictions] == [found.name for found in expected]
        np.testing.assert_allclose(
            [found.probability for found in answer.predictions], [found.probability for found in expected], atol=0.02
        )
    squares = np.stack([classifier.square(file) for file in files])
    for several in (squares, (square for square in squares), list(squares)):
        assert [answer.predictions[0].name for answer in classifier(several)] == [
            classifier(f)[0].name for f in squares
        ]
    assert classifier([]) == []


def test_wrong_arguments_are_refused(run_and_data):
    classifier = Classifier(run_and_data[0])
    for one in ("photo.jpg", np.zeros((9, 9, 3), np.uint8), None):
        with pytest.raises(UsageError, match="is not several images: give a list of them"):
            list(classifier.many(one))
    for count, said in ((0, "at least 1"), (-1, "at least 1"), (2.5, "a whole number")):
        with pytest.raises(UsageError, match=f"count must be {said}"):
            classifier(np.zeros((9, 9, 3), np.uint8), count)
        with pytest.raises(UsageError, match=f"count must be {said}"):
            classifier([], count)
    for probabilities, said in ((np.ones(4), r"\(3,\). Received: shape=\(4,\)"), (np.ones(3, np.uint8), "dtype=uint8")):
        with pytest.raises(UsageError, match=said):
            classifier.decode(probabilities)


@pytest.mark.parametrize("classes", [["blue", "green"], ["blue", "grey", "green", "red"]])
def test_a_network_whose_outputs_are_not_the_run_s_classes_is_refused(classes, run_and_data, tmp_path):
    run = Run(Path(shutil.copytree(run_and_data[0].path, tmp_path / "run")))
    run.update({"classes": classes})
    with pytest.raises(DataError, match=rf"model.keras has 3 outputs, and run.json names {len(classes)} classes: one "):
        Classifier(run)


def test_a_run_whose_weights_are_not_finite_answers_nothing(run_and_data, tmp_path):
    run = Run(Path(shutil.copytree(run_and_data[0].path, tmp_path / "run")))
    model = run.load_model()
    model.get_layer("conv1").kernels[0].assign(np.full(model.get_layer("conv1").kernels[0].shape, np.nan))
    model.save(run.model_path)
    with pytest.raises(NotFiniteError, match=r"model.keras has weights conv1/kernel_a that are not finite"):
        Classifier(run)


def test_a_published_run_is_no_run_yet(run_and_data, tmp_path):
    publish(run_and_data[0], tmp_path / "net")
    with pytest.raises(UsageError, match=r"net is a published run: `alexnet import \S+net` makes a run of it"):
        Classifier(tmp_path / "net")


def test_ten_crops_are_averaged_where_asked_for(run_and_data, tmp_path):
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (300, 280, 3), np.uint8)).save(tmp_path / "noise.png")
    run = run_and_data[0]
    one, ten = (Classifier(run, ten_crop=ten)(tmp_path / "noise.png") for ten in (False, True))
    assert one != ten


def test_images_of_a_split_by_position(prepared):
    images, labels, filenames = stacked_images(prepared, "train", [30, 2, 17])
    (everything,) = evaluation_batches(prepared, "train", 100)
    np.testing.assert_array_equal(images, everything[0].numpy()[[30, 2, 17]])
    np.testing.assert_array_equal(labels, everything[1].numpy()[[30, 2, 17]])
    assert filenames == [everything[2].numpy()[index].decode() for index in (30, 2, 17)]


def test_some_images_are_of_different_classes_and_follow_the_seed(prepared):
    _, labels, filenames = some_images(prepared, "val", 3, seed=1)
    assert sorted(labels) == [0, 1, 2]
    assert some_images(prepared, "val", 3, seed=1)[2] == filenames
    assert any(some_images(prepared, "val", 3, seed=seed)[2] != filenames for seed in (2, 3))
    with pytest.raises(DataError, match="fewer than the 13 requested"):
        some_images(prepared, "val", 13)
