"""What a learner's call can fail with, without torch, so that the driver can tell a user's fault from a rank's."""

from cluster.errors import RunError


class LearnerError(RuntimeError):
    """A call failed on a rank; the message names both. The group is broken then: shut it down, make another."""


class LearnerTimeoutError(LearnerError, RunError):
    """A call missed its deadline on some ranks."""


class LearnerRefusal(LearnerError):
    """The learner does not go on with what it was given; the message says why and what to do."""


class IncompleteModelError(LearnerRefusal):
    """A model folder lacks weights that its configuration asks for."""


class UnsupportedModelError(LearnerRefusal):
    """The learner's log-probs of a model would not be the model's own, or it could not be exported."""


class NonFiniteStepsError(LearnerRefusal):
    """Too many optimizer steps in a row had a gradient that is not finite."""
