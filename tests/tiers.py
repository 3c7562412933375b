"""Which cases of a test `make test` runs: the first few; `make test-all` runs all."""

from collections.abc import Iterable

import pytest


def rest_slow(cases: Iterable, first: int = 1) -> list:
    """The cases of a parametrized test, all but the first few of them marked as slow."""
    cases = list(cases)
    return [*cases[:first], *(pytest.param(case, marks=pytest.mark.slow) for case in cases[first:])]
