"""What a run does when an alarm begins at a step of GRPO."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from cluster.settings import Settings


class Action(StrEnum):
    """What follows an alarm, beside its line in the log, in alarms.jsonl and in W&B."""

    TELL = "tell"
    """nothing"""
    STOP = "stop"
    """the run ends, with what is finished"""
    ROLL_BACK = "roll_back"
    """training goes on from the newest checkpoint before the alarm's condition held, with other problems"""


class AlarmActions(Settings):
    """By alarm: `tell`, `stop` or `roll_back`. docs/troubleshooting.md says what each alarm means."""

    cut_off: Action = Field(Action.TELL, description="answers end at a limit")
    calls_vanish: Action = Field(Action.TELL, description="the student has stopped calling")
    calls_everywhere: Action = Field(Action.TELL, description="the student calls in every answer")
    call_length: Action = Field(Action.TELL, description="calls ask for ever more tokens")
    entropy_collapse: Action = Field(Action.TELL, description="the samples of a group are alike")
    logprob_gap: Action = Field(Action.TELL, description="engine and learner disagree on log-probs")
    no_advantage: Action = Field(Action.TELL, description="groups teach nothing")
    failed_calls: Action = Field(Action.TELL, description="calls fail")
    malformed_commands: Action = Field(Action.TELL, description="commands have no readable n")
    non_finite_steps: Action = Field(
        Action.TELL, description="gradients are not finite; such steps are left out anyway"
    )
    actor_memory: Action = Field(Action.TELL, description="a node is nearly out of memory")
