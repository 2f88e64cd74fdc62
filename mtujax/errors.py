"""What a user can mend: errors whose message is one line and needs no traceback."""


class UserError(Exception):
    """An input, output or setting that cannot be used; `str()` is one line.

    Attributes:
        status: exit status of the command line, 1.
    """

    status = 1


class UsageError(UserError):
    """A setting that no input would make right: an unknown name, a bad value.

    Attributes:
        status: exit status of the command line, 2.
    """

    status = 2
