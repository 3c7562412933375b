"""The errors a user can cause. Each is one sentence: what is wrong, where, and what to do.

The command line prints the sentence and ends with the class's exit code; nothing else in the package
needs to know about exit codes.
"""


class AlexNetError(Exception):
    """Something failed that the user can understand and act on (exit code 1)."""

    exit_code = 1


class UsageError(AlexNetError):
    """A name or option that does not exist: a path, run, recipe, field or layer (exit code 2)."""

    exit_code = 2


class DataError(AlexNetError):
    """Data that exists and cannot be used: damaged, empty, inconsistent (exit code 3)."""

    exit_code = 3


class NotFiniteError(DataError):
    """What a network answers is not finite, so that no error, class or neighbour can be told from it (exit code 3)."""


class DivergedError(AlexNetError):
    """Training left the finite numbers (exit code 4)."""

    exit_code = 4
