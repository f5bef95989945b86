"""Names of the systems that comparisons know."""

BASE = "base"
"""the untrained student, alone"""
TEACHER = "teacher"
GRPO = "grpo"
"""the student after GRPO without calls, on the unfiltered data as in the paper"""
GRPO_FILTERED = "grpo_filtered"
"""the same on the filtered data that the relay student is trained on"""
RELAY = "relay"
"""the relay student with its teacher: difficulty-aware reward"""
RELAY_SIMPLE = "relay_simple"
RELAY_TEACHER_FREE = "relay_teacher_free"
"""the relay student with calls forbidden at evaluation"""
RELAY_SIMPLE_TEACHER_FREE = "relay_simple_teacher_free"
FIXED_SHORT = "fixed_short"
FIXED_MEDIUM = "fixed_medium"
FIXED_LONG = "fixed_long"
"""trained with calls of one length: 20, 100 and 500 tokens in the paper"""
NO_FILTER = "no_filter"
NO_BONUS = "no_bonus"
NO_EXPLORATION = "no_exploration"
NO_WARMUP = "no_warmup"
UNMASKED = "unmasked"
"""teacher tokens are trained, too"""
RANDOM_PLACEMENT = "random_placement"
"""the relay student's calls, in number and length, at random places"""

_OF_CITER = "citer@"
_OF_RELAY = "relay@"


def relay_with(teacher: str) -> str:
    """Return the name of the relay student with another teacher than in training."""
    return f"{_OF_RELAY}{teacher}"


def is_citer(name: str) -> bool:
    return name.startswith(_OF_CITER)


def is_relay_with_another_teacher(name: str) -> bool:
    return name.startswith(_OF_RELAY)
