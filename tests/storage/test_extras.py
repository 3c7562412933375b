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


@pytest.mark.parametrize("reason", ["libGL.so.1: cannot open shared object file", "No module named 'of_its_own'"])
def test_a_library_that_is_there_and_cannot_be_imported_is_not_said_to_be_missing(reason, tmp_path, monkeypatch):
    error = f"ModuleNotFoundError({reason!r}, name='of_its_own')" if "module" in reason else f"ImportError({reason!r})"
    (tmp_path / "cv2.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    with pytest.raises(UsageError, match=rf"^This needs OpenCV, which is installed and cannot be imported: {reason}$"):
        optional("cv2", "baselines")
