"""Libraries that only an optional extra of the package installs."""

import importlib
from typing import Any

from alexnet_keras.errors import UsageError

# Libraries that people know by another name than that of their module.
NAMES = {
    "apache_beam": "Apache Beam",
    "cv2": "OpenCV",
    "faiss": "FAISS",
    "flask": "Flask",
    "pillow_heif": "pillow-heif",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "threadpoolctl": "scikit-learn",  # which installs it
    "waitress": "Waitress",
}


def optional(module: str, extra: str) -> Any:
    """Import a module that an optional extra installs.

    Args:
        module: Its name, such as "sklearn.mixture".
        extra: The extra, such as "baselines".

    Returns:
        The module.

    Raises:
        UsageError: It is not installed, and the sentence says what to install; or it cannot be imported, and why.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        name = NAMES.get(package, package)
        if isinstance(error, ModuleNotFoundError) and error.name in (package, module):
            raise UsageError(f"This needs {name}: pip install 'alexnet-keras[{extra}]'.") from error
        raise UsageError(f"This needs {name}, which is installed and cannot be imported: {error}") from error
