"""Runs share a stage's result exactly where nothing that it depends on differs."""

from __future__ import annotations

import copy
import enum
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import ValidationError

from pipelines.experiment import stage_keys as key_module
from pipelines.experiment.errors import below, schema_paths
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_keys import WITHOUT_EFFECT, shared_folders, stage_keys

REPOSITORY = Path(__file__).parents[3]
DEMO = REPOSITORY / "experiments" / "demo.yaml"

FIXED = {"grpo.sampling.top_p", "grpo.sampling.top_k", "cluster.colocate"}
"""settings that have one valid value in these examples"""

PRETRAIN = {
    "lengths": [2, 3],
    "forms": {"plain": 1, "postfix": 1},
    "skill": 0.5,
    "mix": {"known": 1, "unknowable": 1},
    "markup": 0.2,
}
CHAINS = {"source": "chain_arithmetic", "counts": {"known": 3, "unknowable": 2}, "lengths": [2, 3], "limit": 4}
BENCHMARK = {"source": "benchmark", "name": "gsm8k", "path": "g.jsonl", "split": "test", "limit": 4}
FILE = {"source": "file", "path": "f.jsonl", "options": "options", "kind": "own", "limit": 4}
EVERYTHING: dict[str, Any] = {
    "name": "everything",
    "run_dir": "runs/x",
    "share_dir": "shared",
    "models": {"student": {"pretrain": PRETRAIN}, "teacher": {"pretrain": PRETRAIN}},
    "data": {
        "train": CHAINS,
        "warmup": [CHAINS, BENCHMARK, FILE],
        "evaluation": [{**source, "sampling": {"top_k": 3}} for source in (CHAINS, BENCHMARK, FILE)],
    },
    "warmup": {"commands": [1, 3], "digits": [1, 8], "exponents": [1, 3]},
    "grpo": {
        "prompts_per_step": 8,
        "limits": {"max_new_tokens": 90, "call_tokens": 5},
        "loss": {"dual_clip": 3.0, "tis_cap": 2.0},
    },
    "evaluation": {
        "base": ["student"],
        "warmup": ["student"],
        "training": ["student"],
        "final": ["student", "relay"],
        "limits": {"max_new_tokens": 90, "call_tokens": 5},
        "teacher": {"pretrain": PRETRAIN},
    },
    "citer": {"enabled": True},
    "rollout": {"workers": 3, "min_workers": 3, "engine": {"block_size": 32}, "seeded_sampling": True},
    "teacher": {"engine": {"block_size": 32}, "cache": "recorded"},
    "cluster": {"address": "auto"},
    "tracking": {"entity": "a", "group": "b", "name": "c", "tags": ["d"]},
}


def changed(values: Mapping[str, Any], key: tuple[str, ...], value: object) -> dict[str, Any]:
    result: Any = copy.deepcopy(values)
    place = result
    for name in key[:-1]:
        place = place[int(name) if isinstance(place, list) else name]
    place[int(key[-1]) if isinstance(place, list) else key[-1]] = value
    return result  # type: ignore[no-any-return]


SERVED = {"url": "http://host:8000/v1", "model": "big", "api_key_env": "KEY", "tokenizer": "t", "mode": "ids"}
EXAMPLES = {
    "pretrained": EVERYTHING,
    "given": EVERYTHING
    | {
        "models": {"student": {"path": "s"}, "teacher": {"path": "t"}},
        "evaluation": EVERYTHING["evaluation"] | {"teacher": {"path": "other"}},
        "data": changed(EVERYTHING, ("data", "train"), BENCHMARK)["data"],
    },
    "with a served teacher": EVERYTHING
    | {"models": {"student": {"path": "s"}, "teacher": SERVED}, "citer": {"enabled": False}},
    "with a served teacher at the end": changed(EVERYTHING, ("evaluation", "teacher"), SERVED),
    "own data": changed(EVERYTHING, ("data", "train"), FILE),
}
IN_EPOCHS = EVERYTHING | {"grpo": EVERYTHING["grpo"] | {"epochs": 2.0}}


def leaves(value: object, key: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict | list) and value:
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*key, str(name)))
    else:
        yield key, value


def other_values(key: tuple[str, ...], value: Any) -> Iterator[object]:
    options: list[object] = [Experiment]
    for name in key:
        options = below(options, name)
    for option in options:
        if get_origin(option) is Literal:
            yield from get_args(option)
        elif isinstance(option, type) and issubclass(option, enum.Enum):
            yield from (member.value for member in option)
    match value:
        case bool():
            yield not value
        case int() | float():
            yield from (value + 1, value / 2, value - 1, value + 0.001, value - 0.001)
        case str():
            yield from (value + "x", "simple", f"{value}_X")


def with_another_value(values: dict[str, Any], key: tuple[str, ...], value: object) -> Experiment | None:
    """The experiment with one leaf changed, None if there is no other valid value."""
    original = Experiment.model_validate(values)
    for other in other_values(key, value):
        try:
            experiment = Experiment.model_validate(changed(values, key, other))
        except ValidationError:
            continue
        if experiment != original:
            return experiment
    return None


def resolved(values: dict[str, Any]) -> dict[str, Any]:
    return Experiment.model_validate(values).model_dump(mode="json", round_trip=True)


def test_a_served_teacher_is_told_apart_by_server_and_model_and_not_by_how_many_there_are() -> None:
    server = "{url: http://a/v1, model: big, pretrain: null}"
    base = (f"models.teacher={server}",)
    assert "filter" not in same("models.teacher.url=http://b/v1", base=base)
    assert "filter" not in same("models.teacher.model=bigger", base=base)
    unchanged = ("models.teacher.api_key_env=KEY", "models.teacher.url=http://a/v1/", "teacher.engine.dtype=bfloat16")
    assert same(*unchanged, base=base) == keys(*base).keys()
    assert same("teacher.replicas=3", "teacher.cache=recorded") == keys().keys()


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_setting_is_in_a_key_or_known_to_have_no_effect(example: str) -> None:
    values = resolved(EXAMPLES[example])
    keys = stage_keys(Experiment.model_validate(values))
    wrong = []
    for key, value in leaves(values):
        dotted = ".".join(key)
        if value is None or value == [] or dotted in FIXED or key[-1] == "source":
            continue
        if key[0] == "citer" and not values["citer"]["enabled"]:  # a served teacher excludes it
            continue
        experiment = with_another_value(values, key, value)
        assert experiment is not None, f"the test knows no other valid value of {dotted}"
        without_effect = any(f"{dotted}.".startswith(f"{setting}.") for setting in WITHOUT_EFFECT)
        if (stage_keys(experiment) == keys) is not without_effect:
            wrong.append(dotted)
    assert wrong == []


def test_the_examples_have_every_setting_of_the_schema() -> None:
    paths = set(schema_paths(Experiment))
    items = {
        path for path in paths if not any(len(other) > len(path) and other[: len(path)] == path for other in paths)
    }
    seen = set()
    for values in (*EXAMPLES.values(), IN_EPOCHS):
        for key, value in leaves(resolved(values)):
            if value is not None and value != []:
                types: list[object] = [Experiment]
                general: tuple[str, ...] = ()
                for name in key:
                    is_mapping = any(get_origin(option) is dict for option in types)
                    general = (*general, "*" if is_mapping else "0" if name.isdecimal() else name)
                    types = below(types, name)
                seen.add(general)
    lists = {path[:-1] for path in seen if path[-1] in ("0", "*")}
    assert sorted(items - seen - lists) == []


def test_results_are_found_until_the_recipe_is_raised() -> None:
    assert keys("grpo.steps=110", "grpo.evaluate_every=50")["grpo"].startswith("61a43409f357")


def test_epochs_are_in_the_keys_of_what_follows_from_them() -> None:
    two, three = (changed(IN_EPOCHS, ("grpo", "epochs"), epochs) for epochs in (2.0, 3.0))
    first, second = (stage_keys(Experiment.model_validate(values)) for values in (two, three))
    assert {stage for stage in first if first[stage] != second[stage]} == {
        "grpo",
        "evaluate-final-student",
        "evaluate-final-relay",
    }


def keys(*overrides: str) -> dict[str, str]:
    return stage_keys(load(DEMO, overrides, Experiment))


def same(*overrides: str, base: tuple[str, ...] = ()) -> set[str]:
    """The stages that a change of the demo shares with it."""
    first, second = keys(*base), keys(*base, *overrides)
    return {stage for stage in first if second.get(stage) == first[stage]}


ENGINE_SHARES = ("rollout.engine.gpu_memory_utilization=0.3", "teacher.engine.gpu_memory_utilization=0.5")
TRAINED = {"grpo", "evaluate-final-student", "evaluate-final-relay"} | {
    f"evaluate-grpo-0040-{policy}" for policy in ("student", "relay")
}


def test_another_reward_changes_what_is_trained_with_it_and_nothing_before() -> None:
    assert keys().keys() - same("reward.scheme=simple") == TRAINED


def test_engines_and_learner_in_turn_share_all_stages_with_those_side_by_side() -> None:
    on_gpus = ("cluster.device=gpu", "cluster.gpus={rollout: 0.35, learner: 0.1, teacher: 0.55}", *ENGINE_SHARES)
    assert keys(*on_gpus) == keys(*on_gpus, "cluster.colocate=true")


def test_another_teacher_at_the_end_changes_the_final_evaluation_alone() -> None:
    other = "evaluation.teacher={pretrain: {steps: 7}}"
    assert keys().keys() - same(other) == {"evaluate-final-student", "evaluate-final-relay"}


def test_another_teacher_at_the_end_changes_all_evaluations_where_long_prompts_are_left_out() -> None:
    other, skipped = "evaluation.teacher={pretrain: {steps: 7}}", "data.evaluation.0.bad_rows=skip"
    assert same(other, base=(skipped,)) == {"filter", "warmup", "grpo"}
    alone, training = ("evaluation.final=[teacher]", other), "models.teacher={pretrain: {steps: 8}}"
    assert "evaluate-final-teacher" in same(training, base=alone)
    assert "evaluate-final-teacher" not in same(training, base=(*alone, skipped))


def test_the_teacher_of_training_named_again_changes_nothing() -> None:
    teacher = load(DEMO, (), Experiment).models.teacher.model_dump_json()
    assert same(f"evaluation.teacher={teacher}") == keys().keys()


def test_where_and_under_which_name_a_run_is_made_changes_nothing() -> None:
    elsewhere = ["name=b", "run_dir=/b", "cluster.engine_threads=3", "tracking.group=g", "share_dir=/s"]
    assert same(*elsewhere) == keys().keys()


def test_limits_of_calls_leave_answers_without_calls_as_they_are() -> None:
    found = same("evaluation.limits.call_tokens=3")
    assert {"evaluate-base-student", "evaluate-base-teacher", "evaluate-final-student", "grpo"} <= found
    assert "evaluate-final-relay" not in found


@pytest.mark.parametrize("setting", ["max_model_len=120", "dtype=bfloat16"])
def test_the_students_engine_is_in_the_key_of_all_that_a_student_writes(setting: str) -> None:
    citer = ("citer.enabled=true", "citer.thresholds=[0.5]")
    assert same(f"rollout.engine.{setting}", base=citer) == {"filter"}
    assert same("rollout.engine.max_num_seqs=3", base=citer) == keys(*citer).keys()


@pytest.mark.parametrize("change", ["models.teacher={pretrain: {steps: 7}}", "teacher.engine.max_model_len=120"])
def test_a_warmup_depends_on_the_teacher_where_its_prompts_may_leave_problems_out(change: str) -> None:
    all_problems = ("filter.enabled=false",)
    assert "warmup" in same(change, base=all_problems)
    assert "warmup" not in same(change, base=(*all_problems, "data.train.bad_rows=skip"))


def test_a_warmup_on_problems_of_its_own_does_not_depend_on_those_of_training() -> None:
    counts = "{source: chain_arithmetic, counts: {known: 5}}"
    base = (f"data.warmup=[{counts}]",)
    assert {"warmup", "evaluate-warmup-relay"} <= same("filter.enabled=false", base=base)
    assert "warmup" in same(f"data.train={counts}", base=base)
    assert "warmup" not in same("data.warmup=[{source: chain_arithmetic, counts: {known: 6}}]", base=base)


def test_problems_depend_on_the_room_for_their_prompts_where_longer_ones_are_left_out() -> None:
    skipped = ("data.train.bad_rows=skip",)
    assert "filter" in same("rollout.engine.max_model_len=120")
    assert "filter" not in same("rollout.engine.max_model_len=120", base=skipped)
    assert "filter" not in same("models.student={pretrain: {steps: 7}}", base=skipped)


def test_an_unfiltered_run_shares_nothing_that_was_trained() -> None:
    assert same("filter.enabled=false") == {"evaluate-base-student", "evaluate-base-teacher"}


def test_a_seed_changes_everything() -> None:
    assert same("seed=1") == set()


def test_an_evaluated_policy_more_leaves_the_others_as_they_are() -> None:
    assert same("evaluation.final=[student, relay, random_placement]") == keys().keys()


def test_stages_come_in_the_order_in_which_they_are_done() -> None:
    order = list(keys("citer.enabled=true", "citer.thresholds=[0.5]", "grpo.evaluate_every=75"))
    assert order == [
        "evaluate-base-student", "evaluate-base-teacher", "filter", "citer", "evaluate-citer-citer@0.5", "warmup",
        "evaluate-warmup-student", "evaluate-warmup-relay", "grpo", "evaluate-grpo-0075-student",
        "evaluate-grpo-0075-relay", "evaluate-final-student", "evaluate-final-relay",
    ]  # fmt: skip


def test_a_run_that_trains_nothing_has_no_stage_but_its_evaluations() -> None:
    found = keys("warmup.enabled=false", "grpo.enabled=false", "evaluation.final=[]")
    assert list(found) == ["evaluate-base-student", "evaluate-base-teacher"]


def test_shared_folders_are_named_by_stage_and_key(tmp_path: Path) -> None:
    assert shared_folders(load(DEMO, (), Experiment)) == {}
    folders = shared_folders(load(DEMO, [f"share_dir={tmp_path}"], Experiment))
    assert folders["grpo"] == tmp_path / f"grpo-{keys()['grpo'][:16]}"
    assert len(set(folders.values())) == len(folders) == len(keys())


def test_settings_that_came_later_are_in_a_key_only_if_they_are_not_at_their_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_module, "_key", json.dumps)
    later = {"async_depth", "extra_prompts", "max_staleness", "tis_cap"}
    assert not [name for name in later if name in keys()["grpo"]]
    chosen = keys("grpo.async_depth=1", "grpo.extra_prompts=3", "grpo.max_staleness=4", "grpo.loss.tis_cap=2")["grpo"]
    assert [name for name in later if name not in chosen] == []


def test_keys_are_the_same_in_every_process() -> None:
    script = (
        "import json, sys; from pathlib import Path; from pipelines.experiment.loading import load;"
        "from pipelines.experiment.schema import Experiment; from pipelines.experiment.stage_keys import stage_keys;"
        "keys = stage_keys(load(Path('experiments/demo.yaml'), [], Experiment));"
        "print(json.dumps([keys, sorted({'torch', 'ray', 'vllm', 'transformers'} & sys.modules.keys())]))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120
    )
    assert json.loads(printed.stdout) == [keys(), []]
