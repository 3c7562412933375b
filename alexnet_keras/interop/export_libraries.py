"""Libraries of the extra `export`, or the sentence that one is missing."""

import importlib
from types import ModuleType

from alexnet_keras.errors import UsageError


def library(name: str) -> ModuleType:
    """A module of the extra.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        what = name.partition(".")[0]
        raise UsageError(f"This export needs {what}: pip install 'alexnet-keras[export]'.") from error
