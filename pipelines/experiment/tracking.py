"""The schema of tracking."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cluster.settings import Settings


class TrackingSettings(Settings):
    """Where a run's metrics are sent besides its own directory."""

    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        "auto",
        description="auto: WANDB_DISABLED or WANDB_MODE if set, else online with a W&B login (key or netrc), else offline",
    )
    project: str = Field("relayllm", description="W&B project")
    entity: str | None = Field(None, description="W&B user or team; your default if empty")
    group: str | None = Field(None, description="W&B group, to compare runs of one kind")
    name: str | None = Field(None, description="W&B display name; the run directory's name if empty")
    tags: tuple[str, ...] = Field((), description="W&B tags")
