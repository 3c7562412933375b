"""Libraries of optional extras, and the sentence where one is missing."""

import json
import sys
import tomllib
from pathlib import Path

import pytest

from alexnet_keras.errors import UsageError
from alexnet_keras.storage.extras import optional

PROJECT = Path(__file__).parents[2]


def test_a_library_that_is_there_is_returned():
    assert optional("json", "any") is json


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [
        ("apache_beam", "Apache Beam", "beam"),
        ("cv2", "OpenCV", "baselines"),
        ("faiss", "FAISS", "search"),
        ("huggingface_hub", "huggingface_hub", "hub"),
        ("onnx", "onnx", "export"),
        ("pillow_heif", "pillow-heif", "heic"),
        ("pyarrow.parquet", "pyarrow", "parquet"),
        ("sklearn.mixture", "scikit-learn", "baselines"),
    ],
)
def test_a_missing_library_is_named_with_the_extra_that_installs_it(module, name, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"^This needs {name}: pip install 'alexnet-keras\[{extra}\]'\.$"):
        optional(module, extra)
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    assert extra in settings["project"]["optional-dependencies"]
