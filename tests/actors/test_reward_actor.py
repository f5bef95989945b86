"""The reward actor grades, pays and summarises groups."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from actors.grading import GradingSettings, Verdict
from actors.reward import NO_SCENARIO, SCENARIOS, GradedGroups, RewardActor, graded_groups
from actors.trajectory import Call, CallEnding, FinishReason, RejectedCommands, Source, Trajectory, TrajectoryBatch
from pipelines.records.reward_metrics import summarise
from rewards.scenarios import Scenario
from rewards.schemes import _SCHEMES, RewardError, RewardSettings


def trajectory(
    text: str = "",
    tokens: int = 10,
    written: Sequence[int] = (),
    ending: CallEnding = CallEnding.COMPLETED,
    rejected: RejectedCommands = RejectedCommands(),  # noqa: B008
    finish: FinishReason = FinishReason.STUDENT_END,
) -> Trajectory:
    sources = np.full(tokens, Source.STUDENT, np.uint8)
    sources[: sum(written)] = Source.TEACHER
    return Trajectory(
        prompt_ids=np.arange(3, dtype=np.int32),
        token_ids=np.arange(tokens, dtype=np.int32),
        sources=sources,
        logprobs=np.zeros(tokens, np.float32),
        versions=np.zeros(tokens, np.int32),
        constrained=np.zeros(tokens, np.bool_),
        calls=tuple(Call(0, n + 1, n, 0.1, ending, prompt_tokens=10 * n, cached_tokens=n) for n in written),
        rejected=rejected,
        finish=finish,
        text=text,
    )


def graded(
    rows: Sequence[tuple[Trajectory, bool]], group_size: int, settings: RewardSettings | None = None
) -> GradedGroups:
    batch = TrajectoryBatch.of([row for row, _ in rows])
    verdicts, golds = [Verdict(correct, "") for _, correct in rows], ["1"] * (len(rows) // group_size)
    return graded_groups(batch, verdicts, group_size, settings or RewardSettings(), golds)


@pytest.fixture
def actor() -> Iterator[RewardActor]:
    actor = RewardActor(grading=GradingSettings(workers=1))
    yield actor
    actor.close()


def test_a_group_whose_gold_is_an_option_is_graded_by_the_letter(actor: RewardActor) -> None:
    answers = [r"\boxed{(R)}", r"\boxed{\text{R. twelve}}", r"\boxed{12}", r"\boxed{(R) = 5}"]
    batch = TrajectoryBatch.of([trajectory(answer) for answer in answers])
    as_option, as_text = (
        asyncio.run(actor.grade_groups(batch, ["R", "R"], 2, forms)).correct.tolist()
        for forms in (["option", "option"], None)
    )
    assert as_option == [True, True, False, True]
    assert as_text != as_option


CUT_OFF = FinishReason.LENGTH


@pytest.mark.parametrize(
    ("cut_off", "correct", "rewards", "trainable"),
    [
        ("graded", [True, True, False], [0.8, 1.5, 0.0], [True, True, True]),
        ("wrong", [True, False, False], [0.8, -1.0, 0.0], [True, True, True]),
        ("excluded", [True, False, False], [0.8, 0.0, 0.0], [True, False, False]),
    ],
)
def test_an_answer_that_was_cut_off_is_worth_what_the_setting_says(
    cut_off: str, correct: list[bool], rewards: list[float], trainable: list[bool]
) -> None:
    rows = [
        (trajectory(written=[2]), True),
        (trajectory(finish=CUT_OFF), True),
        (trajectory(written=[5], finish=CUT_OFF), False),
    ]
    groups = graded(rows, 3, RewardSettings.model_validate({"cut_off": cut_off}))
    assert groups.correct.tolist() == correct
    assert groups.reward.tolist() == pytest.approx(rewards)
    assert groups.trainable.tolist() == trainable
    assert groups.cut_off.tolist() == [False, True, True]
    assert not groups.advantage[~groups.trainable].any()


def test_a_group_of_excluded_answers_has_no_scenario() -> None:
    groups = graded([(trajectory(finish=CUT_OFF), True)] * 2, 2, RewardSettings(cut_off="excluded"))
    assert groups.scenario.tolist() == [NO_SCENARIO] and not groups.advantage.any()


def test_overlong_answers_lose_the_penalty(actor: RewardActor) -> None:
    penalising = RewardActor(RewardSettings(overlong_tokens=10), GradingSettings(workers=1))
    batch = TrajectoryBatch.of([trajectory(r"\boxed{4}", tokens=15), trajectory(r"\boxed{4}", tokens=10)])
    try:
        groups = asyncio.run(penalising.grade_groups(batch, ["4"], 2, max_new_tokens=20))
    finally:
        penalising.close()
    assert groups.reward.tolist() == pytest.approx([1.0, 1.5])


def test_a_reward_that_is_not_finite_is_refused_by_scheme_and_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_SCHEMES, "not-finite", lambda group, settings: [float("nan")] * len(group))
    with pytest.raises(RewardError, match=r"gold answer '1'.*'not-finite' returned nan"):
        graded([(trajectory(), True), (trajectory(), False)], 2, RewardSettings(scheme="not-finite"))


def test_groups_are_graded_paid_and_compared(actor: RewardActor) -> None:
    batch = TrajectoryBatch.of(
        [
            trajectory(r"\boxed{4}"),
            trajectory(r"<call>3</call>\boxed{4}", written=[2]),
            trajectory(r"\boxed{5}"),
            trajectory(r"\boxed{\sqrt{8}}", written=[2, 3]),
        ]
    )
    groups = asyncio.run(actor.grade_groups(batch, ["4", r"2\sqrt{2}"], 2))
    assert groups.correct.tolist() == [True, True, False, True]
    assert [SCENARIOS[i] for i in groups.scenario] == [Scenario.STUDENT_SOLVABLE, Scenario.TEACHER_DEPENDENT]
    assert groups.reward.tolist() == pytest.approx([1.5, 0.8, -1.0, 0.5])
    assert groups.advantage.tolist() == pytest.approx([0.5**0.5, -(0.5**0.5)] * 2 * np.array([1, 1, -1, -1]), rel=1e-4)
    assert actor.health().graded == 4


def test_a_command_inside_the_box_is_not_part_of_the_answer(actor: RewardActor) -> None:
    batch = TrajectoryBatch.of(
        [trajectory(r"\boxed{<call>1</call>4}", written=[1]), trajectory(r"\boxed{1<call></call>2}")]
    )
    assert asyncio.run(actor.grade_groups(batch, ["4", "12"], 1)).correct.tolist() == [True, True]


def test_what_is_graded_is_the_text_that_the_teacher_sees(actor: RewardActor) -> None:
    texts = ["<call>\n" + r"so \boxed{4}" + "\n</call>", r"\boxed{1<call>2}", r"\boxed{<call>x</call>4}"]
    batch = TrajectoryBatch.of([trajectory(text) for text in texts])
    assert asyncio.run(actor.grade_groups(batch, ["4", "1", "4"], 1)).correct.tolist() == [True, True, True]


def test_sizes_that_do_not_agree_are_refused(actor: RewardActor) -> None:
    batch = TrajectoryBatch.of([trajectory()] * 3)
    with pytest.raises(ValueError, match="3 trajectories are not 1 groups"):
        asyncio.run(actor.grade_groups(batch, ["4"], 2))


def test_a_failed_call_has_no_part_in_its_group() -> None:
    failed = trajectory(written=[0], ending=CallEnding.FAILED)
    kept = [(trajectory(written=[2]), True), (trajectory(), False)]
    with_failed, without = graded([(failed, True), *kept], 3), graded(kept, 2)
    assert with_failed.trainable.tolist() == [False, True, True]
    assert SCENARIOS[with_failed.scenario[0]] is Scenario.TEACHER_DEPENDENT
    assert with_failed.advantage.tolist() == [0.0, *without.advantage.tolist()]
    assert with_failed.reward.tolist() == [0.0, *without.reward.tolist()]


def test_over_the_groups_mean_length_a_longer_answer_earns_no_more() -> None:
    rows = [(trajectory(tokens=10, written=[2]), True), (trajectory(tokens=30, written=[2]), True)]
    own, shared = (
        graded(rows, group_size=2, settings=RewardSettings(call_ratio_over=over)) for over in ("answer", "group_mean")
    )
    assert own.reward.tolist() == pytest.approx([0.8, 1 - 2 / 30])
    assert shared.reward.tolist() == pytest.approx([0.9, 0.9])
    assert shared.advantage.tolist() == [0.0, 0.0]
    assert shared.call_ratio.tolist() == own.call_ratio.tolist()


def test_over_the_groups_mean_length_fewer_teacher_tokens_earn_more() -> None:
    rows = [(trajectory(tokens=10, written=[9]), True), (trajectory(tokens=2, written=[1]), True)]
    assert graded(rows, 2, RewardSettings(call_ratio_over="group_mean")).reward.tolist() == pytest.approx([0.0, 5 / 6])


def test_a_group_of_failed_calls_has_no_scenario() -> None:
    groups = graded([(trajectory(written=[0], ending=CallEnding.FAILED), True)] * 2, 2)
    assert groups.scenario.tolist() == [NO_SCENARIO]
    assert groups.advantage.tolist() == [0.0, 0.0]


def test_a_call_that_the_teacher_was_never_asked_is_failed_but_not_unanswered() -> None:
    asked = trajectory(written=[0], ending=CallEnding.FAILED)
    no_room = replace(asked, calls=tuple(replace(call, duration_s=0.0) for call in asked.calls))
    groups = graded([(asked, True), (no_room, True), (trajectory(written=[2]), True), (trajectory(), True)], 4)
    assert groups.failed_calls.tolist() == [1, 1, 0, 0]
    assert groups.unanswered.tolist() == [True, False, False, False]


def test_one_group_does_not_bear_on_another() -> None:
    first = [(trajectory(), True), (trajectory(), False)]
    second = [(trajectory(written=[5]), True), (trajectory(), False)]
    together = graded([*first, *second], 2)
    assert together.reward.tolist() == [*graded(first, 2).reward, *graded(second, 2).reward]
    assert together.advantage.tolist() == [*graded(first, 2).advantage, *graded(second, 2).advantage]


def test_the_call_ratio_counts_written_and_not_requested_tokens() -> None:
    groups = graded([(trajectory(tokens=10, written=[4]), True)], 1)
    assert groups.requested_tokens.tolist() == [5]
    assert groups.written_tokens.tolist() == [4]
    assert groups.call_ratio.tolist() == [0.4]


def test_mean_normalisation_reaches_the_advantages() -> None:
    rows = [(trajectory(), True), (trajectory(), False)]
    assert graded(rows, 2, RewardSettings(normalisation="mean")).advantage.tolist() == [0.75, -0.75]


def test_metrics_are_derived_from_the_trajectories() -> None:
    rejected = RejectedCommands(zero=1, malformed=2, unterminated=3, over_limit=4)
    first = graded(
        [(trajectory(tokens=10, written=[2, 3]), True), (trajectory(tokens=30, rejected=rejected), False)], 2
    )
    second = graded(
        [
            (trajectory(tokens=20, finish=FinishReason.LENGTH), False),
            (trajectory(tokens=20, written=[0], ending=CallEnding.FAILED, finish=FinishReason.TEACHER_END), False),
        ],
        2,
    )
    metrics = summarise([first, second])
    assert metrics == pytest.approx(
        {
            "rollout/accuracy": 1 / 4,
            "rollout/call_ratio": 5 / 80,
            "rollout/call_ratio_mean": 0.5 / 4,
            "rollout/with_call_share": 2 / 4,
            "rollout/calls_per_sample": 3 / 4,
            "rollout/requested_mean": (3 + 4 + 1) / 3,
            "rollout/written_mean": 5 / 3,
            "rollout/teacher_prompt_tokens_mean": 50 / 3,
            "rollout/teacher_cached_share": 5 / 50,
            "rollout/failed_calls": 1,
            "rollout/failed_call_share": 1 / 3,
            "rollout/zero_per_sample": 1 / 4,
            "rollout/malformed_per_sample": 2 / 4,
            "rollout/unterminated_per_sample": 3 / 4,
            "rollout/over_limit_per_sample": 4 / 4,
            "rollout/scenario_student_solvable_share": 0.0,
            "rollout/scenario_teacher_dependent_share": 1 / 2,
            "rollout/scenario_teacher_unsolvable_share": 1 / 2,
            "reward/mean": (0.5 - 1.0 + 0.0) / 3,
            "reward/std": float(np.std([0.5, -1.0, 0.0])),
            "reward/zero_advantage_group_share": 1 / 2,
            "rollout/trainable_share": 3 / 4,
            "rollout/output_tokens_mean": 80 / 4,
            "rollout/cut_off_share": 1 / 4,
            "rollout/teacher_ended_share": 1 / 4,
            "reward/grading_timeouts": 0.0,
        }
    )


def test_nothing_has_no_metrics() -> None:
    with pytest.raises(ValueError, match="no trajectories"):
        summarise([])


def test_timeouts_are_counted_apart_from_wrong_answers() -> None:
    batch = TrajectoryBatch.of([trajectory()] * 3)
    verdicts = [Verdict(False, "x", timed_out=True), Verdict(False, "x", crashed=True), Verdict(False, "x")]
    assert summarise([graded_groups(batch, verdicts, 3, RewardSettings(), ["1"])])["reward/grading_timeouts"] == 2


@pytest.mark.ray
def test_a_ray_actor_grades_groups(ray_cluster: object) -> None:
    import ray

    actor = (
        ray.remote(RewardActor).options(num_cpus=0).remote(RewardSettings(), GradingSettings(workers=1, timeout_s=1.5))
    )
    batch = TrajectoryBatch.of([trajectory(r"\boxed{\sqrt{8}}"), trajectory(r"\boxed{9^{9^{9^{9}}} + x}")])
    groups = ray.get(actor.grade_groups.remote(batch, [r"2\sqrt{2}"], 2), timeout=120)
    assert groups.correct.tolist() == [True, False]
    assert groups.timed_out.tolist() == [False, True]
    assert ray.get(actor.health.remote(), timeout=60).alive == 1
    ray.get(actor.close.remote(), timeout=60)
    ray.kill(actor)
