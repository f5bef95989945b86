"""What the Jobs API says of a run: its notes in the metadata, and which job a name means."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.jobs import shown
from pipelines.jobs.job import Job, JobNotes, UnknownRunError, found, newest_of_each_run
from pipelines.records.run_directory import RunDirectory


def notes(run: str = "demo", run_dir: str = "") -> JobNotes:
    overrides = ("data.train.counts={known: 3}", f"run_dir={run_dir or f'/shared/{run}'}")
    return JobNotes(run, "demo.yaml", overrides, run_dir or f"/shared/{run}", "not in git", ("HF_TOKEN",), ())


def job(run: str, started_s: float, state: str = "running", run_dir: str = "") -> Job:
    return Job(f"{run}-{started_s:g}", state, started_s, None, notes(run, run_dir))


def test_notes_come_back_from_rays_metadata() -> None:
    metadata = notes().as_metadata()
    assert all(isinstance(value, str) for value in metadata.values())
    assert JobNotes.of_metadata(metadata | {"job_name": "Ray's own"}) == notes()


@pytest.mark.parametrize("metadata", [None, {}, {"job_name": "x"}, {"relayllm.run": "half of it"}])
def test_jobs_of_others_have_no_notes(metadata: dict[str, str] | None) -> None:
    assert JobNotes.of_metadata(metadata) is None


def test_a_name_means_the_newest_job_and_an_id_means_itself() -> None:
    jobs = [job("demo", 3), job("other", 2), job("demo", 1, "failed")]
    assert found(jobs, "demo").id == "demo-3"
    assert found(jobs, "demo-1").state == "failed"
    assert [one.id for one in newest_of_each_run(jobs)] == ["demo-3", "other-2"]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownRunError, match="no run called demmo: it has demo, other"):
        found([job("demo", 3), job("other", 2), job("demo", 1)], "demmo")
    with pytest.raises(UnknownRunError, match="nothing was submitted"):
        found([], "demo")


def test_stage_and_step_come_from_a_directory_of_the_same_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert shown.reached(job("demo", 1, run_dir=str(tmp_path))) is None
    run.write_text("experiment.yaml", "name: demo\n")
    for step in (1, 2):
        run.append_jsonl("metrics.jsonl", {"stage": "grpo", "step": step, "metrics": {}})
    assert shown.reached(job("demo", 1, run_dir=str(tmp_path))) == ("grpo", 2)
    assert shown.reached(job("other", 1, run_dir=str(tmp_path))) is None


def test_a_table_in_a_pipe_is_not_cut_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep = f"/shared/{'deep/' * 30}demo"
    shown.print_table([job("demo", 1, "failed", deep), job("other", 2)])
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["run", "state"]
    assert first.split()[:2] == ["demo", "failed"] and deep in first
    assert second.split()[:2] == ["other", "running"]
