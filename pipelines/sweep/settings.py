"""The schema of a sweep file: what W&B's own sweep files may say, as far as both ways to run one can do it."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cluster.settings import HomePath, Settings

SweepName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Number = int | float
Scalar = bool | int | float | str

METRIC: Literal["evaluate/relay/accuracy_within_budget"] = "evaluate/relay/accuracy_within_budget"
"""the name that W&B shows for `pipelines.records.objective.OBJECTIVE`"""

Distribution = Literal["constant", "categorical", "int_uniform", "uniform", "q_uniform", "log_uniform_values"]


class MetricSettings(Settings):
    """What the trials are compared by. There is one such number."""

    name: Literal["evaluate/relay/accuracy_within_budget"] = Field(METRIC, description="the objective")
    goal: Literal["maximize"] = Field("maximize", description="larger is better")


class ParameterSettings(Settings):
    """The values that one key of the experiment takes: a value, a list of values, or a range."""

    value: Scalar | None = Field(None, description="the value in all trials")
    values: tuple[Scalar, ...] | None = Field(None, min_length=1, description="the values to choose from")
    min: Number | None = Field(None, description="smallest value of a range")
    max: Number | None = Field(None, description="largest value of a range")
    q: float | None = Field(None, gt=0.0, description="step of a range, with the distribution q_uniform")
    distribution: Distribution | None = Field(
        None, description="how a range is drawn from; int_uniform between two integers, else uniform, if empty"
    )

    @property
    def drawn(self) -> Distribution:
        """The distribution, also if the file leaves it out."""
        if self.distribution is not None:
            return self.distribution
        if self.value is not None:
            return "constant"
        if self.values is not None:
            return "categorical"
        return "int_uniform" if isinstance(self.min, int) and isinstance(self.max, int) else "uniform"

    @model_validator(mode="after")
    def _one_form(self) -> ParameterSettings:
        forms = [self.value is not None, self.values is not None, self.min is not None or self.max is not None]
        if sum(forms) != 1 or (forms[2] and (self.min is None or self.max is None)):
            raise ValueError("give value, or values, or min and max")
        allowed: dict[int, tuple[str, ...]] = {0: ("constant",), 1: ("categorical",)}
        if self.drawn in ("constant", "categorical") if forms[2] else self.drawn not in allowed[forms.index(True)]:
            raise ValueError(f"distribution ({self.distribution}) does not fit: leave it out, or give other keys")
        if self.min is not None and self.max is not None:
            self._check_range(self.min, self.max)
        return self

    def _check_range(self, low: Number, high: Number) -> None:
        if low >= high:
            raise ValueError(f"min ({low}) should be below max ({high})")
        if "log" in self.drawn and low <= 0:
            raise ValueError(f"min ({low}) should be above 0 with {self.drawn}")
        if self.drawn == "int_uniform" and not (isinstance(low, int) and isinstance(high, int)):
            raise ValueError(f"min ({low}) and max ({high}) should be integers with int_uniform")
        if (self.q is not None) != (self.drawn == "q_uniform"):
            raise ValueError("q belongs to the distribution q_uniform, which needs it")


class EarlyTerminateSettings(Settings):
    """Ends trials that are behind. An iteration is one evaluation of the relay student: within GRPO, or the final one."""

    type: Literal["hyperband"]
    min_iter: int | None = Field(None, ge=1, description="the first iteration after which trials may end")
    max_iter: int | None = Field(
        None, ge=1, description="iterations of a whole trial; give it with s, or give min_iter"
    )
    s: int | None = Field(None, ge=1, le=10, description="with max_iter: how often trials are compared")
    eta: float = Field(3, gt=1.0, le=100.0, description="at each comparison the best 1/eta of the trials go on")

    @model_validator(mode="after")
    def _one_form(self) -> EarlyTerminateSettings:
        if (self.min_iter is None) == (self.max_iter is None) or (self.max_iter is None) != (self.s is None):
            raise ValueError("give min_iter, or max_iter and s")
        if self.eta != int(self.eta):
            raise ValueError(f"eta ({self.eta:g}) should be an integer")
        return self

    @property
    def first(self) -> int:
        """The first iteration after which trials are compared; the next ones are eta times as far each."""
        if self.min_iter is not None:
            return self.min_iter
        assert self.max_iter is not None and self.s is not None
        return max(math.floor(self.max_iter / self.eta**self.s), 1)


class SweepSettings(Settings):
    """One sweep."""

    name: SweepName | None = Field(None, description="what the sweep is called; the file's name if empty")
    description: str | None = Field(None, description="what it is for")
    project: str | None = Field(None, description="W&B project of `wandb sweep`")
    entity: str | None = Field(None, description="W&B user or team of `wandb sweep`")
    program: HomePath = Field(
        description="the experiment file whose keys are changed, relative to the working directory"
    )
    command: tuple[str, ...] = Field((), description="what an agent of W&B starts for a trial")
    method: Literal["grid", "random", "bayes"] = Field(description="how values are chosen")
    metric: MetricSettings = MetricSettings()
    parameters: dict[str, ParameterSettings] = Field(
        min_length=1, description="values by dotted key of the experiment, as in grpo.loss.kl_coefficient"
    )
    run_cap: int | None = Field(None, ge=1, le=100_000, description="number of trials")
    early_terminate: EarlyTerminateSettings | None = Field(None, description="ends trials that are behind")
