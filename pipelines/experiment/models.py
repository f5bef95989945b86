"""The schema of base models: given, or pretrained on chain arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from actors.engines.endpoint import PerhapsServed
from actors.settings import OptimizerSettings
from actors.tiny_models import CommandTokens, TinyModelSettings
from cluster.settings import HomePath, Seed, Settings, name_with_home
from pipelines.data.chain_arithmetic.task import Form, Kind
from pipelines.data.settings import Lengths


class PretrainSettings(Settings):
    """A tiny model, trained from scratch on chain arithmetic. Runs with equal settings use the same model."""

    architecture: TinyModelSettings = TinyModelSettings()
    command_tokens: CommandTokens = Field(
        "text", description="special: <call> and </call> are one token each; text: they are written in ordinary tokens"
    )
    steps: int = Field(2500, gt=0, le=10_000_000, description="optimizer steps")
    problems_per_step: int = Field(64, gt=0, le=100_000, description="problems of one optimizer step")
    mix: dict[Kind, Annotated[int, Field(ge=0)]] = Field(
        {Kind.KNOWN: 1, Kind.TEACHER_KNOWN: 1, Kind.UNKNOWABLE: 1}, description="shares of the kinds of problem"
    )
    lengths: Lengths | None = Field(
        None, description="numbers of operations that a problem may have, all equally likely; 2 and 3 if empty"
    )
    forms: dict[Form, Annotated[int, Field(ge=0)]] | None = Field(
        None, description="shares of the forms of problem; plain only if empty"
    )
    skill: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="share of the products that it is taught right; if empty 0 for a student, 1 for a teacher",
    )
    markup: float | None = Field(
        None,
        gt=0.0,
        le=1.0,
        description="share of the solutions with a tag such as <7>3</7> somewhere in them; none if empty. Web text has markup, and "
        "a model that never saw any goes wrong where the warm-up inserts commands",
    )
    optimizer: OptimizerSettings = OptimizerSettings(lr=3e-3, betas=(0.9, 0.98), schedule="cosine", ramp_steps=50)
    seed: Seed = Field(0, description="of its weights and problems")
    shipped: bool = Field(
        True,
        description="use a model with these settings if it comes with the package; false pretrains it anyway",
    )

    @field_validator("mix", "forms")
    @classmethod
    def _some_share(cls, shares: dict[str, int] | None) -> dict[str, int] | None:
        if shares is not None and not any(shares.values()):
            raise ValueError("should have a share above 0")
        return shares


_REPLACED = (
    "to replace one that a file sets, set it to null: {path: ..., pretrain: null} in YAML, and `.pretrain=null` beside `.path=...` "
    "as overrides"
)


class ModelSettings(Settings):
    """Where a base model comes from: a folder or hub name in Hugging Face format, or pretraining."""

    path: Annotated[str, AfterValidator(name_with_home)] | None = Field(None, description="a folder or a hub name")
    pretrain: PretrainSettings | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ModelSettings:
        if (self.path is None) == (self.pretrain is None):
            raise ValueError(f"give either path or pretrain; {_REPLACED}")
        return self


class TeacherModelSettings(PerhapsServed, ModelSettings):
    """Where a teacher comes from: a folder or hub name, pretraining, or a server that has it already."""

    @model_validator(mode="after")
    def _one_source(self) -> TeacherModelSettings:
        if sum(source is not None for source in (self.path, self.pretrain, self.url)) != 1:
            raise ValueError(f"give either path or pretrain, or url with model for a server; {_REPLACED}")
        return self


class ModelsSettings(Settings):
    """Both base models."""

    student: ModelSettings
    teacher: TeacherModelSettings
    cache_dir: HomePath = Field(Path("~/.cache/relayllm-ray"), description="where pretrained tiny models are kept")
