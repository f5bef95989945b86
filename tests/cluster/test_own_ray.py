"""A Ray that a run starts for itself: whom it listens to, what it asks for, and who can read its token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.own_ray import keep_token_private

REPOSITORY = Path(__file__).parents[2]
LOOKS = """
import json, sys, urllib.error, urllib.request
import psutil, ray
from cluster.session import ray_session

def status(url, token):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code

with ray_session("looked-at", None, 1, 0) as address:
    @ray.remote
    def answer():
        return 42
    found = ray.get(answer.remote())
    me = psutil.Process()
    listening = [
        (one.name(), each.laddr.ip)
        for one in [me, *me.children(recursive=True)] for each in one.net_connections("tcp") if each.status == "LISTEN"
    ]
    jobs = f"http://{ray._private.worker.global_worker.node.address_info['webui_url']}/api/jobs/"
    token = open(sys.argv[1]).read().strip()
    statuses = [status(jobs, None), status(jobs, "wrong"), status(jobs, token)]
print(json.dumps([found, address, statuses, listening]))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def token_in(home: Path) -> Path:
    return home / ".ray" / "auth_token"


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_ray_of_a_run_listens_on_loopback_and_asks_for_its_token(home: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", LOOKS, str(token_in(home))],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found, address, statuses, listening = json.loads(done.stdout.splitlines()[-1])
    assert found == 42 and address.startswith("127.0.0.1:")
    assert statuses == [401, 403, 200]
    names = {name for name, _ in listening}
    assert {"gcs_server", "raylet"} <= names
    assert [one for one in listening if one[1].removeprefix("::ffff:") not in ("127.0.0.1", "::1")] == []
    assert mode_of(token_in(home)) == 0o600
    assert token_in(home).read_text() not in done.stdout + done.stderr


def test_a_new_token_is_readable_by_its_user_alone_whatever_the_mask(home: Path) -> None:
    before = os.umask(0)
    try:
        keep_token_private()
    finally:
        os.umask(before)
    assert len(token_in(home).read_text()) == 64
    assert (mode_of(token_in(home)), mode_of(home / ".ray")) == (0o600, 0o700)
    assert [path.name for path in (home / ".ray").iterdir()] == ["auth_token"]


def test_a_token_that_others_can_read_is_kept_and_closed(home: Path) -> None:
    token_in(home).parent.mkdir()
    token_in(home).write_text("of-an-earlier-ray")
    token_in(home).chmod(0o644)
    keep_token_private()
    assert token_in(home).read_text() == "of-an-earlier-ray" and mode_of(token_in(home)) == 0o600


def test_runs_that_start_together_have_one_token(home: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: subprocess.run(
            [sys.executable, "-c", "from cluster.own_ray import keep_token_private as keep; keep()"], cwd=REPOSITORY, check=True
        ), range(8)))  # fmt: skip
    assert [path.name for path in (home / ".ray").iterdir()] == ["auth_token"]
    assert len(token_in(home).read_text()) == 64


@pytest.mark.parametrize(
    ("name", "value"), [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "x"), ("RAY_AUTH_TOKEN_PATH", "/x")]
)
def test_nothing_is_written_for_a_user_who_has_said_it_otherwise(
    name: str, value: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    keep_token_private()
    assert not token_in(home).exists()


def test_a_home_that_cannot_be_written_is_named(home: Path) -> None:
    (home / ".ray").write_text("")
    with pytest.raises(ClusterError, match=r"auth_token: the token of Ray cannot be kept there: .*RAY_AUTH_TOKEN_PATH"):
        keep_token_private()
