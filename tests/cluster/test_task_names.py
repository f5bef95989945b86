"""Tasks are named by the stage and the step that they belong to."""

from __future__ import annotations

from cluster.task_names import at_stage, at_step, stage_readings, task_name


def test_a_name_has_stage_step_and_what_is_done() -> None:
    assert task_name("check") == "check"
    with at_stage("grpo"):
        assert task_name("load") == "grpo: load"
        with at_step(3):
            assert task_name("learn") == "grpo step 3: learn"
            with at_step(4):
                assert task_name("rollout") == "grpo step 4: rollout"
            with at_stage("evaluate-grpo-0003-relay"):
                assert task_name("rollout") == "evaluate-grpo-0003-relay: rollout"
            assert task_name("sync") == "grpo step 3: sync"
    assert task_name("check") == "check"


def test_readings_show_the_present_stage_and_those_before() -> None:
    with at_stage("outer"):
        with at_stage("inner"):
            pass
        shown = {reading.tags["stage"]: reading.value for reading in stage_readings()}
    assert shown["outer"] == 1.0 and shown["inner"] == 0.0
