"""The schema of a study file: runs, and the systems among their evaluations that are compared."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cluster.settings import HomePath, Settings
from pipelines.analysis.bootstrap import RESAMPLES
from pipelines.analysis.costs import PriceSettings

RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
PlaceName = Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+/[^/\s]+$")]


class StudySettings(Settings):
    """One study."""

    name: RunName
    directory: HomePath | None = Field(None, description="folder of all that the study writes; runs/<name> if empty")
    runs: dict[RunName, HomePath] = Field(
        min_length=1, description="experiment files, relative to the study file, in the order in which they are run"
    )
    overrides: dict[str, object] = Field({}, description="keys of an experiment that are replaced in every run")
    systems: dict[str, PlaceName] = Field(
        min_length=1, description="what is compared, each written as run/evaluation/policy, as in relay/final/relay"
    )
    hard: tuple[str, ...] = Field((), description="kinds of problem that count as hard in findings")
    unseen: tuple[str, ...] = Field((), description="kinds of problem from domains that were not trained on")
    prices: PriceSettings = PriceSettings()
    resamples: int = Field(
        RESAMPLES, ge=100, le=1_000_000, description="how often the problems are resampled for the intervals"
    )
