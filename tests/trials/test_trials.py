"""A few of the trials of trials.py; a maintainer runs them all with `make trials`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TRIALS = Path(__file__).with_name("trials.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    ["pairs --number 2", "damage --number 20 --only .c"],  # a table, and weights; test_restart.py kills trainings
    ids=lambda arguments: arguments.split()[0],
)
def test_nothing_goes_wrong_without_a_word(arguments):
    command = [sys.executable, str(TRIALS), *arguments.split(), "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, re.sub(r"^[IWE]0000.*\n", "", done.stdout[-6000:] + done.stderr[-2000:], flags=re.M)
    assert done.stdout.rstrip().endswith("All well.")
