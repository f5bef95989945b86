"""The paper's runs have the paper's settings, differ where they should and nowhere else, and fit nodes of 8 and of 2 GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import yaml

from actors.settings import EngineSettings
from cluster.placement import total
from pipelines.analysis import paper, systems
from pipelines.data.benchmarks import BENCHMARKS, BenchmarkName
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_keys import stage_keys
from pipelines.study.plan import Study, load_study

FOLDER = Path(__file__).parents[3] / "experiments" / "paper"
RUNS = sorted(path.stem for path in FOLDER.glob("*.yaml") if not path.stem.startswith("study-"))
STUDIES = {"study-1.7b": 8, "study-0.6b": 8, "study-1.7b-2gpus": 2, "study-0.6b-2gpus": 2}
"""GPUs of the node that each is for"""
ABSENT = "(absent)"

PAPER: dict[str, object] = {
    "models.teacher.path": "Qwen/Qwen3-8B",
    "data.train.name": "dapo17k",
    "data.train.limit": None,
    "filter.enabled": True,
    "filter.samples": 10,
    "filter.min_pass_rate": 0.5,
    "warmup.enabled": True,
    "warmup.epochs": 1,
    "warmup.optimizer.lr": 2e-5,
    "warmup.commands": [0, 3],
    "warmup.digits": [1, 9],
    "warmup.exponents": [0, 3],
    "grpo.prompts_per_step": 128,
    "grpo.group_size": 8,
    "grpo.mini_batches": 128 // 32,
    "grpo.sampling.temperature": 1.0,
    "grpo.limits.max_new_tokens": 8192,
    "grpo.limits.max_calls": 3,
    "grpo.limits.call_tokens": None,
    "grpo.loss.clip_low": 0.2,
    "grpo.loss.clip_high": 0.2,
    "grpo.loss.kl_coefficient": 0.01,
    "grpo.loss.aggregation": "token_mean",
    "grpo.loss.train_teacher_tokens": False,
    "grpo.optimizer.lr": 1e-6,
    "grpo.optimizer.weight_decay": 0.01,
    "grpo.optimizer.max_grad_norm": 1.0,
    "reward.scheme": "difficulty_aware",
    "reward.independence_bonus": 1.5,
    "reward.missed_call": -1.0,
    "reward.exploration_weight": 1.0,
    "reward.normalisation": "std",
    "evaluation.sampling.temperature": 0.0,
    "evaluation.limits.max_new_tokens": 8192,
    "evaluation.limits.max_calls": 5,
    "evaluation.teacher": None,
}
"""what the paper, or where it says nothing the released code, has"""

WITHOUT_CALLS: dict[str, object] = {
    "warmup.enabled": False,
    "grpo.limits.max_calls": 0,
    "reward.scheme": "accuracy",
    "evaluation.limits.max_calls": 0,
    "evaluation.training": ["student"],
    "evaluation.final": ["student"],
}
CHANGES: dict[str, dict[str, object]] = {
    "common": {},
    "relay": {
        "evaluation.base": ["student", "teacher"],
        "evaluation.final": ["student", "relay", "random_placement"],
    },
    "relay_simple": {"reward.scheme": "simple", "evaluation.final": ["student", "relay"]},
    "grpo_filtered": WITHOUT_CALLS,
    "grpo": WITHOUT_CALLS | {"filter.enabled": False},
    "fixed_short": {"grpo.limits.call_tokens": 20, "evaluation.limits.call_tokens": 20},
    "fixed_medium": {"grpo.limits.call_tokens": 100, "evaluation.limits.call_tokens": 100},
    "fixed_long": {"grpo.limits.call_tokens": 500, "evaluation.limits.call_tokens": 500},
    "no_filter": {"filter.enabled": False},
    "no_bonus": {"reward.independence_bonus": 1.0},
    "no_exploration": {"reward.exploration_weight": 0.0},
    "no_warmup": {"warmup.enabled": False},
    "unmasked": {"grpo.loss.train_teacher_tokens": True},
    **{
        f"relay_with_{size.lower()}": {
            "evaluation.teacher.path": f"Qwen/Qwen3-{size}",
            "evaluation.teacher.pretrain": None,
            **dict.fromkeys(
                f"evaluation.teacher.{key}" for key in ("url", "model", "api_key_env", "tokenizer", "mode")
            ),
        }
        for size in ("0.6B", "1.7B", "4B", "14B")
    },
    "citer": {
        "warmup.enabled": False,
        "grpo.enabled": False,
        "evaluation.final": [],
        "citer.enabled": True,
        "citer.thresholds": [0.05, 0.2, 0.5],
        "citer.reference_sampling.temperature": 0.7,
        "citer.max_sequences": 24,
    },
}
"""each run's differences from the common settings, its name aside"""


def flat(values: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(values, dict) or (prefix and not values):
        return {prefix.removesuffix("."): values}
    return {key: value for name, below in values.items() for key, value in flat(below, f"{prefix}{name}.").items()}


def resolved(experiment: Experiment) -> dict[str, object]:
    return flat(experiment.model_dump(mode="json"))


def differences(first: Mapping[str, object], second: Mapping[str, object]) -> dict[str, object]:
    """What `second` has where it differs. A block that is empty on one side counts by its keys on the other."""
    keys = [key for key in {**first, **second} if first.get(key, ABSENT) != second.get(key, ABSENT)]
    return {key: second[key] for key in keys if key in second}


@cache
def experiment(run: str) -> Experiment:
    return load(FOLDER / f"{run}.yaml", [], Experiment)


@cache
def study(name: str) -> Study:
    return load_study(FOLDER / f"{name}.yaml")


def runs_of(name: str) -> dict[str, Experiment]:
    return {run: found.experiment for run, found in study(name).runs.items()}


def test_every_file_is_a_run_or_a_study_that_is_checked_here() -> None:
    assert sorted(CHANGES) == RUNS
    assert sorted(STUDIES) == sorted(path.stem for path in FOLDER.glob("study-*.yaml"))


def test_the_common_settings_are_the_papers() -> None:
    given = resolved(experiment("common"))
    assert {key: given.get(key, ABSENT) for key in PAPER} == PAPER


def test_prompts_have_4096_tokens_of_room_in_both_models() -> None:
    settings = experiment("common")
    engines = (settings.rollout.engine, settings.teacher.engine)
    assert [engine.max_model_len - settings.grpo.limits.max_new_tokens for engine in engines] == [4096, 4096]


def test_training_is_one_epoch_of_the_problems_that_the_filter_keeps() -> None:
    (problems,) = BENCHMARKS[BenchmarkName.DAPO17K].sizes
    paper = experiment("common")
    assert paper.with_steps_for(problems).grpo_steps == 17398 // 128
    assert paper.grpo.evaluate_every < paper.with_steps_for(problems // 2).grpo_steps


def test_all_of_the_papers_benchmarks_are_evaluated_whole_and_aime_32_times() -> None:
    sources = {source.name.value: source for source in experiment("common").data.evaluation}  # type: ignore[union-attr]
    assert list(sources) == [
        *("minerva", "math500", "gsm8k", "olympiadbench", "aime24", "aime25"),
        *("bbeh", "mmlu_pro", "supergpqa"),
    ]
    assert all(source.limit is None and source.split is None and name in BENCHMARKS for name, source in sources.items())
    drawn = {name: source for name, source in sources.items() if source.samples > 1 or source.sampling is not None}
    assert {name: source.samples for name, source in drawn.items()} == {"aime24": 32, "aime25": 32}
    assert all(source.sampling is not None and not source.sampling.greedy for source in drawn.values())


@pytest.mark.parametrize("run", RUNS)
def test_a_run_differs_from_the_common_settings_in_nothing_else(run: str) -> None:
    changed = differences(resolved(experiment("common")), resolved(experiment(run)))
    name = changed.pop("name", "paper")
    assert name == ("paper" if run == "common" else f"paper-{run.replace('_', '-')}")
    assert changed == CHANGES[run]


@pytest.mark.parametrize("name", STUDIES)
def test_every_run_of_a_study_fits_its_node(name: str) -> None:
    for run, settings in runs_of(name).items():
        bundles = settings.bundles()
        assert total(bundles)[1] <= STUDIES[name], run
        # Shares of one GPU lie on one GPU: the learner fits beside neither engine, and both engines fit together.
        if STUDIES[name] == 2:
            gpus = {bundle.actor: bundle.gpus for bundle in bundles if bundle.gpus}
            assert gpus["teacher"] + gpus["rollout-0"] <= 1, run
            if settings.trains:
                assert min(gpus["teacher"], gpus["rollout-0"]) + gpus["learner-0"] > 1, run
            assert gpus.get("citer", 0) + gpus.get("learner-0", 0) <= 1, run


@pytest.mark.parametrize("name", STUDIES)
def test_the_node_changes_nothing_that_is_learned(name: str) -> None:
    blocks = ("rollout.", "teacher.engine.", "learner.", "cluster.")
    machines = (*blocks, "run_dir", "share_dir", "citer.max_sequences")
    student = {"models.student.path": "Qwen/Qwen3-0.6B", "tracking.group": "paper-0.6b"} if "0.6b" in name else {}
    for run, settings in runs_of(name).items():
        changed = differences(resolved(experiment(run)), resolved(settings))
        learned = {key: value for key, value in changed.items() if not key.startswith(machines)}
        assert learned == student, run
        assert settings.rollout.engine.max_model_len == settings.teacher.engine.max_model_len == 12288


def test_both_students_have_the_same_node_of_2_gpus() -> None:
    own = [yaml.safe_load((FOLDER / f"study-{size}-2gpus.yaml").read_text())["overrides"] for size in ("0.6b", "1.7b")]
    assert own[0] == own[1]


@pytest.mark.parametrize("name", STUDIES)
def test_the_papers_systems_are_all_compared(name: str) -> None:
    compared = set(study(name).systems)
    tables = [*paper.TABLE_1, *paper.TABLE_2, *(() if "0.6b" in name else (*paper.TABLE_3, *paper.TABLE_5))]
    printed = {row.system for row in tables}
    assert printed - compared == {paper.CITER}
    assert any(map(systems.is_citer, compared))
    assert {systems.RELAY_TEACHER_FREE, systems.GRPO_FILTERED, systems.RANDOM_PLACEMENT} <= compared
    if "1.7b" in name:
        assert {systems.NO_WARMUP, systems.UNMASKED} <= compared
        others = {systems.relay_with(f"Qwen3-{size}") for size in ("0.6B", "1.7B", "4B", "14B")}
        assert {system for system in compared if systems.is_relay_with_another_teacher(system)} == others


@pytest.mark.parametrize("name", STUDIES)
def test_runs_share_what_they_have_in_common(name: str) -> None:
    keys = {run: stage_keys(settings) for run, settings in runs_of(name).items()}

    def stages(stage: str) -> dict[str, str]:
        return {run: of_run[stage] for run, of_run in keys.items() if stage in of_run}

    assert set(stages("filter")) == set(keys) - {"grpo", "no_filter"}
    assert len(set(stages("filter").values())) == 1
    fixed = {f"fixed_{length}" for length in ("short", "medium", "long")}
    alone = {"relay", "relay_simple", "no_bonus", "no_exploration", "unmasked", *fixed}
    swapped = {run for run in keys if run.startswith("relay_with_")}
    warm = {run: key for run, key in stages("warmup").items() if run != "no_filter"}
    assert set(warm) == (alone & set(keys)) | swapped
    assert len(set(warm.values())) == 1
    trained = stages("grpo")
    assert {trained[run] for run in swapped} <= {trained["relay"]}
    assert len(set(trained.values())) == len(trained) - len(swapped)


@pytest.mark.parametrize("name", STUDIES)
def test_the_training_that_several_runs_share_is_done_first(name: str) -> None:
    assert next(iter(study(name).runs)) == "relay"


WEIGHTS_GIB = {
    "Qwen/Qwen3-0.6B": 1.2,
    "Qwen/Qwen3-1.7B": 3.3,
    "Qwen/Qwen3-4B": 7.6,
    "Qwen/Qwen3-8B": 15.3,
    "Qwen/Qwen3-14B": 27.6,
}
"""in bfloat16"""
KV_KIB_PER_TOKEN = {
    "Qwen/Qwen3-0.6B": 112,
    "Qwen/Qwen3-1.7B": 112,
    "Qwen/Qwen3-4B": 144,
    "Qwen/Qwen3-8B": 144,
    "Qwen/Qwen3-14B": 160,
}
"""2 x layers (28, 28, 36, 36, 40) x 8 heads x 128 dimensions x 2 bytes"""
GPU_GIB, WORKSPACE_GIB = 79.0, 4.0


@pytest.mark.parametrize("name", STUDIES)
def test_every_engine_has_room_for_its_weights_and_for_several_of_the_longest_sequences(name: str) -> None:
    def sequences(model: str, engine: EngineSettings) -> float:
        room_gib = GPU_GIB * engine.gpu_memory_utilization - WORKSPACE_GIB - WEIGHTS_GIB[model]
        return room_gib * 2**20 / KV_KIB_PER_TOKEN[model] / engine.max_model_len

    for run, settings in runs_of(name).items():
        teacher = settings.evaluation.teacher or settings.models.teacher
        for model, engine in (
            (settings.models.student.path, settings.rollout.engine),
            (settings.models.teacher.path, settings.teacher.engine),
            (teacher.path, settings.teacher.engine),
        ):
            assert model is not None
            assert sequences(model, engine) >= 4, f"{run}: {model}"


def test_two_engines_on_one_gpu_leave_room_for_their_processes() -> None:
    for name in ("study-1.7b-2gpus", "study-0.6b-2gpus"):
        for settings in runs_of(name).values():
            used = settings.teacher.engine.gpu_memory_utilization + settings.rollout.engine.gpu_memory_utilization
            assert used <= 0.95
