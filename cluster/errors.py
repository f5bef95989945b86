"""Errors that end a run but are not bugs. Their messages are for the person who started the run."""


class RunError(RuntimeError):
    """The run cannot go on as it is; the message says why, and what to do."""


def one_line(text: str) -> str:
    """Return the text with its line breaks and control characters written as escapes, as in `\\n`."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def as_raised(error: BaseException) -> BaseException:
    """Return the exception that the actor raised. Ray's error has the actor's whole traceback as its text."""
    return getattr(error, "cause", None) or error


class ClusterError(RunError):
    """The cluster has no room for the run, or has lost a part of it."""


class DeadlineError(RunError):
    """Actors did not answer in time. The message names the key of the deadline."""
