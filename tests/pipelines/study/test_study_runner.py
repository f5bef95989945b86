"""The study runner: whatever becomes of one run, the others go on, and nothing that is finished is repeated."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.experiment.stage_keys import stage_keys
from pipelines.records.run_directory import RunDirectory, RunDirectoryError
from pipelines.study.plan import Study, load_study
from pipelines.study.runner import run_all

REPOSITORY = Path(__file__).parents[3]
STAND_IN = Path(__file__).with_name("scripted_run.py")
THREE = {
    "runs": {"one": "one.yaml", "two": "two.yaml", "three": "three.yaml"},
    "systems": {"base": "one/base/student", "relay": "two/final/relay", "grpo": "three/final/student"},
}


class Scripted:
    """A study whose runs do what they are told."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.script = file.with_name("script.json")
        self.command = (sys.executable, str(STAND_IN), str(self.script))

    @property
    def study(self) -> Study:
        return load_study(self.file)

    def tell(self, one: object = "finish", two: object = "finish", three: object = "finish") -> None:
        stages = {name: list(stage_keys(run.experiment)) for name, run in self.study.runs.items()}
        self.script.write_text(json.dumps({"runs": {"one": one, "two": two, "three": three}, "stages": stages}))

    def run(self) -> dict[str, str]:
        return run_all(self.study, self.command)

    def starts(self) -> list[list[str]]:
        """Return run, process and RAY_ADDRESS of every start since the last call."""
        path = self.script.with_name("starts.txt")
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line.split() for line in lines]

    def started(self) -> list[str]:
        return [run for run, *_ in self.starts()]


@pytest.fixture
def scripted(write_study) -> Scripted:
    return Scripted(write_study(THREE))


def test_runs_are_started_in_the_order_of_the_file_and_once(scripted: Scripted, capsys) -> None:
    scripted.tell()
    assert scripted.run() == {}
    assert scripted.started() == ["one", "two", "three"]
    printed = capsys.readouterr().out
    assert "[2/3] two: finished after" in printed
    assert "3 of 3 runs are finished" in printed

    assert scripted.run() == {}
    assert scripted.started() == []
    assert "[2/3] two: finished earlier" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("how", "ended"), [(3, "failed with status 3"), ("die", "was ended by SIGKILL")], ids=["status", "crash"]
)
def test_a_run_that_fails_is_named_and_the_others_go_on(scripted: Scripted, how: object, ended: str, capsys) -> None:
    scripted.tell(two=how)
    assert scripted.run() == {"two": ended}
    assert scripted.started() == ["one", "two", "three"]
    printed = capsys.readouterr().out
    assert f"[2/3] two: {ended}" in printed
    assert "2 of 3 runs are finished" in printed

    scripted.tell()
    assert scripted.run() == {}
    assert scripted.started() == ["two"]


@pytest.mark.parametrize(
    ("stage", "left"),
    [("evaluate-final-relay", ["two"]), ("warmup", ["two"]), ("grpo", ["two"]), ("evaluate-grpo-0025-relay", [])],
)
def test_a_run_with_a_stage_removed_is_not_finished_unless_it_can_do_without(
    scripted: Scripted, stage: str, left: list[str]
) -> None:
    scripted.tell()
    scripted.run()
    (scripted.study.runs["two"].directory / "stages" / stage / "done.json").unlink()
    scripted.starts()
    scripted.run()
    assert scripted.started() == left


def test_a_run_whose_settings_changed_is_started_again_unless_only_machines_did(scripted: Scripted) -> None:
    scripted.tell()
    scripted.run()
    scripted.starts()
    text = scripted.file.read_text()
    scripted.file.write_text(text + "overrides: {cluster: {start_timeout_s: 5}, tracking: {mode: disabled}}\n")
    scripted.run()
    assert scripted.started() == []
    one = scripted.file.with_name("one.yaml")
    one.write_text(one.read_text() + "seed: 1\n")
    scripted.run()
    assert scripted.started() == ["one"]


def test_a_torn_note_of_a_finished_run_counts_as_none(scripted: Scripted) -> None:
    scripted.tell()
    scripted.run()
    (scripted.study.runs["three"].directory / "finished.json").write_text('{"settings": "a')
    scripted.starts()
    scripted.run()
    assert scripted.started() == ["three"]


@pytest.fixture
def waiting(scripted: Scripted):
    """Give a function that starts the study in a process of its own, whose second run is under way and waits."""
    processes = []

    def start(how: str = "wait", seconds_to_stop: float = 60.0) -> subprocess.Popen[str]:
        scripted.tell(two=how)
        code = (
            "import sys; from pathlib import Path;"
            "from pipelines.terminal.interruption import interruptible; from pipelines.study import processes, runner;"
            f"from pipelines.study.plan import load_study; processes.SECONDS_TO_STOP = {seconds_to_stop};"
            "run_all = lambda: runner.run_all(load_study(Path(sys.argv[1])), sys.argv[2:]);"
            "sys.exit(interruptible(run_all))"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(scripted.file), *scripted.command],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        assert any(line == "waiting\n" for line in process.stdout)
        return process

    yield start
    for process in processes:
        process.terminate()  # unless it has ended: so that its run ends with it
        process.wait(timeout=60)
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_study_that_is_told_to_stop_stops_its_run_first(scripted: Scripted, waiting, number: int) -> None:
    process = waiting()
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    (_, (run, pid, _)) = scripted.starts()
    assert run == "two"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_a_second_ctrl_c_ends_the_study_and_its_run_at_once(scripted: Scripted, waiting) -> None:
    process = waiting("wait stubbornly", seconds_to_stop=600.0)
    (_, (_, pid, _)) = scripted.starts()
    process.send_signal(signal.SIGINT)
    line = os.read(process.stderr.fileno(), 1000)
    assert b"Ctrl-C again ends it at once" in line
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    gone = os.pidfd_open(int(pid)) if Path(f"/proc/{pid}").exists() else None
    assert gone is None or select.select([gone], [], [], 60)[0]


def test_a_run_that_does_not_stop_is_killed_and_the_study_ends_as_it_was_told(scripted: Scripted, waiting) -> None:
    process = waiting("wait stubbornly", seconds_to_stop=0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    (_, (_, pid, _)) = scripted.starts()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_a_killed_study_goes_on_where_it_was(scripted: Scripted, waiting) -> None:
    process = waiting()
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    (_, (_, pid, _)) = scripted.starts()
    os.kill(int(pid), signal.SIGKILL)  # what Ray's end does to a real run
    scripted.tell()
    assert scripted.run() == {}
    assert scripted.started() == ["two", "three"]


def test_two_processes_cannot_work_on_one_study(scripted: Scripted) -> None:
    scripted.tell()
    with RunDirectory(scripted.study.directory), pytest.raises(RunDirectoryError, match="in use by another driver"):
        scripted.run()
    assert scripted.started() == []
