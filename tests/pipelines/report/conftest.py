"""Synthetic run directories with the shape of real ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from pipelines.analysis.costs import PriceSettings
from pipelines.analysis.findings import KindGroups
from pipelines.analysis.results import OraclePoint, StudyResults, SystemAnswers
from pipelines.experiment.alarms import AlarmSettings
from pipelines.records.alarm_watch import AlarmWatch
from pipelines.records.evaluations import Evaluation

CHAIN_KINDS = ("known", "teacher_known", "unknowable", "all")
# accuracy and call ratio by kind: student alone, teacher alone, the relay after warm-up and at the end, the oracle
CHAIN = {
    "known": ((0.96, 0), (0.97, 1), (0.90, 0.14), (0.97, 0.012), (0.99, 0.0)),
    "teacher_known": ((0.03, 0), (0.96, 1), (0.24, 0.15), (0.95, 0.098), (0.99, 0.081)),
    "unknowable": ((0.01, 0), (0.02, 1), (0.01, 0.15), (0.02, 0.062), (0.02, 0.0)),
    "all": ((0.44, 0), (0.76, 1), (0.46, 0.146), (0.75, 0.058), (0.77, 0.038)),
}
BENCHMARKS = {
    "minerva": ((0.338, 0), (0.482, 1), (0.35, 0.03), (0.4375, 0.0107)),
    "math500": ((0.746, 0), (0.832, 1), (0.75, 0.03), (0.814, 0.009)),
    "gsm8k": ((0.826, 0), (0.936, 1), (0.83, 0.02), (0.863, 0.004)),
    "olympiad": ((0.431, 0), (0.569, 1), (0.44, 0.03), (0.557, 0.014)),
    "aime25": ((0.0875, 0), (0.179, 1), (0.09, 0.04), (0.127, 0.021)),
    "aime24": ((0.121, 0), (0.249, 1), (0.12, 0.04), (0.173, 0.019)),
}

STUDY_KINDS = {"plain": 60, "long/hard": 60, "other/unseen": 60}
# accuracy and call ratio
STUDY_SYSTEMS = {
    "base": (0.3, 0.0),
    "grpo": (0.45, 0.0),
    "citer@0.5": (0.5, 0.1),
    "relay": (0.7, 0.05),
    "relay_teacher_free": (0.4, 0.0),
    "fixed_short": (0.6, 0.2),
    "teacher": (0.85, 1.0),
}
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'

Record = Mapping[str, object]
MakeStudy = Callable[[Path], StudyResults]


def write_jsonl(path: Path, records: Sequence[Record], tail: str = "") -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)


def metric_record(step: int, steps: int, rng: np.random.Generator) -> Record:
    done = 1 / (1 + np.exp(-10 * (step / steps - 0.4)))
    noise = rng.normal(0, 1, 24)
    rollout_s, learn_s, sync_s, sleep_s = 8.2 + noise[0] * 0.4 - done, 5.1 + noise[1] * 0.2, 0.6, 0.3
    solvable, dependent = 0.36 + 0.05 * done + 0.03 * noise[2], 0.12 + 0.3 * done + 0.03 * noise[3]
    metrics = {
        "rollout/accuracy": 0.45 + 0.3 * done + 0.03 * noise[4],
        "rollout/call_ratio": 0.146 - 0.09 * done + 0.006 * noise[5],
        "rollout/calls_per_sample": 1.5 - 0.7 * done + 0.05 * noise[6],
        "rollout/requested_mean": 3.1 - 0.9 * done + 0.1 * noise[7],
        "rollout/written_mean": 2.6 - 0.5 * done + 0.1 * noise[8],
        "rollout/malformed_per_sample": max(0.0, 0.2 - 0.2 * done + 0.02 * noise[9]),
        "rollout/scenario_student_solvable_share": solvable,
        "rollout/scenario_teacher_dependent_share": dependent,
        "rollout/scenario_teacher_unsolvable_share": 1 - solvable - dependent,
        "reward/mean": 0.4 + 0.45 * done + 0.03 * noise[10],
        "learner/loss": 0.01 * noise[11],
        "learner/kl": 0.02 * done + 0.0015 * abs(noise[12]),
        "learner/entropy": 0.5 - 0.25 * done + 0.02 * noise[13],
        "learner/clip_fraction": 0.02 + 0.005 * abs(noise[14]),
        "learner/logprob_gap": 0.0004 + 0.0001 * abs(noise[15]),
        "learner/grad_norm": 0.6 + 0.1 * noise[16],
        "speed/rollout_tokens_per_s": 2100 + 90 * noise[17],
        "speed/learner_tokens_per_s": 5200 + 150 * noise[18],
        "time/rollout_s": rollout_s,
        "time/learn_s": learn_s,
        "time/sync_s": sync_s,
        "time/sleep_s": sleep_s,
        "time/step_s": rollout_s + learn_s + sync_s + sleep_s + 0.2,
    }
    return {"stage": "grpo", "step": step, "time_s": 60.0 + 14.4 * step, "metrics": metrics}


def evaluation_record(
    name: str,
    step: int,
    policy: str,
    kind: str,
    accuracy: float,
    call_ratio: float,
    oracle: tuple[float, float] | None = None,
    problems: int = 500,
) -> Record:
    half = 1.96 * (max(accuracy * (1 - accuracy), 0.002) / problems) ** 0.5
    return {
        "name": name,
        "stage": "evaluate",
        "step": step,
        "policy": policy,
        "kind": kind,
        "problems": problems,
        "samples": problems,
        "solved_share": accuracy,
        "accuracy": accuracy,
        "accuracy_ci95": [max(0.0, accuracy - half), min(1.0, accuracy + half)],
        "call_ratio": call_ratio,
        "calls_per_sample": 8 * call_ratio,
        "with_call_share": min(1.0, 9 * call_ratio),
        "failed_call_share": 0.0,
        "cut_off_share": 0.01,
        "requested_mean": 2.4 if policy == "relay" else None,
        "oracle_call_ratio": oracle[1] if oracle else None,
        "oracle_accuracy": oracle[0] if oracle else None,
        "output_tokens_mean": 41.0,
    }


def evaluation_records(sets: Mapping[str, Sequence[tuple[float, float]]], steps: int, every: int) -> list[Record]:
    records = []
    for kind, (student, teacher, start, end, *rest) in sets.items():
        oracle = rest[0] if rest else None
        records.append(evaluation_record("base", 0, "student", kind, *student))
        records.append(evaluation_record("base", 0, "teacher", kind, *teacher))
        names = {step: "warmup" if step == 0 else f"grpo-{step:04d}" for step in range(0, steps, every)} | {
            steps: "final"
        }
        for step, name in names.items():
            done = (1 - np.cos(np.pi * step / steps)) / 2
            accuracy, ratio = ((1 - done) * a + done * b for a, b in zip(start, end, strict=True))
            records.append(evaluation_record(name, step, "relay", kind, float(accuracy), float(ratio), oracle))
        records.append(evaluation_record("final", steps, "student", kind, student[0] * 0.97, 0.0))
    return records


def trace_record(kind: str, correct: bool, problem: str, segments: Sequence[tuple[str, str]]) -> Record:
    asked = sum(source == "command" for source, _ in segments)
    return {
        "name": "final",
        "step": 120,
        "policy": "relay",
        "kind": kind,
        "problem": problem,
        "gold": "46",
        "answer": "46" if correct else None,
        "correct": correct,
        "segments": [{"source": source, "text": text} for source, text in segments],
        "calls": [{"requested": 2, "written": 2, "ending": "completed"}] * asked,
    }


def trace_records() -> list[Record]:
    return [
        trace_record(
            "teacher_known",
            True,
            "start 17, then: add 5, ask 88, add 4. What is the result?",
            [
                ("student", "17 add 5 is 22.\n22 ask 88 is "),
                ("command", "<call>2</call>"),
                ("teacher", " 42"),
                ("student", ".\n42 add 4 is 46.\nThe answer is \\boxed{46}."),
            ],
        ),
        trace_record(
            "known", True, "start 40, then: add 6. What is the result?", [("student", "40 add 6 is 46. \\boxed{46}.")]
        ),
        trace_record(
            "unknowable",
            False,
            "start 3, then: fog 12. What is the result?",
            [
                ("student", "3 fog 12 is "),
                ("command", "<call>2</call>"),
                ("teacher", " 91"),
                ("student", ". \\boxed{91}."),
            ],
        ),
    ]


def write_run(directory: Path, sets: Mapping[str, Sequence[tuple[float, float]]], steps: int, every: int) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    warmup: list[Record] = [
        {
            "stage": "warmup",
            "step": step,
            "time_s": step * 1.0,
            "metrics": {"learner/loss": float(2.0 * 0.95**step + 0.3)},
        }
        for step in range(1, 51)
    ]
    write_jsonl(directory / "metrics.jsonl", warmup + [metric_record(step, steps, rng) for step in range(1, steps + 1)])
    write_jsonl(directory / "evaluations.jsonl", evaluation_records(sets, steps, every))
    write_jsonl(directory / "traces.jsonl", trace_records())
    (directory / "experiment.yaml").write_text(f"name: {directory.name}\nseed: 7\ngrpo:\n  steps: {steps}\n")
    return directory


@pytest.fixture
def chain_run(tmp_path: Path) -> Path:
    """A short chain-arithmetic run with all files."""
    return write_run(tmp_path / "chain", CHAIN, steps=24, every=8)


def write_collapsed_run(directory: Path) -> Path:
    """A run whose student learned to call and never to stop: known problems fell to 64 %, and alarms were raised."""
    bad = dict(CHAIN)
    student, teacher, start, _, oracle = CHAIN["known"]
    bad["known"] = (student, teacher, start, (0.64, 0.0), oracle)
    write_run(directory, bad, steps=24, every=8)
    path = directory / "evaluations.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        if record["policy"] == "relay" and record["name"] == "final":
            record["cut_off_share"] = {"known": 0.36, "all": 0.16}.get(record["kind"], 0.02)
            record["failed_call_share"] = 0.01
    write_jsonl(path, records)
    watch, events = AlarmWatch(AlarmSettings()), []
    for step in range(1, 25):
        metrics = {
            "rollout/cut_off_share": 0.31 if step > 9 else 0.02,
            "rollout/malformed_per_sample": 0.4 * (step < 8),
        }
        events += watch.step("grpo", step, metrics)
    for name, policy in dict.fromkeys((record["name"], record["policy"]) for record in records):
        rows = [record for record in records if (record["name"], record["policy"]) == (name, policy)]
        events += watch.evaluated([TypeAdapter(Evaluation).validate_python(row) for row in rows])
    write_jsonl(directory / "alarms.jsonl", [asdict(event) for event in events])
    return directory


@pytest.fixture
def collapsed_run(tmp_path: Path) -> Path:
    return write_collapsed_run(tmp_path / "collapsed")


@pytest.fixture
def benchmark_run(tmp_path: Path) -> Path:
    """A run on six benchmarks, without an oracle."""
    return write_run(tmp_path / "benchmarks", BENCHMARKS, steps=40, every=20)


@pytest.fixture
def metrics_only(tmp_path: Path) -> Callable[[Sequence[Record]], Path]:
    """Writes a run directory with nothing but these metric records."""

    def write(records: Sequence[Record]) -> Path:
        write_jsonl(tmp_path / "metrics.jsonl", records)
        return tmp_path

    return write


@pytest.fixture(scope="session")
def make_study(random_table) -> MakeStudy:
    """Return a function that writes the runs of a small study and returns its results; some of its texts are hostile."""

    def make(directory: Path) -> StudyResults:
        systems, runs = {}, {}
        for seed, (name, (accuracy, ratio)) in enumerate(STUDY_SYSTEMS.items()):
            run = {"relay_teacher_free": "relay", "teacher": "base"}.get(name, name.partition("@")[0])
            by_teacher = name == "teacher"
            part = 0.0 if by_teacher else ratio
            table = random_table(STUDY_KINDS, accuracy, seed, tokens=100, teacher_part=part, by_teacher=by_teacher)
            runs[run] = directory / run
            folder = runs[run] / "stages" / f"evaluate-final-{name}"
            folder.mkdir(parents=True)
            (folder / "answers.parquet").write_bytes(table.to_bytes())
            write_jsonl(folder / "traces.jsonl", study_traces(name))
            systems[name] = SystemAnswers(run, table, seconds=60.0 + seed)
        rng = np.random.default_rng(0)
        for run, path in runs.items():
            steps = range(1, 41) if run in ("grpo", "relay") else ()
            write_jsonl(path / "metrics.jsonl", [metric_record(step, 40, rng) for step in steps])
        oracle = {kind: OraclePoint(0.9, 0.02) for kind in (*STUDY_KINDS, "all")}
        groups = KindGroups(frozenset({"long/hard"}), frozenset({"other/unseen"}))
        missing = {"no_filter": f"its run stopped {HOSTILE}"}
        return StudyResults("small study", systems, missing, groups, PriceSettings(), runs, oracle)

    return make


def study_traces(name: str) -> list[Record]:
    """One right and one wrong answer of each kind, whose texts name the system."""
    called = [("command", "<call>2</call>"), ("teacher", f"it is 42 {HOSTILE}")] if name == "relay" else []
    return [
        trace_record(kind, right, f"problem of {kind} for {name}", [("student", f"I, {name}, say "), *called])
        for kind in STUDY_KINDS
        for right in (True, False)
    ]
