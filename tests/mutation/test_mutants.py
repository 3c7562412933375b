"""The program behind `make mutants`, on a module of a few lines."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray")
pytestmark = pytest.mark.slow  # a few seconds, and of use to nobody who does not change the program

PROGRAM = Path(__file__).with_name("mutants.py")
MODULE = '''"""Not 3 < 4."""


def larger(a: "int | None", *, b: int = 2) -> bool:
    while a == 7:
        a = 7 + 0
    return a > b
'''
TESTS = """
from module import larger

def test_larger():
    assert larger(3) and not larger(1) and not larger(2)
"""
SETTINGS = """
operators = ["NumberReplacer", "ReplaceComparisonOperator_Gt_GtE", "ReplaceComparisonOperator_Eq_NotEq",
    "ReplaceBinaryOperator_Add_Sub", "ReplaceBinaryOperator_Mul_Div", "AddNot"]
preload = ["pytest"]
pytest = ["-x", "-q"]
[[judges]]
modules = ["mod*.py"]
tests = ["test_module.py"]
"""
EQUIVALENT = """
[[equivalent]]
module = "module.py"
line = "a = 7 + 0"
becomes = ["a = 7 - 0", {more}]
reason = "no test has 7"
"""


@pytest.fixture
def mutants(tmp_path, monkeypatch):
    """Runs the program on the tree, with these settings besides."""
    root = tmp_path / "tree"
    root.mkdir()
    (root / "module.py").write_text(MODULE)
    (root / "test_module.py").write_text(TESTS)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run(*options, more=""):
        (tmp_path / "mutants.toml").write_text(SETTINGS + more)
        command = [sys.executable, PROGRAM, "--root", root, "--settings", tmp_path / "mutants.toml"]
        result = subprocess.run([*command, "--jobs", "1", *options], capture_output=True, text=True, timeout=120)
        assert (root / "module.py").read_text() == MODULE, "the tree itself is not touched"
        return result

    return run


def row_of(result):
    (row,) = [line.split()[1:] for line in result.stdout.splitlines() if line.startswith("module.py ")]
    return row


def test_mutants_are_killed_survive_or_are_called_equivalent(mutants):
    first = mutants()
    # 2 of b = 2, of 7 twice, of 0; Gt, Eq, Add and the while: 4. Neither the docstring, nor the annotation, nor `*`.
    mistakes, killed, _, equivalent, survived, score = row_of(first)
    assert int(mistakes) == 2 * 4 + 4 and equivalent == "0"
    assert "module.py:7  ReplaceComparisonOperator_Gt_GtE" not in first.stdout
    assert "module.py:6  ReplaceBinaryOperator_Add_Sub\n    - a = 7 + 0\n    + a = 7 - 0" in first.stdout
    assert int(killed) + int(survived) == 12 and float(score) == pytest.approx(100 * int(killed) / 12, abs=0.06)
    assert first.returncode == 1 and "90 % should be" in first.stderr

    again = mutants(more=EQUIVALENT.format(more='"a = 7 + 1", "a = 7 + -1"'))
    assert "12 mutants, of which 0 have no result yet" in again.stdout
    assert row_of(again)[3:5] == ["3", str(int(survived) - 3)]

    stale = mutants(more=EQUIVALENT.format(more='"a = 7 * 0"'))
    assert stale.returncode == 1 and "a = 7 + 0  ->  a = 7 * 0" in stale.stderr


def test_tests_that_fail_without_a_mutant_judge_nothing(mutants):
    failed = mutants("--only", "module", more='[[judges]]\nmodules = ["module.py"]\ntests = ["no_such_test.py"]\n')
    assert failed.returncode == 1 and "The tests fail without a mutant" in failed.stderr
