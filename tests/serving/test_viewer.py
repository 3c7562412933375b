"""What the page shows of an image: the classifier's answer, the right neighbours, the right figures."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.runs import Run
from alexnet_keras.serving import viewer as viewing
from alexnet_keras.serving.viewer import NearestImages


def pixels(embedded) -> np.ndarray:
    encoded = base64.b64decode(embedded["source"].partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def test_the_classes_are_those_of_the_classifier(viewer, images):
    image = (images / "val/green/001.jpg").read_bytes()
    expected = [
        {"class": each.name, "title": each.title, "probability": each.probability} for each in viewer.classifier(image)
    ]
    assert len(expected) == 3
    assert viewer.classify(image) == {"predictions": expected}
    assert viewer.explain(image)["predictions"] == expected


def test_a_training_image_is_nearest_to_itself_and_shown_with_its_class(viewer, images):
    path = images / "train/red/003.jpg"
    answer = viewer.explain(path.read_bytes())
    first, second, *_ = answer["nearest"]
    assert len(answer["nearest"]) == 6 and first["title"] == "red"
    assert answer["nearest_title"] == "Nearest training images"
    assert first["distance"] < 1e-2 * second["distance"]
    square = Image.fromarray(viewer.classifier.square(path)).resize((128, 128), Image.Resampling.LANCZOS)
    assert np.abs(pixels(first["image"]).astype(int) - np.asarray(square)).mean() < 15, (
        "of JPEG; the noise of other images differs by 30"
    )


def test_crop_heat_map_and_maps_are_of_the_image(viewer, images):
    path = images / "val/blue/002.jpg"
    answer = viewer.explain(path.read_bytes())
    crop = viewer.classifier.square(path)[16:240, 16:240].astype(int)
    assert np.abs(pixels(answer["crop"]) - crop).mean() < 15, "by JPEG"
    assert pixels(answer["heat"]).shape == (224, 224, 3)
    title = answer["predictions"][0]["title"]
    assert answer["heat"]["alt"].startswith(f"Heat map for {title}: ")
    assert [(maps["tower"], maps["layer"], maps["count"]) for maps in answer["maps"]] == [
        ("a", "conv1", 6),
        ("b", "conv1", 6),
    ]
    assert answer["maps"][0]["image"]["source"] != answer["maps"][1]["image"]["source"]
    json.dumps(answer)


@pytest.mark.parametrize(
    ("row", "column", "said"), [(0, 0, "at the top left"), (4, 4, "at the centre"), (8, 4, "at the bottom")]
)
def test_the_heat_map_is_described(row, column, said):
    heat = np.zeros((9, 9))
    assert "nothing" in viewing._place_of(heat)
    heat[row, column] = 1
    assert viewing._place_of(heat).endswith(said)


def test_the_heading_says_which_images_are_nearest(viewer, run, prepared, tiny, tmp_path):
    other = Run.create(tmp_path / "other", tiny, run.facts)
    shutil.copy(run.model_path, other.model_path)
    shutil.copytree(run.search_path, other.search_path)
    document = next(other.search_path.glob("*/search.json"))
    document.write_text(json.dumps({**json.loads(document.read_text()), "split": "val"}))
    assert NearestImages(other, viewer.classifier.model, prepared).title == "Nearest images of colors, val"
    shutil.copy(next(run.search_path.glob("*/search.json")), document)
    other.update({"data": {**other.facts["data"], "fingerprint": "0" * 64}})
    assert NearestImages(other, viewer.classifier.model, prepared).title == "Nearest images of colors, train"


def test_neighbours_need_an_index_of_this_model_and_this_data(viewer, run, prepared, tiny, tmp_path):
    model = viewer.classifier.model
    other = Run.create(tmp_path / "other", tiny, run.facts)
    shutil.copy(run.model_path, other.model_path)
    with pytest.raises(UsageError, match="no index"):
        NearestImages(other, model, prepared)
    shutil.copytree(run.search_path, other.search_path)
    assert NearestImages(other, model, prepared).index.rows == 36
    document = next(other.search_path.glob("*/search.json"))
    facts = json.loads(document.read_text())
    document.write_text(json.dumps({**facts, "fingerprint": "0" * 64}))
    with pytest.raises(DataError, match="other data"):
        NearestImages(other, model, prepared)
    document.write_text(json.dumps({**facts, "model_sha256": "0" * 64}))
    with pytest.raises(DataError, match="another model"):
        NearestImages(other, model, prepared)
