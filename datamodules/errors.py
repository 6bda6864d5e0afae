"""The error that a user can mend."""

from __future__ import annotations

import math


class UsageError(ValueError):
    """What was wrong, where, and what to do about it; the command line prints it without a traceback."""


def require(condition: bool, message: str) -> None:
    """Raises `UsageError` with `message` unless `condition` holds."""
    if not condition:
        raise UsageError(message)


def require_positive(name: str, value: float) -> None:
    """Raises `UsageError` unless a number is above 0, and finite."""
    require(0 < value < math.inf, f"{name} is {value}: give a positive number")


def require_not_negative(name: str, value: float) -> None:
    """Raises `UsageError` unless a number is 0 or more, and finite."""
    require(0 <= value < math.inf, f"{name} is {value}: give 0 or more")


def require_finite(name: str, value: float) -> None:
    """Raises `UsageError` unless a number is one."""
    require(math.isfinite(value), f"{name} is {value}: give a number")
