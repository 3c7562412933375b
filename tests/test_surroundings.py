"""What Keras's settings file says does not change the network."""

import json
import os
import subprocess
import sys

import pytest

ASK = """
import json, sys
import keras, numpy as np
from alexnet_keras import AlexNet
from alexnet_keras.network.summary import parameters_of
from alexnet_keras.training.optimizer import AlexNetSGD
from alexnet_keras.recipes.toml import load_recipe, with_overrides
small = [f"network.{name}.filters=4" for name in ("conv1", "conv2", "conv3", "conv4", "conv5")]
small += ["network.fc6.units=8", "network.fc7.units=6", "network.lrn.windows=layer"]
model = AlexNet(with_overrides(load_recipe("source"), small), classes=3, seed=1)
images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
model.compile(AlexNetSGD(0.01, 0.02), loss="sparse_categorical_crossentropy")
first = model(images, training=False)
losses = [float(model.train_on_batch(images, np.array([0, 1]))) for _ in range(2)]
print(json.dumps({
    "parameters": parameters_of(model), "format": keras.config.image_data_format(), "floatx": keras.config.floatx(),
    "dtypes": sorted({v.dtype for v in model.weights} | {v.dtype for v in model.optimizer.velocities}),
    "output": str(first.dtype), "first": np.asarray(first).tolist(), "rates": model.optimizer.rates, "losses": losses,
}))
"""


def answer(home, **settings):
    home.mkdir()
    (home / "keras.json").write_text(json.dumps({"backend": "tensorflow", "epsilon": 1e-7, **settings}))
    environment = {**os.environ, "KERAS_HOME": str(home), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return answer(tmp_path_factory.mktemp("usual") / "home", image_data_format="channels_last", floatx="float32")


@pytest.mark.slow
@pytest.mark.parametrize("floatx", ["float16", "float64"])
def test_the_network_is_the_same_whatever_keras_is_set_to(tmp_path, usual, floatx):
    found = answer(tmp_path / "home", image_data_format="channels_first", floatx=floatx)
    assert (found.pop("format"), found.pop("floatx")) == ("channels_first", floatx)
    losses = found.pop("losses")  # Keras's own loss computes in what the file says
    assert losses == pytest.approx(usual["losses"], rel=0.02 if floatx != "float64" else 1e-5)
    assert found == {key: usual[key] for key in found}
    assert found["dtypes"] == ["float32"]
