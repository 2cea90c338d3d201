"""What ends a command: an error whose text is one line for an operator, and its exit code."""


class OperatorError(Exception):
    """The command cannot do what was asked. The text says what is wrong and what to do."""

    exit_code = 1


class SettingsError(OperatorError):
    """A mistake in the file, the environment or the arguments: nothing was started."""

    exit_code = 2


class UnreachableError(OperatorError):
    """No broker of the group let us in; the text says what each one answered."""

    exit_code = 3
