"""A run at a URL is whole at any time. Processes are killed and the store goes away, for real."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.files import directory_commit
from cluster.store.errors import StoreError
from cluster.store.lease import Lease, LeaseHeldError, LeaseTimes
from cluster.store.manifest import FILES, Manifest, newest_manifest
from cluster.store.objects import Objects
from cluster.store.pulling import pull
from cluster.store.pushing import Mirror, Pusher
from tests.s3_server import S3Server

REPOSITORY = Path(__file__).parents[3]
QUICK = LeaseTimes(ttl_s=1.0, renew_s=0.2, look_s=0.05)

# Pushes a folder, after it has said so. One part of a multipart upload is sent for each 32 MiB.
PUSH = """
import sys
from pathlib import Path
from cluster.store.lease import Lease, LeaseTimes
from cluster.store.objects import Objects
from cluster.store.pushing import Pusher
url, folder = sys.argv[1:]
objects = Objects(url)
lease = Lease(objects, "host-a", print, LeaseTimes(1.0, 0.2, 0.05))
lease.acquire()
pusher = Pusher(objects, Path(folder), Path(folder + ".links"), lease)
print("pushing", flush=True)
pusher.push()
print("pushed", flush=True)
"""


@pytest.fixture(params=["S3", "file"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    place = request.getfixturevalue("url") if request.param == "S3" else f"file://{tmp_path}/store/run"
    return Objects(place)


@pytest.fixture
def lease(objects: Objects) -> Iterator[Lease]:
    lease = Lease(objects, "host-a", print, QUICK)
    lease.acquire()
    yield lease
    lease.release()


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pusher(objects: Objects, lease: Lease, folder: Path) -> Pusher:
    return Pusher(objects, folder, folder.with_name("links"), lease)


def test_a_pull_brings_what_was_pushed_and_removes_the_rest(objects: Objects, lease: Lease, tmp_path: Path) -> None:
    files = {
        "metrics.jsonl": b"1\n",
        "empty": b"",
        "stages/evaluate-citer-citer@0.5/ü #%?.json": b"x",
        "large": b"y" * 3_000_000,
    }
    write(tmp_path / "run", files)
    pusher(objects, lease, tmp_path / "run").push()
    write(tmp_path / "copy", {"stages/old/done.json": b"{}", "metrics.jsonl": b"other\n"})
    pull(objects, tmp_path / "copy")
    assert content(tmp_path / "copy") == files
    assert not (tmp_path / "copy/stages/old").exists()


def test_only_what_has_changed_is_sent_and_what_two_states_do_not_name_is_removed(
    objects: Objects, lease: Lease, tmp_path: Path
) -> None:
    pushing = pusher(objects, lease, tmp_path / "run")
    kept = set()
    for number in range(4):
        write(tmp_path / "run", {"model": b"m", "metrics.jsonl": b"row\n" * number})
        pushing.push()
        pushing.push()
        names = objects.names(FILES)
        kept.add(next(name for name in names if name.startswith(f"{FILES}/model/")))
        assert len([name for name in names if "/metrics.jsonl/" in name]) == min(number + 1, 2)
    assert len(kept) == 1
    assert objects.names("manifests") == ["manifests/00000001-00000003.json", "manifests/00000001-00000004.json"]


def test_a_new_driver_sends_nothing_that_is_there(objects: Objects, lease: Lease, tmp_path: Path) -> None:
    write(tmp_path / "run", {"model": b"m"})
    pusher(objects, lease, tmp_path / "run").push()
    there = objects.names(FILES)
    pusher(objects, lease, tmp_path / "run").push()
    assert objects.names(FILES) == there


def test_an_object_that_somebody_has_removed_is_sent_again(objects: Objects, lease: Lease, tmp_path: Path) -> None:
    write(tmp_path / "run", {"model": b"m", "metrics.jsonl": b""})
    pushing = pusher(objects, lease, tmp_path / "run")
    pushing.push()
    objects.remove(name for name in objects.names(FILES) if "/model/" in name)
    with pytest.raises(StoreError, match="objects that its manifest names are missing"):
        pull(objects, tmp_path / "copy")
    write(tmp_path / "run", {"metrics.jsonl": b"row\n"})
    pushing.push()
    pull(objects, tmp_path / "copy")
    assert content(tmp_path / "copy") == {"model": b"m", "metrics.jsonl": b"row\n"}


def test_a_damaged_object_is_refused(objects: Objects, lease: Lease, tmp_path: Path) -> None:
    write(tmp_path / "run", {"model": b"good"})
    pusher(objects, lease, tmp_path / "run").push()
    objects.write(objects.names(FILES)[0], b"evil")
    with pytest.raises(StoreError, match="its content is not what the manifest says"):
        pull(objects, tmp_path / "copy")
    assert not (tmp_path / "copy/model").exists()


def test_a_torn_manifest_does_not_count(objects: Objects, lease: Lease, tmp_path: Path) -> None:
    write(tmp_path / "run", {"model": b"m"})
    pusher(objects, lease, tmp_path / "run").push()
    objects.write("manifests/00000001-00000002.json", b'{"version": 1, "files": {"mod')
    assert (newest := newest_manifest(objects)) is not None and newest.serial == 1


def test_a_driver_that_has_lost_its_lease_sends_nothing_more_and_what_it_had_begun_does_not_count(
    objects: Objects, lease: Lease, tmp_path: Path
) -> None:
    write(tmp_path / "run", {"metrics.jsonl": b"old"})
    first = pusher(objects, lease, tmp_path / "run")
    first.push()
    lease.release()
    second = Lease(objects, "host-b", print, QUICK)
    second.acquire()
    write(tmp_path / "other", {"metrics.jsonl": b"new"})
    pusher(objects, second, tmp_path / "other").push()
    write(tmp_path / "run", {"metrics.jsonl": b"old and late"})
    with pytest.raises(LeaseHeldError):
        first.push()
    late = Manifest(term=1, serial=99, files={})  # it slept just before this write, and wakes only now
    objects.write(late.name, late.written())
    pull(objects, tmp_path / "copy")
    assert content(tmp_path / "copy") == {"metrics.jsonl": b"new"}
    second.release()


def test_a_driver_killed_in_the_middle_of_an_upload_leaves_the_last_whole_checkpoint(
    s3: S3Server, url: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with directory_commit(run / "checkpoints/000001") as partial:
        (partial / "weights").write_bytes(b"one")
    assert _push(url, run).wait(60) == 0
    with directory_commit(run / "checkpoints/000002") as partial:
        (partial / "a-small-file").write_bytes(b"two")
        with (partial / "weights").open("wb") as file:
            file.truncate(200 << 20)
    killed = _push(url, run)
    objects = Objects(url)
    until = time.monotonic() + 60
    while not any("a-small-file" in name for name in objects.names(FILES)) and time.monotonic() < until:
        time.sleep(0.02)
    assert killed.poll() is None
    killed.kill()
    killed.wait()
    pull(objects, tmp_path / "copy")
    assert content(tmp_path / "copy") == {"checkpoints/000001/weights": b"one"}

    assert _push(url, run).wait(120) == 0  # another driver, when the lease of the killed one is over
    assert not [name for name in objects.names(FILES) if name not in _named(objects)]
    assert set(_manifest(objects).files) == {
        "checkpoints/000001/weights",
        "checkpoints/000002/a-small-file",
        "checkpoints/000002/weights",
    }


def test_a_store_that_goes_away_for_a_while_does_not_end_a_run_and_gets_all_in_the_end(
    s3: S3Server, url: str, tmp_path: Path
) -> None:
    objects = Objects(url)
    lease = Lease(objects, "host-a", print, LeaseTimes())
    lease.acquire()
    write(tmp_path / "run", {"metrics.jsonl": b"1\n"})
    mirror = Mirror(pusher(objects, lease, tmp_path / "run"), every_s=0.1, first_wait_s=0.1)
    _until(lambda: newest_manifest(objects) is not None)
    s3.stop()
    write(tmp_path / "run", {"metrics.jsonl": b"1\n2\n"})
    mirror.request()
    time.sleep(0.5)
    s3.start()
    _until(lambda: _manifest(objects).files["metrics.jsonl"].size_bytes == 4)
    write(tmp_path / "run", {"metrics.jsonl": b"1\n2\n3\n"})
    assert mirror.finish(patience_s=30) is None
    pull(objects, tmp_path / "copy")
    assert content(tmp_path / "copy") == {"metrics.jsonl": b"1\n2\n3\n"}
    lease.release()


def test_a_run_whose_end_does_not_reach_the_store_says_so(s3: S3Server, url: str, tmp_path: Path) -> None:
    objects = Objects(url)
    lease = Lease(objects, "host-a", print, LeaseTimes())
    lease.acquire()
    write(tmp_path / "run", {"metrics.jsonl": b"1\n"})
    mirror = Mirror(pusher(objects, lease, tmp_path / "run"), every_s=60, first_wait_s=0.1)
    s3.stop()
    missing = mirror.finish(patience_s=0.1)
    assert missing is not None and "not all is at the URL" in missing and "the store cannot be reached" in missing
    s3.start()
    lease.release()


def _push(url: str, folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PUSH, url, str(folder)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert process.stdout is not None and process.stdout.readline() == "pushing\n"
    return process


def _manifest(objects: Objects) -> Manifest:
    found = newest_manifest(objects)
    assert found is not None
    return found


def _named(objects: Objects) -> set[str]:
    """The objects of the two newest states, which both stay."""
    manifests = [Manifest.read(objects.read(name) or b"", name) for name in objects.names("manifests")]
    return {stored.object for manifest in manifests if manifest for stored in manifest.files.values()}


def _until(true: object) -> None:
    assert callable(true)
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_store_that_ignores_the_condition_of_a_new_object_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = Objects(f"file://{tmp_path}/store/run")
    pipe_file = objects._files.pipe_file
    monkeypatch.setattr(objects._files, "pipe_file", lambda path, content, mode="overwrite": pipe_file(path, content))
    with pytest.raises(StoreError, match="cannot keep two drivers apart; choose another store"):
        Lease(objects, "host-a", print, QUICK).acquire()
