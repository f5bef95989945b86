"""The teacher actor: one engine that serves the calls of all rollout workers in one batch."""

from __future__ import annotations

from typing import ClassVar

from actors.engine_host import EngineHost


class TeacherActor(EngineHost):
    """The teacher's engine. Its weights never change, so its prefix cache stays valid, which speeds up later calls of a sequence."""

    role: ClassVar[str] = "teacher"
