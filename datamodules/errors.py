"""The error that a user can mend."""

from __future__ import annotations


class UsageError(ValueError):
    """What was wrong, where, and what to do about it; the command line prints it without a traceback."""


def require(condition: bool, message: str) -> None:
    """Raises `UsageError` with `message` unless `condition` holds."""
    if not condition:
        raise UsageError(message)
