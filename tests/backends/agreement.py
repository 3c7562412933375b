"""One `.keras` file, three backends: every backend writes a network, and every backend reads them all.

    python tests/backends/agreement.py --recipe source --classes 1000

Each backend runs in processes of its own. Those of JAX and PyTorch cannot import TensorFlow: a model needs none of it
there. What is compared are logits of the same images: the largest difference over the largest logit of the network
before its backend saved it.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "PyTorch"}
TOLERANCE = 1e-5


def installed() -> list[str]:
    """The backends that can be imported here."""
    return [backend for backend in BACKENDS if importlib.util.find_spec(backend)]


def require_all() -> None:
    """Exit with a sentence where a backend is missing."""
    if missing := [name for backend, name in BACKENDS.items() if backend not in installed()]:
        sys.exit(f"Not installed: {', '.join(missing)}. `make backends` has an environment of its own for this.")


def differences(
    folder: Path, recipes: list[str], *, classes: int, images: int, dtype: str = "float32", backends: list[str]
) -> dict[tuple[str, str, str], float]:
    """The relative difference of logits by (recipe, the backend that wrote the file, the backend that read it).

    Args:
        folder: empty, for models and logits.
        recipes: names or TOML files.
    """
    task = {"folder": str(folder), "recipes": recipes, "classes": classes, "images": images, "dtype": dtype}
    task["backends"] = backends
    for what in ("write", "read"):
        for backend in backends:
            run_on(backend, __file__, {**task, "what": what})
    found = {}
    for number, recipe in enumerate(recipes):
        for writer in backends:
            expected = np.load(folder / f"{number}-{writer}.npy")
            for reader in backends:
                got = np.load(folder / f"{number}-{writer}-{reader}.npy")
                assert np.isfinite(got).all() and got.shape == (images, classes) and np.ptp(expected) > 0
                found[recipe, writer, reader] = float(np.abs(got - expected).max() / np.abs(expected).max())
    return found


def run_on(backend: str, program: str, task: dict) -> None:
    """Run `program --task TASK` on a backend, where an import of TensorFlow fails unless it is the backend.

    Raises:
        RuntimeError: The program failed; the message has the end of its output.
    """
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    block = "" if backend == "tensorflow" else "sys.modules['tensorflow'] = None; "
    code = f"import runpy, sys; {block}del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, program, "--task", json.dumps(task)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{program} on {backend}:\n{done.stderr[-3000:]}")


def _perform(what: str, folder: str, recipes: list[str], classes: int, images: int, dtype: str, backends: list) -> None:
    """What one process does, on the backend of its environment."""
    import keras

    from alexnet_keras import AlexNet, load_recipe

    own = keras.backend.backend()
    assert own == os.environ["KERAS_BACKEND"]

    def logits(model):
        size = model.input_shape[1]
        crops = np.random.default_rng(0).integers(0, 256, (images, size, size, 3)).astype(np.uint8)
        return keras.ops.convert_to_numpy(keras.ops.cast(model(crops, training=False), "float32"))

    for number, recipe in enumerate(recipes):
        if what == "write":
            seed = list(BACKENDS).index(own)
            options = {"classes": classes, "classifier_activation": None, "seed": seed, "dtype": dtype}
            model = AlexNet(load_recipe(recipe), **options)
            np.save(f"{folder}/{number}-{own}.npy", logits(model))
            model.save(f"{folder}/{number}-{own}.keras")
        else:
            for writer in backends:
                model = keras.saving.load_model(f"{folder}/{number}-{writer}.keras")
                np.save(f"{folder}/{number}-{writer}-{own}.npy", logits(model))


def main() -> None:
    """The comparison, as a table; exit code 1 where backends disagree or one is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", nargs="+", default=["source"], help="names or TOML files (default: source)")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.task:
        _perform(**json.loads(chosen.task))
        return
    require_all()
    with tempfile.TemporaryDirectory() as folder:
        found = differences(
            Path(folder), chosen.recipe, classes=chosen.classes, images=chosen.images, backends=list(BACKENDS)
        )
    row = "{:<12} {:<12} {:<12} {:>10}\n"
    sys.stdout.write(row.format("recipe", "written by", "read by", "difference"))
    for (recipe, writer, reader), difference in found.items():
        sys.stdout.write(row.format(Path(recipe).stem, writer, reader, f"{difference:.1e}"))
    worst = max(found.values())
    sys.stdout.write(f"Largest relative difference of logits: {worst:.1e}; allowed are {TOLERANCE:.0e}.\n")
    sys.exit(worst > TOLERANCE)


if __name__ == "__main__":
    main()
