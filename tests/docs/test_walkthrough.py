"""docs/walkthrough.py as a reader runs it, in an empty folder, and the notebook that is made of it."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest
from documented import ROOT
from PIL import Image


def test_the_notebook_is_what_is_made_of_the_program():
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    spec = importlib.util.spec_from_file_location("walkthrough_page", ROOT / "docs/hooks/walkthrough_page.py")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    made = page.notebook_of((ROOT / "docs/walkthrough.py").read_text(encoding="utf-8"))
    kept = (ROOT / "docs/walkthrough.ipynb").read_text(encoding="utf-8")
    assert kept == made, "python docs/hooks/walkthrough_page.py makes it again"
    assert "%pip" in kept and 'Image(filename=FOLDER / \\"kernels.png\\")' in kept and "images/" not in kept


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom_and_shows_its_figures(tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(ROOT / "docs/walkthrough.ipynb", as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [path.name for path in tmp_path.iterdir()] == ["walkthrough"]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", ()) for output in outputs) == 2
    assert "ten-crop: top-1 error" in "".join(output.get("text", "") for output in outputs)
    assert not notebook.cells[0].outputs, "nothing is installed where the package is"


@pytest.mark.slow
def test_the_walkthrough_runs_and_ends_with_a_network_that_has_learnt(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "docs/walkthrough.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1800,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["walkthrough"]
    errors = {
        views: float(error) for views, error in re.findall(r"(centre|ten-crop): top-1 error ([\d.]+)%", done.stdout)
    }
    assert errors.keys() == {"centre", "ten-crop"}
    assert max(errors.values()) < 75, "guessing among the twelve classes is wrong 92 % of the time"
    for name in ("kernels.png", "architecture.png"):
        assert Image.open(tmp_path / "walkthrough" / name).width > 500
