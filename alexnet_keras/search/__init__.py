"""Images like an image: a layer's features on disk, exact search and binary codes."""

import os
from types import ModuleType

from alexnet_keras.storage.extras import optional


def faiss_library() -> ModuleType:
    """Import the module `faiss`, before TensorFlow where that is possible.

    Between searches FAISS's threads would wait in a busy loop and keep TensorFlow's from the processor: on two cores
    an encoder and a search then take 20 ms instead of 1. OpenMP reads the variable that prevents it when it is loaded,
    which other libraries may do earlier.

    Raises:
        UsageError: It is not installed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return optional("faiss", "search")
