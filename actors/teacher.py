"""The teacher actor: one engine that serves the calls of all rollout workers in one continuous batch."""

from __future__ import annotations

from actors.engine_host import EngineHost


class TeacherActor(EngineHost):
    """Its weights never change, so its prefix cache never goes stale and speeds up every later call of a sequence."""
