"""Who writes next in a relayed sequence, and the check of what an engine wrote."""

from __future__ import annotations

from dataclasses import dataclass

from actors.engines.base import EngineError, Generation, GenerationRequest
from actors.trajectory import FinishReason


@dataclass(frozen=True, slots=True)
class StudentTurn:
    """The student writes next."""

    request: GenerationRequest


@dataclass(frozen=True, slots=True)
class TeacherTurn:
    """The teacher writes next."""

    request: GenerationRequest
    requested: int
    """tokens by the command, the fixed length or the plan, before limits cut them"""
    commanded: int
    """n as the student wrote it; 0 for a planned call"""
    most: int
    """output tokens that it may add to the answer, in the student's vocabulary"""


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is finished; nobody writes next."""

    reason: FinishReason


Turn = StudentTurn | TeacherTurn | Finished


def checked_ids(generation: Generation, request: GenerationRequest, writer: str) -> list[int]:
    """Return the ids of a turn. Raises `EngineError` if there are none, too many, or an excluded one."""
    count = len(generation.token_ids)
    if not 0 < count <= request.max_tokens:
        raise EngineError(f"the {writer}'s engine wrote {count} tokens where 1 to {request.max_tokens} were asked for")
    ids: list[int] = generation.token_ids.tolist()
    if request.excluded and not set(request.excluded).isdisjoint(ids):
        raise EngineError(f"the {writer}'s engine wrote one of the ids that were excluded: {request.excluded}")
    return ids
