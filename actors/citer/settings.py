"""Settings of the CITER baseline: its reference solutions, its router and the thresholds it is evaluated at."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from actors.settings import SamplingSettings
from cluster.settings import Settings

Threshold = Annotated[float, Field(ge=0.0, le=1.0)]


class RouterSettings(Settings):
    """How the router is trained: AdamW on the binary cross-entropy, stopped early on held-out solutions."""

    dropout: float = Field(0.1, ge=0.0, lt=1.0, description="after each hidden layer")
    lr: float = Field(1e-3, gt=0.0, description="learning rate")
    weight_decay: float = Field(0.01, ge=0.0, description="AdamW's decoupled weight decay")
    tokens_per_step: int = Field(256, ge=2, description="labelled tokens of one optimizer step")
    max_epochs: int = Field(50, gt=0, le=1_000_000, description="most passes over the labelled tokens")
    patience: int = Field(5, gt=0, description="epochs without a lower validation loss until training stops")
    validation_share: float = Field(
        0.2, gt=0.0, lt=1.0, description="share of the solutions held out for early stopping"
    )


class CiterSettings(Settings):
    """The CITER baseline (arXiv 2502.01976): the teacher writes a token if the router's confidence is below the threshold."""

    enabled: bool = Field(False, description="whether the baseline is run")
    thresholds: tuple[Threshold, ...] = Field(
        (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95),
        min_length=1,
        max_length=100,
        description="each is evaluated as a policy of its own, such as `citer@0.95`; at 0 the student writes every token, "
        "at 1 the teacher does",
    )
    problems: int = Field(
        500, ge=2, le=1_000_000, description="training problems that the teacher writes reference solutions for"
    )
    reference_sampling: SamplingSettings = Field(
        SamplingSettings(temperature=0.0), description="sampling of the reference solutions; wrong ones are dropped"
    )
    rounds: int = Field(
        2,
        gt=0,
        le=100,
        description="rounds of labelling and training; the rollouts of the first are the student's alone",
    )
    max_rollouts_per_round: int = Field(
        2000,
        ge=0,
        le=10_000_000,
        description="tokens labelled by a rollout, drawn from those where neither model's choice is the reference's token",
    )
    rollout_threshold: Threshold = Field(
        0.5, description="the router's threshold in rollouts, from the second round on"
    )
    router: RouterSettings = RouterSettings()
    max_sequences: int = Field(64, gt=0, le=100_000, description="sequences in the student's KV cache at the same time")

    @model_validator(mode="after")
    def _distinct(self) -> CiterSettings:
        if len(set(self.thresholds)) < len(self.thresholds):
            raise ValueError(f"thresholds should be distinct, not {list(self.thresholds)}")
        return self
