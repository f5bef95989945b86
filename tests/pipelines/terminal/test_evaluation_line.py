"""The line on an evaluation."""

from pipelines.terminal.evaluated import evaluation_line
from tests.pipelines.evaluation_rows import row


def test_the_line_compares_with_the_last_evaluation_of_the_same_policy() -> None:
    earlier = [
        row("base", 0, "student", "known", 200),
        row("warmup", 0, "relay", "known", 100),
        row("grpo-0050", 50, "relay", "known", 192),
        row("grpo-0050", 50, "relay", "teacher_known", 110),
        row("grpo-0050", 50, "relay", "all", 302, 400, call_ratio=0.11, cut_off_share=0.034),
        row("grpo-0050", 50, "student", "known", 3),
    ]
    rows = [
        row("final", 110, "relay", "known", 199),
        row("final", 110, "relay", "teacher_known", 100),
        row("final", 110, "relay", "all", 299, 400, call_ratio=0.09, cut_off_share=0.034, failed_call_share=0.01),
    ]
    assert evaluation_line(rows, earlier) == (
        "final relay: known 99.5 % (+3.5), teacher_known 50.0 % (-5.0); calls 9.0 % (-2.0); cut off 3.4 % (=); "
        "failed calls 1.0 % (+1.0)"
    )


def test_the_first_evaluation_of_a_policy_stands_alone_and_a_student_has_no_calls() -> None:
    rows = [row("base", 0, "student", "known", 200), row("base", 0, "student", "all", 200)]
    assert evaluation_line(rows, [row("base", 0, "teacher", "known", 1)]) == (
        "base student: known 100 %; cut off 0.0 %"
    )
