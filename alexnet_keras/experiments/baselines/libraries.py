"""OpenCV, scikit-image and scikit-learn, which are installed with the extra `baselines`."""

import importlib
from types import ModuleType

from alexnet_keras.errors import UsageError

_NEEDED = {"cv2": "OpenCV", "skimage": "scikit-image", "sklearn": "scikit-learn", "threadpoolctl": "scikit-learn"}


def library(module: str) -> ModuleType:
    """A module of one of the three libraries: "cv2", "skimage.feature", "sklearn.mixture".

    Raises:
        UsageError: the library is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = _NEEDED[module.split(".")[0]]
        raise UsageError(f"The classical systems need {name}: pip install 'alexnet-keras[baselines]'.") from error


def check_libraries() -> None:
    """Asks for all of them, before any work is done.

    Raises:
        UsageError: one is not installed.
    """
    for module in _NEEDED:
        library(module)
