"""What ends a run and is no bug: messages for the person who started it."""


class RunError(RuntimeError):
    """The run cannot go on as it is; the message says why, and what to do."""


def as_raised(error: BaseException) -> BaseException:
    """Return what an actor raised: Ray hands out an error whose text is the actor's whole traceback."""
    return getattr(error, "cause", None) or error


class ClusterError(RunError):
    """The cluster cannot hold the run, or has lost a part of it."""


class DeadlineError(RunError):
    """Actors did not answer in time; the message names the key that gives them longer."""
