"""The command: exit status, JSON, and a page that reads without colour."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from pipelines.__main__ import main
from pipelines.doctor.findings import Group, broken, fine, warning
from pipelines.doctor.shown import show
from tests.pipelines.doctor.conftest import DEMO

ALL = [
    fine(Group.SOFTWARE, "Python", "3.11.7"),
    warning(Group.SERVICES, "W&B", "no key", "wandb login"),
    broken(Group.MACHINE, "GPUs", "none", "set cluster.device=cpu"),
]


def page(findings: list, **console: object) -> str:  # type: ignore[type-arg]
    shown = Console(record=True, width=60, file=open("/dev/null", "w"), **console)  # type: ignore[arg-type]  # noqa: SIM115
    show(findings, "demo.yaml on this machine", shown)
    return shown.export_text()


def test_the_page_has_a_mark_a_word_and_a_remedy_for_each_finding_without_colour() -> None:
    text = page(ALL, no_color=True)
    assert "✓ fine     Python: 3.11.7" in text
    assert "! warning  W&B: no key\n             → wandb login" in text
    assert "✗ problem  GPUs: none\n             → set cluster.device=cpu" in text
    assert text.index("\nsoftware") < text.index("\nmachine") < text.index("\nservices")


@pytest.mark.parametrize(
    ("findings", "last"),
    [
        (ALL, "The run will fail: 1 problem, 1 warning, 1 fine."),
        (ALL[:2], "The run can start: 1 warning, 1 fine."),
        (ALL[:1], "The run can start: 1 fine."),
    ],
)
def test_the_last_line_sums_up(findings: list, last: str) -> None:  # type: ignore[type-arg]
    assert page(findings).rstrip().splitlines()[-1] == last


def test_a_cluster_that_is_not_there_is_a_problem_and_the_rest_is_still_checked(
    tmp_path: Path, nowhere: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ["models.student.pretrain=null", f"models.student.path={tmp_path}/gone", "tracking.mode=disabled"]
    assert main(["doctor", str(DEMO), *wrong, "--address", nowhere, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    levels = {found["name"]: found["level"] for found in told["findings"]}
    assert levels["connection"] == "problem" and levels["W&B"] == "fine"
    assert levels["models.student.path"] == "problem"
    assert told["level"] == "problem" and told["counts"]["problem"] == 2
    connection = next(found for found in told["findings"] if found["name"] == "connection")
    assert "nothing answers: Connection refused" in connection["text"] and "ray start --head" in connection["remedy"]


def test_overrides_without_a_file_change_the_demo(nowhere: str) -> None:
    from pipelines.commands import relayllm

    done = CliRunner().invoke(
        relayllm, ["doctor", "tracking.mode=disabled", "--address", nowhere], standalone_mode=False
    )
    assert done.return_value == 1 and "demo.yaml on the cluster at" in done.output and "W&B: off" in done.output


def test_a_wrong_experiment_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(DEMO), "grpo.stepps=3"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "did you mean `grpo.steps`" in captured.err
