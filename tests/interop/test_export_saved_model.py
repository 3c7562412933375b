"""A SavedModel, used as by someone who has TensorFlow and not this package."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from alexnet_keras import Classifier
from alexnet_keras.data.images import fit_to_square
from alexnet_keras.evaluation.image_inputs import preparation_of
from alexnet_keras.interop.exported import exported_network
from alexnet_keras.interop.import_run import NO_DATA
from alexnet_keras.interop.tensorflow_formats import open_saved_model, write_saved_model
from alexnet_keras.runs import Run

pytestmark = pytest.mark.slow  # the conversion is

ELSEWHERE = """
import sys
sys.modules["alexnet_keras"] = sys.modules["keras"] = None
import json
import numpy as np
import tensorflow as tf

loaded = tf.saved_model.load(sys.argv[1])
images = np.load(sys.argv[2])
found = loaded.signatures["serving_default"](images=tf.constant(images))["probabilities"]
one = loaded.signatures["file"](encoded=tf.constant(open(sys.argv[3], "rb").read()))["probabilities"]
labels = loaded.signatures["labels"]()
print(json.dumps({
    "images": found.numpy().tolist(),
    "file": one.numpy().tolist(),
    "titles": [title.decode() for title in labels["titles"].numpy()],
    "names": [name.decode() for name in labels["names"].numpy()],
}))
"""


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    path = folder / "r[1]{x}*?" / "saved"  # for TensorFlow a pattern that is of other files
    write_saved_model(exported_network(run), path)
    assert open_saved_model(path)(np.zeros((1, 256, 256, 3), np.uint8)).shape == (1, 3)
    return path.rename(folder / "saved")


def test_it_needs_neither_this_package_nor_keras(written, run, samples, images, tmp_path):
    np.save(tmp_path / "images.npy", samples.images)
    photo = next((images / "val").rglob("*.jpg"))
    command = [sys.executable, "-c", ELSEWHERE, str(written), str(tmp_path / "images.npy"), str(photo)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    found = json.loads(result.stdout)
    classifier = Classifier(run)
    np.testing.assert_allclose(found["images"], classifier.predictor(samples.images), atol=1e-5)
    np.testing.assert_allclose(found["file"], classifier.predictor(classifier.square(photo)[None])[0], atol=1e-5)
    assert found["titles"] == ["Blau", "grün", "красный"] and found["names"] == run.facts["classes"]


def test_of_imported_weights_the_bytes_of_a_file_are_all_that_is_asked_for(run, tmp_path):
    """Here their photographs are turned upright; the export's one input stays."""
    imported = Run(shutil.copytree(run.path, tmp_path / "imported"))
    imported.update({"data": NO_DATA})
    assert preparation_of(imported).decoding.exif
    assert not exported_network(imported).preparation.decoding.exif


def test_a_full_disk_is_pythons(run, tmp_path, monkeypatch):
    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "variables; No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write_saved_model(exported_network(run), tmp_path / "saved")


def test_labels_are_an_asset(written):
    assert (written / "assets/labels.txt").read_text(encoding="utf-8") == "Blau\ngrün\nкрасный\n"


def test_a_png_is_prepared_as_a_jpeg_is(written, run, samples):
    encoded = tf.io.encode_png(np.tile(samples.images[0], (2, 3, 1))).numpy()
    loaded = tf.saved_model.load(str(written))
    found = loaded.signatures["file"](encoded=tf.constant(encoded))["probabilities"]
    classifier = Classifier(run)
    assert np.abs(fit_to_square(encoded).astype(int) - samples.images[0]).max() > 0, "resized"
    np.testing.assert_allclose(found, classifier.predictor(classifier.square(encoded)[None])[0], atol=1e-5)


def test_orientation_is_asked_for_where_the_data_was_turned(run_of, tiny, prepared, tmp_path):
    data = {**prepared.facts, "options": {**prepared.facts["options"], "exif": True}}
    run = run_of(tiny, data=data)
    write_saved_model(exported_network(run), tmp_path / "out")
    file = tf.saved_model.load(str(tmp_path / "out")).signatures["file"]
    assert set(file.structured_input_signature[1]) == {"encoded", "orientation"}
