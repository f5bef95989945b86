"""What goes wrong with machines and actors, as messages for the person who started the run."""


class ClusterError(RuntimeError):
    """The cluster cannot hold the run, or has lost a part of it; the message says what to do."""
