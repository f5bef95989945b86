"""A run at a URL: on one machine and then on another, with kills between."""

import errno
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.store.copies import folder_of
from cluster.store.errors import NotStoredError, StoreError
from cluster.store.lease import LeaseTimes
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.records import claim
from pipelines.records.claim import Claim, ClaimError
from pipelines.records.run_directory import RunDirectory, RunDirectoryError
from pipelines.records.stored_run import require_shared_copy, stored_run
from tests.pipelines.small import SMALL
from tests.s3_server import S3Server

REPOSITORY = Path(__file__).parents[3]
QUICK = LeaseTimes(ttl_s=2.0, renew_s=0.1, look_s=0.05)

# Opens a run in a working copy, logs a row, finishes the stage filter, and waits for a line of input.
DRIVER = """
import sys
from pathlib import Path
from cluster.store.lease import LeaseTimes
from pipelines.records.run_directory import RunDirectoryError
from pipelines.records.stored_run import stored_run
url, copy = sys.argv[1:]
try:
    with stored_run(url, Path(copy), LeaseTimes(2.0, 0.1, 0.05), every_s=0.1) as directory:
        directory.write_text("experiment.yaml", "name: demo")
        directory.append_jsonl("metrics.jsonl", {"step": 1})
        directory.mark_done("filter", {"kept": 3})
        print("driving", flush=True)
        sys.stdin.readline()
except RunDirectoryError as error:
    print(error, flush=True)
"""


@contextmanager
def driver(url: str, copy: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a driver's process and the first line that it says."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, url, str(copy)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def run_at(url: str, copy: Path, patience_s: float = 30.0) -> "contextmanager[RunDirectory]":
    return stored_run(url, copy, QUICK, every_s=0.1, patience_s=patience_s)


def test_a_run_goes_on_on_another_machine(url: str, tmp_path: Path) -> None:
    with run_at(url, tmp_path / "a/demo") as directory:
        directory.append_jsonl("metrics.jsonl", {"step": 1})
        directory.mark_done("filter", {"kept": 3})
    with run_at(url, tmp_path / "b/demo") as directory:
        assert directory.summary("filter") == {"kept": 3}
        directory.append_jsonl("metrics.jsonl", {"step": 2})
        directory.mark_left("filter")
    with run_at(url, tmp_path / "a/demo") as directory:
        assert directory.read_jsonl("metrics.jsonl") == [{"step": 1}, {"step": 2}]
        assert not directory.stage_done("filter")


def test_a_second_driver_on_another_machine_is_refused_and_told_who_has_the_run(url: str, tmp_path: Path) -> None:
    with driver(url, tmp_path / "a/demo") as (first, said):
        assert said == "driving"
        with (
            pytest.raises(RunDirectoryError, match=rf"run_dir = {url}: in use by another driver \(pid {first.pid} on"),
            run_at(url, tmp_path / "b/demo"),
        ):
            pass
        with driver(url, tmp_path / "a/demo") as (_, refusal):  # on the same machine: its copy is taken already
            assert f"demo: in use by another driver (pid {first.pid} on" in refusal


def test_a_killed_drivers_run_goes_on_on_its_machine_at_once_with_what_was_not_sent(
    s3: S3Server, url: str, tmp_path: Path
) -> None:
    copy = tmp_path / "a/demo"
    with driver(url, copy) as (first, said):
        assert said == "driving"
        s3.fails = True
        (copy / "late").write_text("not sent")
        first.kill()
        first.wait()
    s3.fails = False
    with run_at(url, copy) as directory:
        assert (directory.path / "late").read_text() == "not sent"
        assert directory.summary("filter") == {"kept": 3}


def test_a_killed_drivers_run_goes_on_on_another_machine_when_its_lease_is_over(url: str, tmp_path: Path) -> None:
    with driver(url, tmp_path / "a/demo") as (first, said):
        assert said == "driving"
        _until_stored(url, "filter")
        first.kill()
        first.wait()
    with run_at(url, tmp_path / "b/demo") as directory:
        assert directory.summary("filter") == {"kept": 3}
        (directory.path / "of-b").write_text("")
    (tmp_path / "a/demo/of-a").write_text(
        ""
    )  # the copy of the first machine has fallen behind, and is brought up to date
    with run_at(url, tmp_path / "a/demo") as directory:
        assert (directory.path / "of-b").exists() and not (directory.path / "of-a").exists()


def test_a_driver_whose_run_another_has_taken_over_ends(url: str, tmp_path: Path) -> None:
    with driver(url, tmp_path / "a/demo") as (first, said):
        assert said == "driving"
        first.send_signal(signal.SIGSTOP)
        with run_at(url, tmp_path / "b/demo") as directory:
            first.send_signal(signal.SIGCONT)
            assert first.wait(60) == -signal.SIGTERM
            directory.append_jsonl("metrics.jsonl", {"step": 2})


def test_a_copy_whose_pull_was_interrupted_is_pulled_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_at(url, tmp_path / "a/demo") as directory:
        directory.mark_done("filter", {"kept": 3})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pipelines.records.stored_run.pull", killed)
        with pytest.raises(KeyboardInterrupt), run_at(url, tmp_path / "b/demo"):
            pass
    with run_at(url, tmp_path / "b/demo") as directory:
        assert directory.summary("filter") == {"kept": 3}


def test_a_run_whose_store_is_gone_at_its_end_says_where_the_rest_is(s3: S3Server, url: str, tmp_path: Path) -> None:
    copy = tmp_path / "a/demo"

    def run() -> None:
        with run_at(url, copy, patience_s=0.1) as directory:
            s3.stop()
            directory.append_jsonl("metrics.jsonl", {"step": 1})

    with pytest.raises(NotStoredError, match=rf"run_dir = {url}: not all is at the URL: .* The rest is in {copy}; the"):
        run()
    s3.start()
    with run_at(url, copy) as directory:
        assert directory.read_jsonl("metrics.jsonl") == [{"step": 1}]


def test_an_error_of_the_run_is_not_hidden_by_one_of_the_store(
    s3: S3Server, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def run() -> None:
        with stored_run(url, tmp_path / "a/demo", QUICK, patience_when_stopped_s=0.1) as directory:
            s3.stop()
            directory.append_jsonl("metrics.jsonl", {"step": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert "not all is at the URL" in caplog.text


def test_a_copy_of_a_run_that_is_gone_from_its_url_is_no_new_run(tmp_path: Path) -> None:
    copy = tmp_path / "a/demo"
    with run_at(f"file://{tmp_path}/store/demo", copy) as directory:
        directory.write_text("experiment.yaml", "name: demo")
    (tmp_path / "store").rename(tmp_path / "moved")
    with (
        pytest.raises(StoreError, match=f"there is no run any more, .* remove {copy} to begin anew"),
        run_at(f"file://{tmp_path}/store/demo", copy),
    ):
        pass


def test_a_reader_gets_a_copy_without_checkpoints_and_keeps_its_own_files(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAYLLM_WORK_DIR", str(tmp_path / "work"))
    with run_at(url, tmp_path / "a/demo") as directory:
        directory.write_text("experiment.yaml", "name: demo")
        directory.write_text("stages/grpo/model/config.json", "{}")
        directory.write_text("stages/grpo/checkpoints/000001/state", "")
        directory.mark_done("grpo", {})
        _until_stored(url, "grpo")
        folder = folder_of(url)
        assert RunDirectory(folder).stage_done("grpo")
        assert not (folder / "stages/grpo/model").exists()
        (folder / "ledger.jsonl").write_text("")
        directory.mark_left("grpo")
    folder = folder_of(url, models=True)
    assert (folder / "stages/grpo/model/config.json").exists() and (folder / "ledger.jsonl").exists()
    assert not (folder / "stages/grpo/checkpoints").exists() and not RunDirectory(folder).stage_done("grpo")


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("s3://nowhere/runs/demo", "no such bucket or folder .*: create it, or correct the URL"),
        ("s4://runs/demo", "s4:// is no kind of store that fsspec knows"),
        ("gs://runs/demo", r"the package for gs:// is missing .*: pip install 'relayllm-ray\[gs\]'"),
        ("file:///proc/runs/demo", "no such bucket or folder|the store"),
    ],
)
def test_a_url_that_cannot_be_used_is_one_line_with_key_value_and_remedy(
    place: str, message: str, tmp_path: Path
) -> None:
    with (
        pytest.raises(StoreError, match=f"^run_dir = {place}: .*{message}") as caught,
        run_at(place, tmp_path / "a/demo"),
    ):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("s3")
def test_missing_credentials_are_one_line(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StoreError, match=r"no credentials .*: set AWS_ACCESS_KEY_ID"), run_at(url, tmp_path / "a/demo"):
        pass


def test_a_folder_on_a_file_system_without_locks_between_hosts_has_one_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Claim(tmp_path / "run", times=QUICK)
    first.take()
    monkeypatch.setattr(claim.fcntl, "flock", lambda *_: None)  # a lock that reaches this host alone
    monkeypatch.setattr(claim, "boot_id", lambda: "another host")
    second = Claim(tmp_path / "run", times=QUICK)
    with pytest.raises(ClaimError, match=rf"run: in use by another driver \(pid {os.getpid()} on .*lease runs until"):
        second.take()
    first.release()
    second.take()
    second.release()


def test_a_folder_on_a_file_system_without_any_locks_has_one_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(claim.fcntl, "flock", without_locks)
    first = Claim(tmp_path / "run", times=QUICK)
    first.take()
    with pytest.raises(ClaimError, match=r"in use by another driver .*lease runs until"):
        Claim(tmp_path / "run", times=QUICK).take()
    first.release()


def test_actors_of_several_nodes_need_a_copy_that_they_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    (tmp_path / "small.yaml").write_text(SMALL)
    experiment = load(tmp_path / "small.yaml", ["run_dir=s3://bucket/runs/demo"], Experiment)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True}, {"Alive": True}, {"Alive": False}])
    monkeypatch.delenv("RELAYLLM_WORK_DIR", raising=False)
    with pytest.raises(StoreError, match=r"the cluster has 2 nodes, .*: set RELAYLLM_WORK_DIR to a folder"):
        require_shared_copy(experiment)
    monkeypatch.setenv("RELAYLLM_WORK_DIR", "/shared")
    require_shared_copy(experiment)


def test_a_run_directory_that_is_moved_within_its_claim_is_not_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RunDirectory(tmp_path / "run"), caplog.at_level(logging.WARNING):
        (tmp_path / "run").rename(tmp_path / "aside")
    assert not (tmp_path / "run").exists() and caplog.text == ""


def _until_stored(url: str, stage: str) -> None:
    import time

    from cluster.store.manifest import newest_manifest
    from cluster.store.objects import Objects

    objects, until = Objects(url), time.monotonic() + 60
    while (found := newest_manifest(objects)) is None or f"stages/{stage}/done.json" not in found.files:
        assert time.monotonic() < until
        time.sleep(0.05)
