"""What an operator is told when a broker cannot run."""


class EngineError(Exception):
    """The broker cannot run. The text is one line for an operator: what is wrong, what to do."""
