"""Public data sets by name: their place on the Hugging Face hub, and the meaning of their columns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipelines.data.parsing import ProblemColumns, after_hashes, joined, last_box, written


class BenchmarkName(StrEnum):
    """The data sets of the paper's evaluation, AMC 2023, and the training set."""

    MINERVA = "minerva"
    MATH500 = "math500"
    GSM8K = "gsm8k"
    OLYMPIADBENCH = "olympiadbench"
    AIME24 = "aime24"
    AIME25 = "aime25"
    AMC23 = "amc23"
    BBEH = "bbeh"
    MMLU_PRO = "mmlu_pro"
    SUPERGPQA = "supergpqa"
    DAPO17K = "dapo17k"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One public data set."""

    hub: str
    """its name on the hub"""
    split: str
    sizes: tuple[int, ...]
    """how many problems the published copies have"""
    columns: ProblemColumns
    config: str | None = None
    repeated: bool = False
    """whether rows repeat; then only the first of equal questions counts"""


_QUESTION = ("problem", "question")
_DAPO_BEFORE = (
    "Solve the following math problem step by step. The last line of your response should be of the form "
    "Answer: $Answer (without quotes) where $Answer is the answer to the problem."
)
_DAPO_AFTER = 'Remember to put your answer on its own line after "Answer:".'

BENCHMARKS: dict[BenchmarkName, Benchmark] = {
    BenchmarkName.MINERVA: Benchmark(
        "math-ai/minervamath",
        "test",
        (272,),
        ProblemColumns(_QUESTION, (("answer", written), ("solution", last_box))),
    ),
    BenchmarkName.MATH500: Benchmark(
        "HuggingFaceH4/MATH-500", "test", (500,), ProblemColumns(_QUESTION, (("answer", written),))
    ),
    BenchmarkName.GSM8K: Benchmark(
        "openai/gsm8k", "test", (1319,), ProblemColumns(_QUESTION, (("answer", after_hashes),)), config="main"
    ),
    BenchmarkName.OLYMPIADBENCH: Benchmark(
        "Hothan/OlympiadBench",
        "train",
        (674, 675),
        ProblemColumns(_QUESTION, (("final_answer", joined),)),
        config="OE_TO_maths_en_COMP",
    ),
    BenchmarkName.AIME24: Benchmark(
        "HuggingFaceH4/aime_2024",
        "train",
        (30,),
        ProblemColumns(_QUESTION, (("answer", written), ("solution", last_box))),
    ),
    BenchmarkName.AIME25: Benchmark("math-ai/aime25", "test", (30,), ProblemColumns(_QUESTION, (("answer", written),))),
    BenchmarkName.AMC23: Benchmark("math-ai/amc23", "test", (40,), ProblemColumns(_QUESTION, (("answer", written),))),
    BenchmarkName.BBEH: Benchmark(
        "BBEH/bbeh", "train", (4520,), ProblemColumns(("input",), (("target", written),), lettered_golds=True)
    ),
    BenchmarkName.MMLU_PRO: Benchmark(
        "TIGER-Lab/MMLU-Pro",
        "test",
        (12032,),
        ProblemColumns(("question",), (("answer", written),), options="options"),
    ),
    BenchmarkName.SUPERGPQA: Benchmark(
        "m-a-p/SuperGPQA",
        "train",
        (26529,),
        ProblemColumns(("question",), (("answer_letter", written),), options="options"),
    ),
    BenchmarkName.DAPO17K: Benchmark(
        "BytedTsinghua-SIA/DAPO-Math-17k",
        "train",
        (17398,),
        ProblemColumns(
            ("prompt.0.content",),
            (("reward_model.ground_truth", written),),
            instructions=(_DAPO_BEFORE, _DAPO_AFTER),
        ),
        repeated=True,
    ),
}
