"""What a run leaves on disk, and what a kill may not do to it."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records import run_directory
from pipelines.records.changes import Change
from pipelines.records.run_directory import RunDirectory, RunDirectoryError


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def test_a_write_replaces_the_whole_file_and_leaves_nothing_beside_it(run: RunDirectory) -> None:
    run.write_text("a/b.txt", "a long first text")
    run.write_text("a/b.txt", "ü")
    assert (run.path / "a/b.txt").read_text(encoding="utf-8") == "ü"
    assert os.listdir(run.path / "a") == ["b.txt"]


def test_json_has_no_nan(run: RunDirectory) -> None:
    with pytest.raises(ValueError, match="JSON"):
        run.write_json("x.json", {"a": float("nan")})
    assert not (run.path / "x.json").exists()


def test_rows_are_read_as_they_were_appended(run: RunDirectory) -> None:
    rows: list[dict[str, object]] = [{"a": 1}, {"text": "two\nlines, ü"}]
    for row in rows:
        run.append_jsonl("logs/x.jsonl", row)
    assert run.read_jsonl("logs/x.jsonl") == rows
    assert run.read_jsonl("missing.jsonl") == []


@given(cut=st.integers(min_value=0), text=st.text())
def test_a_log_cut_anywhere_loses_at_most_its_last_row(
    tmp_path_factory: pytest.TempPathFactory, cut: int, text: str
) -> None:
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    rows: list[dict[str, object]] = [{"i": 0}, {"i": 1}, {"i": 2, "text": text}]
    for row in rows:
        run.append_jsonl("x.jsonl", row)
    content = (run.path / "x.jsonl").read_bytes()
    start = content[:-1].rfind(b"\n") + 1
    (run.path / "x.jsonl").write_bytes(content[: start + cut % (len(content) - start)])

    survivors = RunDirectory(run.path).read_jsonl("x.jsonl")
    RunDirectory(run.path).append_jsonl("x.jsonl", {"i": 3})

    assert survivors in (rows, rows[:2])
    assert RunDirectory(run.path).read_jsonl("x.jsonl") == [*survivors, {"i": 3}]


def test_a_log_that_is_a_folder_is_named(run: RunDirectory) -> None:
    (run.path / "x.jsonl").mkdir(parents=True)
    with pytest.raises(RunDirectoryError, match=r"x\.jsonl: cannot be read: Is a directory"):
        run.read_jsonl("x.jsonl")


@pytest.mark.parametrize("content", ["torn\n", '{"a": 1}\n{"b": \n{"c": 2}\n', "3\n", "\n"])
def test_an_unreadable_line_that_is_not_torn_is_an_error_with_its_number(run: RunDirectory, content: str) -> None:
    run.write_text("x.jsonl", content)
    with pytest.raises(RunDirectoryError, match=r"x\.jsonl:[12]: not a JSON object"):
        run.read_jsonl("x.jsonl")


def test_a_row_that_does_not_fit_on_the_disk_is_taken_back(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    run.append_jsonl("x.jsonl", {"a": 1})
    write = os.write
    monkeypatch.setattr(os, "write", lambda log, line: write(log, line[:3]))
    with pytest.raises(RunDirectoryError, match="only 3 of"):
        run.append_jsonl("x.jsonl", {"a": 2})
    assert (run.path / "x.jsonl").read_text() == '{"a": 1}\n'


def test_a_stage_is_done_once_marked_and_keeps_its_summary(run: RunDirectory) -> None:
    assert not run.stage_done("filter")
    with pytest.raises(RunDirectoryError, match="filter is not done"):
        run.summary("filter")
    run.mark_done("filter", {"kept": 3})
    assert RunDirectory(run.path).stage_done("filter")
    assert run.summary("filter") == {"kept": 3}
    assert run.stage_dir("filter") == run.path / "stages" / "filter"
    assert run.checkpoints("grpo").is_dir()


def test_a_claimed_run_refuses_a_second_driver_and_names_the_first(run: RunDirectory) -> None:
    run.claim()
    run.claim()
    with pytest.raises(RunDirectoryError, match=f"pid {os.getpid()} "):
        RunDirectory(run.path).claim()
    run.release()
    RunDirectory(run.path).claim()


def test_a_killed_driver_leaves_no_claim(run: RunDirectory) -> None:
    script = (
        "import os, sys; from pathlib import Path; from pipelines.records.run_directory import RunDirectory;"
        "RunDirectory(Path(sys.argv[1])).claim(); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(run.path)], cwd=Path(__file__).parents[3], check=False)
    assert killed.returncode == -9
    run.claim()
    assert f"pid {os.getpid()} " in run.lock.read_text()


def test_a_run_is_bound_to_its_experiment(run: RunDirectory) -> None:
    run.bind_experiment("a: {b: 1, c: [1, 2]}\n")
    run.bind_experiment("a:\n  c: [1, 2]\n  b: 1\n")
    assert run.changes("a: {b: 1, c: [1, 2]}\nd: 3\n", may_change={"d"}) == [Change("d", "(absent)", 3, may=True)]
    (run.path / "stages" / "filter").mkdir(parents=True)
    with pytest.raises(RunDirectoryError) as caught:
        run.bind_experiment("a: {b: 2, c: [1]}\nd: 3\n", may_change={"a.bb"})
    assert str(caught.value).splitlines()[1:] == ["  a.b: 1 -> 2", "  a.c.1: 2 -> (absent)", "  d: (absent) -> 3"]
    assert run.experiment.read_text() == "a: {b: 1, c: [1, 2]}\n"


def test_a_run_that_failed_before_its_first_stage_may_be_started_in_another_way(run: RunDirectory) -> None:
    run.bind_experiment("models: {student: studnet}\n")
    run.bind_experiment("models: {student: student}\n")
    assert run.experiment.read_text() == "models: {student: student}\n"
    assert (run.path / "experiment.1.yaml").read_text() == "models: {student: studnet}\n"


def test_links_to_shared_stages_are_no_beginning_and_follow_the_experiment(run: RunDirectory, tmp_path: Path) -> None:
    for steps in ("1", "2"):
        run.bind_experiment(f"steps: {steps}\n")
        run.share_stages({"grpo": tmp_path / "shared" / f"grpo-{steps}"})
        assert run.stage_dir("grpo").resolve() == tmp_path / "shared" / f"grpo-{steps}"
    run.experiment.unlink()  # a run that surely does not fit takes its experiment back
    run.bind_experiment("steps: 3\n")
    run.share_stages({"grpo": tmp_path / "shared" / "grpo-3"})
    run.append_jsonl("metrics.jsonl", {"step": 1})
    with pytest.raises(RunDirectoryError, match="another experiment"):
        run.bind_experiment("steps: 4\n")


def test_a_full_disk_and_a_folder_that_cannot_be_claimed_are_named(run: RunDirectory, tmp_path: Path) -> None:
    run.path.mkdir()
    (run.path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunDirectoryError, match=r"metrics\.jsonl: cannot be written: No space left on device"):
        run.append_jsonl("metrics.jsonl", {"step": 1})
    run.lock.symlink_to("/dev/full")
    with pytest.raises(RunDirectoryError, match=r"run\.lock: cannot be written"):
        run.claim()
    run.lock.unlink()
    run.lock.mkdir()
    with pytest.raises(RunDirectoryError, match=r"run\.lock: cannot be written: Is a directory"):
        run.claim()


def test_an_allowed_change_keeps_every_earlier_experiment(run: RunDirectory) -> None:
    for steps in (1, 2, 3):
        run.bind_experiment(f"grpo: {{steps: {steps}}}\n", may_change={"grpo.steps"})
    texts = [(run.path / name).read_text() for name in ("experiment.1.yaml", "experiment.2.yaml", "experiment.yaml")]
    assert texts == [f"grpo: {{steps: {steps}}}\n" for steps in (1, 2, 3)]


def test_a_key_that_the_schema_has_got_since_is_no_change_if_it_has_its_default(run: RunDirectory) -> None:
    def completed(earlier: object) -> object:
        assert isinstance(earlier, dict)
        return {"share_dir": None, **earlier}

    run.bind_experiment("name: a\n")
    run.bind_experiment("{name: a, share_dir: null}\n", completed=completed)
    run.write_text("metrics.jsonl", "")
    with pytest.raises(RunDirectoryError, match=r"share_dir: None -> /s"):
        run.bind_experiment("{name: a, share_dir: /s}\n", completed=completed)


def test_runs_share_a_stage_that_either_has_done(tmp_path: Path) -> None:
    first, second = RunDirectory(tmp_path / "a"), RunDirectory(tmp_path / "b")
    for one in (first, second):
        one.share_stages({"filter": tmp_path / "shared/filter-1"})
        one.share_stages({"filter": tmp_path / "shared/filter-1"})
    with first.stage("filter") as left:
        assert left
        first.write_text("stages/filter/problems.jsonl", "")
        first.mark_done("filter", {"kept": 3})
    with second.stage("filter") as left:
        assert not left
    assert second.summary("filter") == {"kept": 3}
    assert (tmp_path / "shared/filter-1/problems.jsonl").exists()


def test_a_stage_with_another_directory_is_not_made_a_link(run: RunDirectory, tmp_path: Path) -> None:
    run.mark_done("filter", {})
    with pytest.raises(RunDirectoryError, match=r"stages/filter: is .* and should be a link to .*filter-1"):
        run.share_stages({"filter": tmp_path / "filter-1"})
    run.share_stages({"grpo": tmp_path / "grpo-1"})
    with pytest.raises(RunDirectoryError, match=r"stages/grpo: is .*grpo-1 and should be a link to .*grpo-2"):
        run.share_stages({"grpo": tmp_path / "grpo-2"})


def test_a_second_run_waits_for_the_first_and_finds_the_stage_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = RunDirectory(tmp_path / "a"), RunDirectory(tmp_path / "b")
    for one in (first, second):
        one.share_stages({"grpo": tmp_path / "shared"})
    waits = threading.Event()
    monkeypatch.setattr(run_directory.logger, "info", lambda *_: waits.set())
    found: list[bool] = []

    def do_second() -> None:
        with second.stage("grpo") as left:
            found.append(left)

    with first.stage("grpo") as left:
        assert left
        waiting = threading.Thread(target=do_second)
        waiting.start()
        assert waits.wait(timeout=60)
        assert found == []
        first.mark_done("grpo", {})
    waiting.join(timeout=60)
    assert found == [False]


def test_a_stage_that_a_killed_run_was_at_is_left_to_do(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from pipelines.records.run_directory import RunDirectory;"
        "run = RunDirectory(Path(sys.argv[1])); run.share_stages({'grpo': Path(sys.argv[2])});"
        "run.stage('grpo').__enter__(); os.kill(os.getpid(), 9)"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "a"), str(tmp_path / "shared")]
    killed = subprocess.run(arguments, cwd=Path(__file__).parents[3], check=False)
    assert killed.returncode == -9
    second = RunDirectory(tmp_path / "b")
    second.share_stages({"grpo": tmp_path / "shared"})
    with second.stage("grpo") as left:
        assert left


def test_markers_are_plain_json(run: RunDirectory) -> None:
    run.mark_done("grpo", {"steps": 2})
    assert json.loads((run.path / "stages/grpo/done.json").read_text()) == {"steps": 2}
