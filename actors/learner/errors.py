"""The errors of a learner's calls. The module does not import torch, because the driver needs these types as well."""

from cluster.errors import RunError


class LearnerError(RuntimeError):
    """A call failed on a rank; the message names both. The group cannot be used any more: shut it down and make another."""


class LearnerTimeoutError(LearnerError, RunError):
    """A call missed its deadline on some ranks."""


class LearnerRefusal(LearnerError):
    """The learner refuses the model or data that it was given; the message says why and what to do."""


class IncompleteModelError(LearnerRefusal):
    """A model folder lacks weights that its configuration asks for, or has them in another shape."""


class UnsupportedModelError(LearnerRefusal):
    """The learner cannot run or export this model, or would compute other log-probs than the model itself."""


class NonFiniteStepsError(LearnerRefusal):
    """Too many optimizer steps in a row had a gradient that is not finite."""
