"""Checks of what layers take."""

import operator
from typing import Any


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """Return an argument as an int.

    Raises:
        ValueError: It is no whole number, or below `least`.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ValueError(f"{name} must be a whole number. Received: {name}={value!r}") from error
    if number < least:
        raise ValueError(f"{name} must be at least {least}. Received: {name}={value!r}")
    return number
