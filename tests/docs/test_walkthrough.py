"""docs/walkthrough.py as a reader runs it, in an empty folder."""

import os
import re
import subprocess
import sys

import pytest
from documented import ROOT
from PIL import Image


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
