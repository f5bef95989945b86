"""The schema of data: what is trained and evaluated on, and how a question becomes a prompt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from actors.settings import SamplingSettings
from cluster.settings import HomePath, Seed, Settings
from pipelines.data.benchmarks import BenchmarkName
from pipelines.data.chain_arithmetic.task import LENGTHS, Form, Kind

PAPER_SUFFIX = " Please reason step by step, and put your final answer within \\boxed{}."

_MOST_OPERATIONS = 10_000_000

Lengths = Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1)]

BadRows = Literal["stop", "skip"]


class SourceSettings(Settings):
    """The keys of all data sources."""

    limit: int | None = Field(None, gt=0, description="at most this many problems, chosen by the seed; all if empty")
    seed: Seed = Field(0, description="of `limit`, and of what the synthetic task draws")
    bad_rows: BadRows = Field(
        "stop", description="skip leaves out rows that cannot be read as problems, and logs them; stop ends the run"
    )

    @property
    def label(self) -> str:
        """The source's name in messages and records."""
        raise NotImplementedError

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names under which results on its problems are reported."""
        return (self.label,)


class ChainArithmeticSource(SourceSettings):
    """Problems of the synthetic task, drawn from the seed."""

    source: Literal["chain_arithmetic"] = Field("chain_arithmetic", description="the synthetic task")
    counts: dict[Kind, Annotated[int, Field(ge=0, le=1_000_000)]] = Field(description="problems of each kind")
    lengths: Lengths = Field(LENGTHS, description="numbers of operations that a problem may have, all equally likely")
    form: Form = Field(Form.PLAIN, description="how operations are written")
    kind_prefix: str = Field("", description="prefix of the names under which results are reported, as in long/known")

    @field_validator("counts")
    @classmethod
    def _asks_for_something(cls, counts: dict[Kind, int]) -> dict[Kind, int]:
        if not any(counts.values()):
            raise ValueError("no problem is asked for: give at least one kind a count above 0, as in {known: 100}")
        return counts

    @model_validator(mode="after")
    def _can_be_made(self) -> ChainArithmeticSource:
        """All problems are made when a run begins, in the driver's memory."""
        problems, longest = sum(self.counts.values()), max(self.lengths)
        if problems * longest > _MOST_OPERATIONS:
            raise ValueError(
                f"counts ({problems} problems) should together be at most {_MOST_OPERATIONS // longest} with lengths up to "
                f"{longest}: a source has at most {_MOST_OPERATIONS} operations"
            )
        return self

    @property
    def label(self) -> str:
        return self.source

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(f"{self.kind_prefix}{kind.value}" for kind, count in self.counts.items() if count)


class BenchmarkSource(SourceSettings):
    """A public data set, from the Hugging Face hub or from a local copy."""

    source: Literal["benchmark"] = Field(description="a public data set")
    name: BenchmarkName = Field(description="results are reported under this name")
    path: HomePath | None = Field(
        None, description="a JSONL or Parquet file, or a folder of such files; the hub's copy if empty"
    )
    split: str | None = Field(None, description="the split to read; the usual one if empty")

    @property
    def label(self) -> str:
        return self.name.value


class FileSource(SourceSettings):
    """Problems of a JSONL or Parquet file, or of a folder of such files."""

    source: Literal["file"] = Field(description="own problems")
    path: HomePath = Field(description="a JSONL or Parquet file, or a folder of such files")
    question: str = Field("question", description="the column of the question")
    answer: str = Field("answer", description="the column of the reference answer, as it would stand in \\boxed{}")
    options: str | None = Field(
        None, description="the column of the list of options, if the answers are option letters"
    )
    kind: str = Field(description="the name under which results are reported")

    @property
    def label(self) -> str:
        return self.kind


class EvaluationKeys(SourceSettings):
    """The further keys of all evaluation sources."""

    samples: int = Field(1, gt=0, le=10_000, description="answers per problem (k of avg@k and pass@k)")
    sampling: SamplingSettings | None = Field(
        None, description="how these answers are drawn; evaluation.sampling if empty"
    )


class ChainArithmeticEvaluation(ChainArithmeticSource, EvaluationKeys):
    """Evaluation on the synthetic task."""


class BenchmarkEvaluation(BenchmarkSource, EvaluationKeys):
    """Evaluation on a public data set."""


class FileEvaluation(FileSource, EvaluationKeys):
    """Evaluation on problems of your own."""


DataSource = Annotated[ChainArithmeticSource | BenchmarkSource | FileSource, Field(discriminator="source")]
EvaluationSource = Annotated[
    ChainArithmeticEvaluation | BenchmarkEvaluation | FileEvaluation, Field(discriminator="source")
]


class DataSettings(Settings):
    """What is trained on, what is evaluated on, and how a question becomes a prompt."""

    train: DataSource = Field(description="what is trained on")
    warmup: tuple[DataSource, ...] = Field(
        (),
        description="sources of the problems that the student answers for its warm-up, so that it keeps skills that are not trained; "
        "reference answers are not used; if empty, the filtered training problems",
    )
    evaluation: tuple[EvaluationSource, ...] = Field(description="at least one source")
    prompt_suffix: str = Field(PAPER_SUFFIX, description="text after every question, in every stage")

    @field_validator("evaluation")
    @classmethod
    def _told_apart(cls, sources: tuple[EvaluationSource, ...]) -> tuple[EvaluationSource, ...]:
        if not sources:
            raise ValueError("give at least one source")
        kinds = [kind for source in sources for kind in source.kinds]
        if "all" in kinds:
            raise ValueError("'all' is the name of the results on all problems; give another kind")
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if twice:
            raise ValueError(f"results on two sources would be reported under one name: {', '.join(twice)}")
        return sources
