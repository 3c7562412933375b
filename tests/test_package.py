"""The package as it is installed and imported."""

import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import alexnet_keras

ROOT = Path(__file__).parents[1]
# Each name is used as it can be used; each "type: ignore" stands where there has to be an error, or mypy reports it.
TYPED = """
from pathlib import Path
from typing import Any, assert_type

import alexnet_keras
from alexnet_keras import AlexNet, Classifier, Recipe, Reporter, Run, evaluate, join_towers, load_recipe, open_prepared
from alexnet_keras import decode_predictions, draw_architecture, draw_kernels, prepare, preprocess_input, resume, train
from alexnet_keras import FollowRecipe, ImageBatches, compile_options, evaluate_ensemble, layer_output, publish
from alexnet_keras import ProgressBar

assert_type(alexnet_keras.__version__, str)
assert_type(load_recipe("source"), Recipe)
assert_type(Classifier("my-run").run, Run | None)
assert_type(decode_predictions(preprocess_input("photo.jpg"), top=3)[0][0], tuple[str, str, float])
assert_type(Classifier("my-run")("photo.jpg")[0].title, str)
assert_type(Classifier("my-run")(["photo.jpg"])[0].predictions[0].title, str)
assert_type(evaluate("my-run").top1.error, float)
assert_type(evaluate_ensemble(["run-1", "run-2"]).evaluation.top1.error, float)
join_towers(5, "conv5", 7)  # type: ignore[call-arg]
layer_output(AlexNet(), layer="conv5", tower=0)  # type: ignore[call-arg]
assert_type(open_prepared("flowers").examples("val"), int)
assert_type(prepare("photos", "data/photos", holdout=0.1).examples("val"), int)
prepare("photos", encoding="gif")  # type: ignore[arg-type]
AlexNet(recipe=load_recipe("source"), classes=10)
assert_type(train("flowers", epochs=3, reporter=Reporter()), Run)
train("flowers", epochs="three")  # type: ignore[arg-type]
assert_type(publish("my-run", "hf://USER/NAME", private=True), str)
assert_type(resume("my-run", gpus=2, reporter=ProgressBar()), Run)
draw_kernels(Run.load("my-run").load_model(), Path("kernels.png"))
draw_architecture(AlexNet(recipe=load_recipe("source"), classes=10), Path("architecture.png"))
FollowRecipe(load_recipe("source"), errors=[0.5]).errors.append(0.4)
FollowRecipe("source")  # type: ignore[arg-type]
assert_type(compile_options(load_recipe("source"), AlexNet()), dict[str, Any])
ImageBatches([b"photo"], load_recipe("source"))  # type: ignore[arg-type]
AlexNet(classes="ten")  # type: ignore[arg-type]
alexnet_keras.Alexnet  # type: ignore[attr-defined]
"""


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", timeout=120)


def test_every_package_folder_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "alexnet_keras").rglob("__init__.py")}
    assert set(listed) == found | {"alexnet_keras.cli"}


def test_every_template_and_list_and_the_marker_of_types_are_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    patterns = [
        (ROOT / package.replace(".", "/"), pattern) for package, patterns in listed.items() for pattern in patterns
    ]
    installed = {file for folder, pattern in patterns for file in folder.glob(pattern)}
    templates = {file for file in (ROOT / "alexnet_keras").rglob("*") if file.suffix in (".jinja", ".html", ".css")}
    others = {ROOT / "alexnet_keras" / "py.typed", ROOT / "alexnet_keras" / "data" / "imagenet2012_words.tsv"}
    assert templates and templates | others <= installed


def test_no_top_level_module_called_cli_is_installed():
    result = run_python("import alexnet_keras.cli.main, importlib.util; print(importlib.util.find_spec('cli'))")
    assert result.stdout.strip() == "None", result.stderr


FUNCTIONS = [name for name in alexnet_keras.__all__ if inspect.isroutine(getattr(alexnet_keras, name))]


@pytest.mark.parametrize("name", [*FUNCTIONS, "Classifier"])
def test_help_shows_a_signature_to_be_read_and_describes_every_argument(name):
    called = getattr(alexnet_keras, name)
    signature = inspect.signature(called)
    assert not re.search(r"0x|typing|collections|<", str(signature))
    described = called.__doc__.partition("Args:")[2].partition("Returns:")[0]
    assert described
    for argument in signature.parameters:
        assert re.search(rf"^ +([\w, ]+, )?{argument}(, [\w, ]+)?:", described, re.MULTILINE), argument


def test_the_package_itself_is_the_command():
    command = [sys.executable, "-m", "alexnet_keras"]
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=120)
    assert helped.returncode == 0 and "Usage: python -m alexnet_keras [OPTIONS] COMMAND" in helped.stdout
    refused = subprocess.run([*command, "eval", "nobody"], capture_output=True, text=True, cwd="/", timeout=120)
    assert refused.returncode == 2 and "There is no run 'nobody'" in refused.stderr


@pytest.mark.parametrize(
    "module",
    [
        "alexnet_keras",
        "alexnet_keras.recipes.schema",
        "alexnet_keras.cli.main",
        "alexnet_keras.evaluation.evaluate",
        "alexnet_keras.search",
    ],
)
def test_tensorflow_is_not_imported_until_it_is_needed(module):
    result = run_python(
        f"import {module}, sys; print([m for m in ('tensorflow', 'keras', 'matplotlib', 'jinja2') if m in sys.modules])"
    )
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("order", ["import keras, alexnet_keras", "import alexnet_keras, keras"])
def test_layers_are_registered_whichever_is_imported_first(order):
    name = "alexnet_keras>TowerConv2D"
    result = run_python(f"{order}; print(keras.saving.get_registered_object({name!r}))")
    assert "TowerConv2D" in result.stdout, result.stderr


@pytest.mark.slow
def test_type_checkers_know_the_public_names(tmp_path):
    assert all(name in TYPED for name in alexnet_keras.__all__)
    file = tmp_path / "typed.py"
    file.write_text(TYPED)
    command = [sys.executable, "-m", "mypy", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_file_has_its_place_in_the_architecture():
    listed = (ROOT / "docs/architecture.md").read_text()
    files = {file.name for file in (ROOT / "alexnet_keras").rglob("*.py")} - {"__init__.py"}
    ranged = {f"figure_{number}.py" for number in (2, 3)}  # figure_1.py to figure_4.py
    assert not {name for name in files - ranged if f"{name}`" not in listed}


def test_imports_point_downwards():
    """The contract is in pyproject.toml: [tool.importlinter]."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_settings_of_mutants_speak_of_what_there_is():
    """`make mutants` refuses others, after minutes."""
    settings = tomllib.loads((ROOT / "tests/mutation/mutants.toml").read_text(encoding="utf-8"))
    for judge in settings["judges"]:
        assert all(list(ROOT.glob(pattern)) for pattern in judge["modules"]), judge["modules"]
        assert all((ROOT / test).exists() for test in judge["tests"]), judge["tests"]
    for entry in settings["equivalent"]:
        lines = (ROOT / entry["module"]).read_text(encoding="utf-8").splitlines()
        assert entry["line"] in map(str.strip, lines), entry["line"]
