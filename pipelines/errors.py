"""What ends a run and is no bug: a message for the person who started it."""


class RunError(RuntimeError):
    """The run cannot go on as it is; the message says why, and what to do."""
