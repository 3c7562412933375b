"""FAISS, which is installed with the extra `search`."""

import os
from types import ModuleType

from alexnet_keras.errors import UsageError


def faiss_library() -> ModuleType:
    """The module `faiss`.

    Raises:
        UsageError: it is not installed.
    """
    # Between searches FAISS's threads would wait in a busy loop and keep TensorFlow's from the processor: on two cores
    # an encoder and a search then take 20 ms instead of 1. OpenMP reads this when it is loaded, which other libraries
    # may do earlier, so the commands ask for FAISS before TensorFlow.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import faiss
    except ImportError as error:
        raise UsageError("Search needs FAISS: pip install 'alexnet-keras[search]'.") from error
    return faiss
