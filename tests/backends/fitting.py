"""Keras's `fit` by a recipe next to `alexnet train`: the same batches, the same losses, whatever the backend.

    python tests/backends/fitting.py --recipe quickstart

One process trains with `alexnet_keras.train` and keeps its first weights and its batches; then each backend starts from
these weights, in a process of its own, and has `model.fit` follow the recipe. Those of JAX and PyTorch cannot import
TensorFlow. Dropout and colour noise are off: their random numbers are each backend's own. Then each backend runs the
program of docs/backends.md that trains from files, on demo images.
"""

import argparse
import csv
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
from agreement import BACKENDS, require_all, run_on
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs/backends.md"
# Of losses and weights, relative to the largest. Other backends may send a gradient elsewhere in a pooling window.
TOLERANCES = {"tensorflow": 2e-6, "jax": 1e-4, "torch": 1e-4}
CLASSES = 12
EPOCHS = 3  # of `source`: at the first rates, after a drop, and after another with conv1 frozen
CHANGES = {
    "network.fc6.dropout": 0.0,
    "network.fc7.dropout": 0.0,
    "augmentation.color_noise": 0.0,
    "training.epochs": EPOCHS,
    "training.schedule.length": 91,
    "training.schedule.drop_epochs": (25, 51, 79),
    "training.schedule.conv1_frozen_epoch": 60,
}


def losses(folder: Path, recipe: str, *, images: int, batch_size: int, rate: float, backends: list[str]) -> dict:
    """The loss of every step and the weights after the last, of `"train"` and of `fit` on each backend.

    Args:
        folder: empty, for the dataset, the run and what the processes leave.
        recipe: a name or a TOML file.
        images: training images of each class.
        rate: the rate of weights; that of biases is twice as large.
    """
    options = {"images": images, "batch_size": batch_size, "rate": rate}
    run_on("tensorflow", __file__, {"what": "train", "folder": str(folder), "recipe": recipe, **options})
    for backend in backends:
        run_on(backend, __file__, {"what": "fit", "folder": str(folder)})
    return {name: dict(np.load(folder / f"{name}.npz")) for name in ("train", *backends)}


def losses_from_files(folder: Path, backend: str, images: int) -> list[float]:
    """The loss of every epoch of the page's program, on demo images.

    Args:
        folder: empty, for the images and the model.
        images: training images of each of the 12 classes.
    """
    run_on(backend, __file__, {"what": "files", "folder": str(folder), "images": images})
    return json.loads((folder / "losses.json").read_text())


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference relative to the largest number."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _train(folder: Path, recipe: str, *, images: int, batch_size: int, rate: float) -> None:
    """What `alexnet train` does with images of noise, and the batches that it saw.

    In even areas of an image the values of a pooling window can be equal but for rounding: backends would then send a
    gradient to different ones.
    """
    from alexnet_keras import load_recipe, prepare, train
    from alexnet_keras.data.pipeline import training_batches
    from alexnet_keras.recipes import edit, to_toml
    from alexnet_keras.training.start import new_model

    changes = {"training.batch_size": batch_size, "training.weight_rate": rate, "training.bias_rate": 2 * rate}
    edited = edit(load_recipe(recipe), CHANGES | changes)
    (folder / "recipe.toml").write_text(to_toml(edited))
    random = np.random.default_rng(0)
    for split, count in (("train", images), ("val", 1)):
        for label in range(CLASSES):
            place = folder / "pictures" / split / f"{label:02}"
            place.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, 3) / 2 + random.normal(64, 40, (256, 256, 3))
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(place / f"{number:03}.png")
    data = prepare(folder / "pictures", folder / "data", encoding="png")
    new_model(edited, data, seed=1, precision="float32").save(folder / "first.keras")
    options = {"batch_size": batch_size, "crop_size": edited.network.input_size, "seed": 1}
    epochs = [training_batches(data, edited.augmentation, **options, epoch=epoch) for epoch in range(EPOCHS)]
    crops, labels = zip(*(batch for epoch in epochs for batch in epoch), strict=True)
    np.savez(folder / "batches.npz", crops=np.stack(crops), labels=np.stack(labels))
    run = train(data, edited, run=folder / "run", seed=1)
    with run.steps_path.open(newline="") as file:
        _keep(folder / "train.npz", [float(row["loss"]) for row in csv.DictReader(file)], run.load_model("last"))


def _fit(folder: Path, backend: str) -> None:
    """What `fit` does with the same batches."""
    import keras

    from alexnet_keras import FollowRecipe, compile_options, load_recipe

    recipe = load_recipe(folder / "recipe.toml")
    model = keras.saving.load_model(folder / "first.keras")
    model.compile(**compile_options(recipe, model))
    kept = np.load(folder / "batches.npz")
    batches = list(zip(kept["crops"], kept["labels"], strict=True))
    of_steps = []

    class Losses(keras.callbacks.Callback):
        """The loss of each step by itself: Keras's own are means over the epoch so far."""

        def on_train_batch_begin(self, batch, logs=None):
            self.model.reset_metrics()

        def on_train_batch_end(self, batch, logs=None):
            of_steps.append(logs["loss"])

    model.fit(
        (batch for batch in batches),
        steps_per_epoch=len(batches) // EPOCHS,
        epochs=EPOCHS,
        callbacks=[FollowRecipe(recipe), Losses()],
        shuffle=False,
        verbose=0,
    )
    _keep(folder / f"{backend}.npz", of_steps, model)


def _train_from_files(folder: Path, images: int) -> None:
    """What the page's program does in a folder with demo images in `photos`."""
    from alexnet_keras.data.sources.demo import demo_source

    programs = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (program,) = (program for program in programs if "ImageBatches(" in program)
    demo_source(folder / "photos", train=images, val=2)
    os.chdir(folder)
    names: dict = {"__name__": "__main__"}
    exec(compile(program, str(PAGE), "exec"), names)
    (folder / "losses.json").write_text(json.dumps(names["history"].history["loss"]))


def _keep(file: Path, of_steps: list, model) -> None:
    import keras

    weights = np.concatenate([keras.ops.convert_to_numpy(v).ravel() for v in model.trainable_variables])
    np.savez(file, losses=np.array(of_steps, np.float64), weights=weights)


def _perform(what: str, folder: str, **options) -> None:
    """What one process does, on the backend of its environment."""
    if what == "fit":
        _fit(Path(folder), os.environ["KERAS_BACKEND"])
    else:
        {"train": _train, "files": _train_from_files}[what](Path(folder), **options)


def main() -> None:
    """The comparison, as a table; exit code 1 where a loss differs or does not fall."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="quickstart", help="a name or a TOML file (default: quickstart)")
    parser.add_argument("--images", type=int, default=8, help="training images of each class (default: 8)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.0001, help="of weights; biases have twice as much")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.task:
        _perform(**json.loads(chosen.task))
        return
    require_all()
    with tempfile.TemporaryDirectory() as folder:
        options = {"images": chosen.images, "batch_size": chosen.batch_size, "rate": chosen.rate}
        found = losses(Path(folder), chosen.recipe, **options, backends=list(BACKENDS))
    expected = found.pop("train")
    row = "{:<8} {:>12} " + " {:>12}" * len(found) + "\n"
    sys.stdout.write(row.format("step", "train", *found))
    for step, loss in enumerate(expected["losses"]):
        sys.stdout.write(
            row.format(step + 1, f"{loss:.7f}", *(f"{each['losses'][step]:.7f}" for each in found.values()))
        )
    good = True
    for what in ("losses", "weights"):
        apart = {backend: difference(each[what], expected[what]) for backend, each in found.items()}
        good &= all(apart[backend] <= TOLERANCES[backend] for backend in apart)
        sys.stdout.write(row.format(what, "", *(f"{each:.1e}" for each in apart.values())))
    sys.stdout.write(row.format("allowed", "", *(f"{TOLERANCES[backend]:.0e}" for backend in found)))
    for backend in BACKENDS:
        with tempfile.TemporaryDirectory() as folder:
            first, *_, last = losses_from_files(Path(folder), backend, images=20)
        good &= last < first
        sys.stdout.write(f"From files, {backend}: the loss falls from {first:.3f} to {last:.3f}.\n")
    sys.exit(not good)


if __name__ == "__main__":
    main()
