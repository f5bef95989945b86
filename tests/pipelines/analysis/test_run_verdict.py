"""The verdict in plain words: it names the worst change beside the best."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.analysis.run_verdict import RunVerdict, verdict_on
from pipelines.experiment.alarms import AlarmEvent
from pipelines.records.evaluations import Evaluation
from pipelines.wording import points
from tests.pipelines.evaluation_rows import row, run

CUT_OFF = AlarmEvent("began", "cut_off", "grpo", 40, 0.3, 0.1)


def plain(found: RunVerdict) -> tuple[str, str]:
    return found.tone, found.headline.replace("\u00a0", " ")


def test_a_kind_that_got_worse_stands_in_the_headline_beside_the_best() -> None:
    assert plain(verdict_on(run(128, 198))) == (
        "mixed",
        "The relay student solves 99.0 % of problems that need the teacher (+97.5 points), but 64.0 % of known problems "
        "(\u221236.0 points).",
    )


def test_a_good_run_says_that_nothing_got_worse() -> None:
    found = verdict_on(run(199, 196))
    assert plain(found) == (
        "good",
        "The relay student solves 98.0 % of problems that need the teacher (+96.5 points); no kind of problem got clearly "
        "worse.",
    )
    assert found.text.replace("\u00a0", " ").endswith(
        "Over all it solves 98.8 % of all problems. Of its tokens the teacher writes 9.0 % on problems that need the teacher "
        "and 9.0 % over all. The teacher alone solves 99.5 % of problems that need the teacher."
    )
    assert [(change.kind, round(change.gain, 3), change.clear) for change in found.changes] == [
        ("known", -0.005, 0),
        ("teacher_known", 0.965, 1),
        ("all", 0.48, 1),
    ]


def test_what_the_teacher_writes_stands_beside_what_the_best_policy_needs() -> None:
    best = {"known": 0.0, "teacher_known": 0.09, "all": 0.045}
    rows = [
        replace(one, call_ratio=0.06 if one.kind == "all" else 0.09, oracle_call_ratio=best[one.kind])
        if (one.name, one.policy) == ("final", "relay")
        else one
        for one in run(199, 196)
    ]
    assert (
        "Of its tokens the teacher writes 9.0\u00a0% (best possible 9.0\u00a0%) on problems that need the teacher and 6.0\u00a0% "
        "(best possible 4.5\u00a0%) over all."
    ) in verdict_on(rows).details


def test_losses_without_a_gain_are_bad() -> None:
    assert plain(verdict_on(run(100, 4))) == (
        "bad",
        "The relay student solves only 50.0 % of known problems (\u221250.0 points), and no kind of problem clearly more often.",
    )


def test_a_clear_loss_is_named_before_a_larger_one_that_may_be_chance() -> None:
    rows = [
        row("base", 0, "student", "small", 4, 5),
        row("base", 0, "student", "large", 900, 1000),
        row("final", 9, "relay", "small", 2, 5),
        row("final", 9, "relay", "large", 700, 1000),
    ]
    assert "only 70.0 % of large (\u221220.0 points)" in plain(verdict_on(rows))[1]


def test_no_clear_change_is_called_that() -> None:
    tone, headline = plain(verdict_on(run(199, 5)))
    assert tone == "open"
    assert headline.endswith("(+1.0 points); no kind of problem changed clearly.")


@pytest.mark.parametrize(("known", "tone"), [(199, "mixed"), (100, "mixed")])
def test_a_raised_alarm_takes_the_good_off_a_verdict_and_is_named(known: int, tone: str) -> None:
    found = verdict_on(run(known, 196), [CUT_OFF])
    assert (found.tone, found.details[-1]) == (tone, "One alarm is raised: cut_off.")
    ended = AlarmEvent("ended", "cut_off", "grpo", 80, 0.0, 0.1)
    assert verdict_on(run(199, 196), [CUT_OFF, ended]).tone == "good"


def test_before_the_end_the_headline_says_how_far_it_is() -> None:
    assert verdict_on(run(199, 150, "grpo-0050", 50)).headline.startswith(
        "So far, at GRPO step 50, the relay student solves"
    )


def test_a_relay_that_is_no_better_than_the_student_alone_is_told_so() -> None:
    rows = [*run(199, 196), row("final", 110, "student", "teacher_known", 195)]
    assert (
        "The relay student solves 98.0\u00a0% on problems that need the teacher, not clearly more than the 97.5\u00a0% that the "
        "student solves alone."
    ) in verdict_on(rows).details


def of_16(relay: int) -> list[Evaluation]:
    """Rows of a trial on 16 problems, of which the student solves 8 and the teacher all."""
    return [
        row("base", 0, "student", "all", 8, 16),
        row("base", 0, "teacher", "all", 16, 16),
        row("final", 2, "student", "all", 8, 16),
        row("final", 2, "relay", "all", relay, 16),
    ]


def test_what_is_said_of_the_relay_student_cannot_be_read_as_said_of_the_teacher() -> None:
    found = verdict_on(of_16(9)).text.replace("\u00a0", " ")
    assert "The teacher alone solves 100 % of all problems. The relay student solves 56.2 %, not clearly more" in found
    assert "That is" not in found


def test_intervals_that_do_not_overlap_are_a_clear_gain_on_16_problems_too() -> None:
    found = verdict_on(of_16(16))
    assert found.changes[-1].clear == 1
    assert "not clearly more" not in found.text


def test_without_a_relay_the_student_is_spoken_of() -> None:
    rows = [row("base", 0, "student", "gsm8k", 100), row("final", 9, "student", "gsm8k", 150)]
    assert plain(verdict_on(rows)) == ("good", "The student alone solves 75.0 % of gsm8k (+25.0 points).")


def test_sets_that_have_no_total_are_averaged() -> None:
    rows = [
        row(name, step, policy, kind, right)
        for name, step, policy, rights in (("base", 0, "student", (100, 20)), ("final", 9, "relay", (150, 24)))
        for kind, right in zip(("gsm8k", "aime24"), rights, strict=True)
    ]
    found = verdict_on(rows)
    assert plain(found)[1].startswith("The relay student solves 75.0 % of gsm8k (+25.0 points)")
    assert found.details[0].replace("\u00a0", " ") == "Over all it solves 43.5 % on average over 2 kinds."


def test_without_a_base_to_compare_with_nothing_is_called_good() -> None:
    found = verdict_on([one for one in run(199, 196) if one.name != "base"])
    assert plain(found) == ("open", "The relay student solves 98.8 % of all problems.")
    assert found.changes == ()


def test_without_evaluations_there_is_none() -> None:
    assert plain(verdict_on([])) == ("open", "No evaluation has finished yet.")


@pytest.mark.parametrize(
    ("gain", "shown"), [(0.975, "+97.5 points"), (-0.36, "\u221236.0 points"), (0.0004, "no change")]
)
def test_gains_are_shown_in_points_with_their_sign(gain: float, shown: str) -> None:
    assert points(gain) == shown
