"""Where metrics go, and what W&B may not do to a run."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb

from pipelines.experiment.tracking import TrackingSettings
from pipelines.records.run_directory import RunDirectory
from pipelines.records.traces import Segment, Trace, TracedCall
from pipelines.records.tracking import Tracker, read_metrics, resolve_mode

DISABLED = TrackingSettings(mode="disabled")
OFFLINE = TrackingSettings(mode="offline", tags=("t",))
TRACE = Trace(
    name="final",
    step=4,
    policy="relay",
    kind="known",
    problem="1+1",
    gold="2",
    answer="2",
    correct=True,
    segments=(Segment("command", "<call>1</call>"), Segment("teacher", "2")),
    calls=(TracedCall(1, 1, "completed"),),
)


class FakeRun:
    """Stands for `wandb.Run`, and keeps what it is told."""

    url, dir = None, "somewhere"

    def __init__(self) -> None:
        self.logged: list[dict[str, object]] = []
        self.axes: dict[str, str | None] = {}
        self.exit_code: int | None = None

    def define_metric(self, name: str, step_metric: str | None = None, hidden: bool | None = None) -> None:
        self.axes[name] = step_metric

    def log(self, row: dict[str, object]) -> None:
        self.logged.append(row)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """Every `wandb.init` of the test: its arguments and its run."""
    calls: list[SimpleNamespace] = []

    def init(**arguments: object) -> FakeRun:
        fake = FakeRun()
        calls.append(SimpleNamespace(run=fake, **arguments))
        return fake

    monkeypatch.setattr(wandb, "init", init)
    return calls


def ticking(*times_s: float) -> Callable[[], float]:
    return iter(times_s).__next__


def test_rows_have_stage_step_time_and_metrics(run: RunDirectory) -> None:
    with Tracker(run, DISABLED, {}, clock=ticking(50, 53)) as tracker:
        tracker.log("grpo", 1, {"reward/mean": 1})
    assert run.read_jsonl("metrics.jsonl") == [
        {"stage": "grpo", "step": 1, "time_s": 3.0, "metrics": {"reward/mean": 1.0}}
    ]


def test_time_goes_on_over_a_resume(run: RunDirectory) -> None:
    Tracker(run, DISABLED, {}, clock=ticking(0, 7)).log("grpo", 1, {})
    Tracker(run, DISABLED, {}, clock=ticking(1000, 1002)).log("grpo", 2, {})
    assert [row["time_s"] for row in run.read_jsonl("metrics.jsonl")] == [7.0, 9.0]


def test_numbers_that_are_not_finite_become_null_with_one_warning(
    run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = Tracker(run, DISABLED, {})
    for step in (1, 2):
        tracker.log("grpo", step, {"learner/loss": float("nan"), "learner/kl": float("inf"), "learner/lr": 0.5})
    assert read_metrics(run, "grpo")[2] == {"learner/loss": None, "learner/kl": None, "learner/lr": 0.5}
    assert [record.getMessage().split(" is ")[0] for record in caplog.records] == [
        "grpo/learner/loss",
        "grpo/learner/kl",
    ]


def test_a_step_logged_again_after_a_resume_has_the_later_values(run: RunDirectory) -> None:
    tracker = Tracker(run, DISABLED, {})
    tracker.log("grpo", 2, {"reward/mean": 0.1, "time/step_s": 4})
    tracker.log("grpo", 1, {"reward/mean": 0.2})
    tracker.log("warm_up", 1, {"learner/loss": 9})
    tracker.log("grpo", 2, {"reward/mean": 0.3})
    assert read_metrics(run, "grpo") == {1: {"reward/mean": 0.2}, 2: {"reward/mean": 0.3, "time/step_s": 4.0}}
    assert list(read_metrics(run, "grpo")) == [1, 2]


@pytest.mark.parametrize(
    ("mode", "environ", "resolved"),
    [
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": "k"}, "online"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, "disabled"),
        ("offline", {"WANDB_API_KEY": "k", "WANDB_MODE": "online"}, "offline"),
        ("online", {}, "online"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "dryrun"}, "offline"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "Offline"}, "offline"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "offlin"}, "offline"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": ""}, "online"),
        ("auto", {"WANDB_MODE": "run"}, "online"),
        ("auto", {"WANDB_MODE": "shared"}, "online"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_DISABLED": "true"}, "disabled"),
        ("auto", {"WANDB_MODE": "online", "WANDB_DISABLED": "1"}, "disabled"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_DISABLED": "false"}, "online"),
        ("online", {"WANDB_DISABLED": "true"}, "online"),
    ],
)
def test_the_mode_follows_the_setting_and_then_the_environment(
    mode: str, environ: dict[str, str], resolved: str
) -> None:
    assert resolve_mode(mode, {"HOME": "/nonexistent", **environ}) == resolved


def test_a_netrc_login_counts_for_its_host_only(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert resolve_mode("auto", {"HOME": str(tmp_path)}) == "online"
    assert resolve_mode("auto", {"HOME": str(tmp_path), "WANDB_BASE_URL": "https://wandb.example.org"}) == "offline"


def test_the_stage_step_is_the_axis_of_the_stage(run: RunDirectory, started: list[SimpleNamespace]) -> None:
    with Tracker(run, OFFLINE, {"seed": 1}, environ={}) as tracker:
        tracker.log("grpo", 3, {"reward/mean": 0.5})
    (call,) = started
    assert call.run.axes == {"grpo/step": None, "grpo/*": "grpo/step"}
    assert call.run.logged == [{"grpo/step": 3, "grpo/reward/mean": 0.5}]
    assert call.run.exit_code == 0
    assert (call.config, call.dir, call.mode, call.name) == ({"seed": 1}, run.path, "offline", "run")


def test_a_failed_run_is_finished_as_failed(run: RunDirectory, started: list[SimpleNamespace]) -> None:
    with pytest.raises(KeyboardInterrupt), Tracker(run, OFFLINE, {}, environ={}):
        raise KeyboardInterrupt
    assert started[0].run.exit_code == 1


def ids_of(run: RunDirectory, started: list[SimpleNamespace], *environs: dict[str, str]) -> list[str]:
    """Start the run with each environment in turn, and return its W&B ids."""
    for environ in environs:
        Tracker(run, TrackingSettings(mode="online"), {}, environ=environ)
    ids = [call.id for call in started]
    started.clear()
    return ids


def test_a_run_keeps_its_own_id_whatever_the_environment_says_later(
    run: RunDirectory, started: list[SimpleNamespace]
) -> None:
    first, again, told, last = ids_of(run, started, {}, {}, {"WANDB_RUN_ID": "sweep7"}, {})
    assert first == again == told == last != "sweep7"


def test_the_id_that_a_sweeps_agent_gives_is_taken_by_one_run_of_a_study_and_kept(
    tmp_path: Path, started: list[SimpleNamespace]
) -> None:
    runs = [RunDirectory(tmp_path / "study" / name) for name in ("relay", "grpo", "no_filter")]
    agents = {"WANDB_RUN_ID": "sweep7"}
    ids = [ids_of(run, started, agents)[0] for run in runs]
    assert ids[0] == "sweep7" and len(set(ids)) == 3
    assert [ids_of(run, started, agents)[0] for run in reversed(runs)] == ids[::-1]
    assert ids_of(RunDirectory(tmp_path / "elsewhere"), started, {"WANDB_RUN_ID": "sweep8"}) == ["sweep8"]


def test_an_online_run_is_resumed_by_its_id(run: RunDirectory, started: list[SimpleNamespace]) -> None:
    Tracker(run, TrackingSettings(mode="online"), {}, environ={})
    assert started[0].resume == "allow"


def test_wandb_failing_at_the_start_leaves_the_jsonl(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    modes = []

    def fail(**arguments: object) -> None:
        modes.append(arguments["mode"])
        raise wandb.errors.CommError("no network")

    monkeypatch.setattr(wandb, "init", fail)
    with Tracker(run, TrackingSettings(mode="online"), {}, environ={}) as tracker:
        tracker.log("grpo", 1, {"reward/mean": 1})
    assert modes == ["online", "offline"]
    assert 1 in read_metrics(run, "grpo")
    assert "going on with" in caplog.records[-1].getMessage()


def test_wandb_failing_later_is_one_warning(
    run: RunDirectory, started: list[SimpleNamespace], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(row: dict[str, object]) -> None:
        raise RuntimeError("broken pipe")

    with Tracker(run, OFFLINE, {}, environ={}) as tracker:
        started[0].run.log = fail
        for step in (1, 2, 3):
            tracker.log("grpo", step, {"reward/mean": 1})
            tracker.log_traces("grpo", step, [TRACE])
    assert list(read_metrics(run, "grpo")) == [1, 2, 3]
    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 1


def test_traces_are_a_table_and_lines_on_disk(run: RunDirectory, started: list[SimpleNamespace]) -> None:
    with Tracker(run, OFFLINE, {}, environ={}) as tracker:
        tracker.log_traces("grpo", 4, [TRACE])
    table = started[0].run.logged[0]["grpo/traces"]
    assert table.columns == ["step", "evaluation", "policy", "kind", "problem", "output", "correct"]
    assert table.data == [[4, "final", "relay", "known", "1+1", "<call>1</call>2", True]]
    (row,) = run.read_jsonl("traces.jsonl")
    assert row["segments"] == [{"source": "command", "text": "<call>1</call>"}, {"source": "teacher", "text": "2"}]


def test_a_real_offline_run_writes_under_the_run_directory(run: RunDirectory) -> None:
    run.write_text("note", "")
    with Tracker(run, OFFLINE, {"seed": 1}, environ={}) as tracker:
        tracker.log("grpo", 1, {"reward/mean": float("nan"), "learner/lr": 1e-6})
        tracker.log_traces("grpo", 1, [TRACE])
    (log,) = run.path.glob("wandb/offline-run-*/run-*.wandb")
    assert log.stem == "run-" + (run.path / "wandb_id").read_text().strip()
    assert log.stat().st_size > 0


def test_wandb_itself_goes_by_the_runs_own_id_and_mode_not_by_the_environments(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "Offline")
    monkeypatch.setenv("WANDB_RUN_ID", "sweep7")
    run.write_text("wandb_id", "own12345\n")
    with Tracker(run, TrackingSettings(mode="auto"), {}) as tracker:
        tracker.log("grpo", 1, {"learner/lr": 1e-6})
    (log,) = run.path.glob("wandb/offline-run-*/run-*.wandb")
    assert log.name == "run-own12345.wandb"


def test_the_drivers_tools_load_no_heavy_library() -> None:
    script = (
        "import sys, pipelines.experiment.loading, pipelines.records.metrics, pipelines.terminal.progress;"
        "import pipelines.records.run_directory, pipelines.records.tracking;"
        "print(sorted({'torch', 'vllm', 'ray', 'wandb', 'transformers'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    loaded = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
