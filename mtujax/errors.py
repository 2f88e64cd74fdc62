"""Errors that a user can fix, and errors about weights."""


class UserError(Exception):
    """An input, output or setting that cannot be used; `str()` is one line.

    Attributes:
        status: exit status of the command line, 1.
    """

    status = 1


class UsageError(UserError):
    """A setting that is wrong whatever the input: an unknown name, a bad value.

    Attributes:
        status: exit status of the command line, 2.
    """

    status = 2


class WeightsError(UserError, ValueError):
    """Weights that cannot be used; the first line says why and what to do."""


class UnknownWeightsError(UsageError, WeightsError):
    """A name that is neither bundled weights nor a path, or no preset."""
