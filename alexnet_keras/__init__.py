"""AlexNet (Krizhevsky, Sutskever and Hinton, 2012) in Keras 3, faithful to the paper and to the released code.

    from alexnet_keras import Classifier as Classifier
    from alexnet_keras import ProgressBar as ProgressBar
    from alexnet_keras import evaluate as evaluate
    from alexnet_keras import prepare as prepare
    from alexnet_keras import train as train

    data = prepare("demo")  # drawings made by code, or "photos": your own, in class folders
    run = train(data, "quickstart", reporter=ProgressBar())
    print(evaluate(run, views="ten-crop").top1)
    print(Classifier(run)("photo.jpg")[0].title)

`AlexNet(recipe="source", classes=1000)` is the network alone, a functional `keras.Model`. `resume` continues a run
that was stopped, `Run.load("my-run")` opens one. On the command line all of it is `alexnet --help`, or
`python -m alexnet_keras --help`.

Importing this package is light: Keras and TensorFlow are imported when a name that needs them is used. Its layers,
loss and optimizer are registered with Keras the moment Keras is imported, before or after this package, so that
`keras.saving.load_model` opens a saved model with no `custom_objects`.
"""

import importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:  # editors and type checkers do not follow __getattr__; `as` says to them that a name is public
    from alexnet_keras.api import evaluate as evaluate
    from alexnet_keras.api import publish as publish
    from alexnet_keras.api import resume as resume
    from alexnet_keras.api import train as train
    from alexnet_keras.data.dataset import open_prepared as open_prepared
    from alexnet_keras.data.image_batches import ImageBatches as ImageBatches
    from alexnet_keras.data.preparation import prepare as prepare
    from alexnet_keras.evaluation.applications import decode_predictions as decode_predictions
    from alexnet_keras.evaluation.applications import preprocess_input as preprocess_input
    from alexnet_keras.evaluation.classifier import Classifier as Classifier
    from alexnet_keras.evaluation.evaluate import evaluate_ensemble as evaluate_ensemble
    from alexnet_keras.network.model import AlexNet as AlexNet
    from alexnet_keras.network.model import join_towers as join_towers
    from alexnet_keras.network.model import layer_output as layer_output
    from alexnet_keras.recipes.schema import Recipe as Recipe
    from alexnet_keras.recipes.toml import load_recipe as load_recipe
    from alexnet_keras.reporter import ProgressBar as ProgressBar
    from alexnet_keras.reporter import Reporter as Reporter
    from alexnet_keras.runs import Run as Run
    from alexnet_keras.training.keras_fit import FollowRecipe as FollowRecipe
    from alexnet_keras.training.keras_fit import compile_options as compile_options
    from alexnet_keras.visualization.architecture import draw_architecture as draw_architecture
    from alexnet_keras.visualization.kernels import draw_kernels as draw_kernels

__version__ = _version("alexnet-keras")

_PUBLIC = {
    "AlexNet": "alexnet_keras.network.model",
    "Classifier": "alexnet_keras.evaluation.classifier",
    "FollowRecipe": "alexnet_keras.training.keras_fit",
    "ImageBatches": "alexnet_keras.data.image_batches",
    "ProgressBar": "alexnet_keras.reporter",
    "Recipe": "alexnet_keras.recipes.schema",
    "Reporter": "alexnet_keras.reporter",
    "Run": "alexnet_keras.runs",
    "compile_options": "alexnet_keras.training.keras_fit",
    "decode_predictions": "alexnet_keras.evaluation.applications",
    "draw_architecture": "alexnet_keras.visualization.architecture",
    "draw_kernels": "alexnet_keras.visualization.kernels",
    "evaluate": "alexnet_keras.api",
    "evaluate_ensemble": "alexnet_keras.evaluation.evaluate",
    "join_towers": "alexnet_keras.network.model",
    "layer_output": "alexnet_keras.network.model",
    "load_recipe": "alexnet_keras.recipes.toml",
    "open_prepared": "alexnet_keras.data.dataset",
    "prepare": "alexnet_keras.data.preparation",
    "preprocess_input": "alexnet_keras.evaluation.applications",
    "publish": "alexnet_keras.api",
    "resume": "alexnet_keras.api",
    "train": "alexnet_keras.api",
}
__all__ = ["__version__", *_PUBLIC]


@wrapt.when_imported("keras")
def _register_classes(keras: Any) -> None:
    for module in ("layers", "training.losses", "training.optimizer"):
        importlib.import_module(f"alexnet_keras.{module}")


if not TYPE_CHECKING:  # to a type checker it would say that every name exists

    def __getattr__(name: str) -> Any:
        if name not in _PUBLIC:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
