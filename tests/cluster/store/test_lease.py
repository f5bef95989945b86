"""One driver at a time, with leases in folders and in a store. Processes are killed and stopped for real."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.store.folder import FolderObjects, boot_id
from cluster.store.lease import Holder, Lease, LeaseHeldError, LeasePlace, LeaseTimes
from cluster.store.objects import Objects
from tests.s3_server import S3Server

REPOSITORY = Path(__file__).parents[3]
QUICK = LeaseTimes(ttl_s=2.0, renew_s=0.1, look_s=0.05)

# Takes a lease at a URL or in a folder, prints its term or the refusal, and keeps it until its input ends.
DRIVER = """
import sys
from pathlib import Path
from cluster.store.folder import FolderObjects
from cluster.store.lease import Lease, LeaseHeldError, LeaseTimes
from cluster.store.objects import Objects
place, reach = sys.argv[1:]
objects = Objects(place) if "://" in place else FolderObjects(Path(place))
lease = Lease(objects, reach, lambda sentence: print("lost:", sentence, flush=True), LeaseTimes(2.0, 0.1, 0.05))
print("ready", flush=True)
sys.stdin.readline()
try:
    lease.acquire()
    print("term", lease.term, flush=True)
except LeaseHeldError as error:
    print("refused:", error, flush=True)
sys.stdin.readline()
lease.release()
"""


class Driver:
    """A process that takes a lease, as a driver on another host does."""

    def __init__(self, place: str, reach: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, place, reach],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        assert self.says() == "ready"

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def takes(self) -> str:
        self.go_on()
        return self.says()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def drivers() -> Iterator[list[Driver]]:
    started: list[Driver] = []
    yield started
    for driver in started:
        driver.kill()


def started(drivers: list[Driver], place: str, reach: str) -> Driver:
    drivers.append(Driver(place, reach))
    return drivers[-1]


def lease_at(place: LeasePlace, reach: str, lost: list[str] | None = None) -> Lease:
    return Lease(place, reach, ([] if lost is None else lost).append, QUICK)


def test_a_lease_that_is_renewed_is_refused_with_its_holder_and_its_end(tmp_path: Path, drivers: list[Driver]) -> None:
    first = started(drivers, str(tmp_path), "host-a")
    assert first.takes() == "term 1"
    with pytest.raises(LeaseHeldError, match=rf"\(pid {first.process.pid} on .*\), whose lease runs until 20.*\+00:00"):
        lease_at(FolderObjects(tmp_path), "host-b").acquire()


def test_a_killed_holder_on_another_host_is_followed_when_its_lease_is_over(
    tmp_path: Path, drivers: list[Driver]
) -> None:
    first = started(drivers, str(tmp_path), "host-a")
    first.takes()
    first.kill()
    lease, before = lease_at(FolderObjects(tmp_path), "host-b"), time.monotonic()
    lease.acquire()
    assert time.monotonic() - before >= QUICK.ttl_s
    assert lease.term == 2 and lease.before is not None and lease.before.reach == "host-a"
    lease.release()


def test_a_killed_holder_that_a_local_lock_reaches_is_followed_at_once(tmp_path: Path, drivers: list[Driver]) -> None:
    first = started(drivers, str(tmp_path), boot_id())
    first.takes()
    first.kill()
    lease, before = lease_at(FolderObjects(tmp_path), boot_id()), time.monotonic()
    lease.acquire()
    assert time.monotonic() - before < QUICK.ttl_s
    lease.release()


def test_a_released_lease_is_free_at_once_and_its_number_goes_on(tmp_path: Path) -> None:
    for term in (1, 2, 3):
        lease, before = lease_at(FolderObjects(tmp_path), f"host-{term}"), time.monotonic()
        lease.acquire()
        lease.release()
        assert lease.term == term and time.monotonic() - before < QUICK.ttl_s
    assert os.listdir(tmp_path / "lease") == ["00000003.json"]


@pytest.mark.parametrize("hour", ["1999-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"])
def test_a_holders_clock_does_not_decide_whether_its_lease_is_over(tmp_path: Path, hour: str) -> None:
    place = FolderObjects(tmp_path)
    dead = Holder(owner="x", who="pid 1 on elsewhere", reach="host-a", until=hour, ttl_s=0.5)
    place.create("lease/00000001.json", dead.written())
    lease, before = lease_at(place, "host-b"), time.monotonic()
    lease.acquire()
    assert time.monotonic() - before >= QUICK.ttl_s
    lease.release()


@pytest.mark.parametrize(
    "content",
    [
        b'{"owner": "x", "wh',
        b"[]",
        b'{"owner": "x", "who": "y", "reach": "z", "until": "", "ttl_s": "long"}',
    ],
)
def test_a_torn_lease_is_held_until_nobody_has_written_for_its_time(tmp_path: Path, content: bytes) -> None:
    place = FolderObjects(tmp_path)
    place.create("lease/00000001.json", content)
    lease, before = lease_at(place, "host-b"), time.monotonic()
    lease.acquire()
    assert time.monotonic() - before >= QUICK.ttl_s and lease.before is None
    lease.release()


def test_a_holder_that_was_stopped_for_too_long_learns_that_it_has_lost(tmp_path: Path, drivers: list[Driver]) -> None:
    first = started(drivers, str(tmp_path), "host-a")
    first.takes()
    first.process.send_signal(signal.SIGSTOP)
    lease = lease_at(FolderObjects(tmp_path), "host-b")
    lease.acquire()
    first.process.send_signal(signal.SIGCONT)
    assert first.says().startswith(f"lost: in use by another driver (pid {os.getpid()} on ")
    lease.require()
    lease.release()


def test_a_taker_that_slept_while_others_had_the_lease_does_not_win_with_an_old_number(tmp_path: Path) -> None:
    place = FolderObjects(tmp_path)
    held = Holder(owner="x", who="pid 1 on elsewhere", reach="host-a", until="", ttl_s=0.5)
    place.create("lease/00000007.json", held.written())
    late = lease_at(place, "host-b")
    assert not late._take(3)
    assert place.names("lease") == ["lease/00000007.json"]


@pytest.mark.parametrize("kind", ["a folder", "S3"])
def test_of_drivers_that_start_at_one_moment_one_wins(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, drivers: list[Driver]
) -> None:
    place = str(tmp_path) if kind == "a folder" else request.getfixturevalue("url")
    racing = [started(drivers, place, f"host-{number}") for number in range(4)]
    for driver in racing:
        driver.go_on()
    said = sorted(driver.says() for driver in racing)
    assert [line.split()[0] for line in said] == ["refused:"] * 3 + ["term"]
    assert said[-1] == "term 1"


def test_of_drivers_that_wait_for_a_dead_ones_lease_in_s3_one_wins(url: str, drivers: list[Driver]) -> None:
    dead = started(drivers, url, "host-dead")
    dead.takes()
    dead.kill()
    racing = [started(drivers, url, f"host-{number}") for number in range(3)]
    for driver in racing:
        driver.go_on()
    said = sorted(driver.says() for driver in racing)
    assert [line.split()[0] for line in said] == ["refused:"] * 2 + ["term"]
    assert said[-1] == "term 2"


def test_a_store_that_goes_away_for_less_than_the_lease_costs_nothing(s3: S3Server, url: str) -> None:
    lost: list[str] = []
    lease = lease_at(Objects(url), "host-a", lost)
    lease.acquire()
    s3.fails = True
    time.sleep(1.0)
    s3.fails = False
    beat = json.loads(Objects(url).read("lease/00000001.json") or b"")["beat"]
    until = time.monotonic() + 30
    while json.loads(Objects(url).read("lease/00000001.json") or b"")["beat"] <= beat and time.monotonic() < until:
        time.sleep(0.1)
    assert time.monotonic() < until and lost == []
    lease.release()


def test_the_thread_that_renews_a_lease_ends_with_it(tmp_path: Path) -> None:
    lease = lease_at(FolderObjects(tmp_path), "host-a")
    lease.acquire()
    lease.release()
    lease.release()
    assert "lease" not in {thread.name for thread in threading.enumerate()}


class SlowStore(FolderObjects):
    """Answers no look of the renewing thread until it may, as a store that is tried again for a while."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def names(self, folder: str) -> list[str]:
        if threading.current_thread().name == "lease":
            self.asked.set()
            self.may_answer.wait(60)
        return super().names(folder)


def test_a_look_that_ends_after_the_release_does_not_say_that_the_lease_is_lost(tmp_path: Path) -> None:
    lost: list[str] = []
    store = SlowStore(tmp_path)
    lease = lease_at(store, "host-a", lost)
    lease.acquire()
    keeper = next(thread for thread in threading.enumerate() if thread.name == "lease")
    assert store.asked.wait(30)
    lease.release()
    following = lease_at(FolderObjects(tmp_path), "host-a")
    following.acquire()
    store.may_answer.set()
    keeper.join(30)
    assert not keeper.is_alive()
    assert lost == []
    following.release()
