"""The page's server: nothing but the runs of its folders, strict headers, and no answer where nothing has changed."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from pipelines.watch.fleet import Fleet
from pipelines.watch.server import watch_app
from tests.pipelines.watch.conftest import add_line


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(runs: Path, clock: Clock) -> TestClient:
    return TestClient(watch_app(Fleet([runs]), clock=clock), base_url="http://127.0.0.1")


def ids(client: TestClient) -> dict[str, str]:
    return {run["label"]: run["id"] for run in client.get("/api/runs").json()["runs"]}


def test_the_page_and_its_parts_are_served_with_a_strict_policy(client: TestClient) -> None:
    page = client.get("/")
    waiting, seen = set(re.findall(r'(?:src|href)="(page/[^"]+)"', page.text)), set()
    assert len(waiting) == 3
    while waiting:
        part = waiting.pop()
        seen.add(part)
        answer = client.get(f"/{part}")
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(("text/css", "text/javascript"))
        waiting |= {f"page/{name}" for name in re.findall(r'from "\./([^"]+)"', answer.text)} - seen
    assert {"page/look.css", "page/chart.js", "page/theme.js", "page/words.js"} <= seen
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"


def test_no_text_of_a_file_can_become_markup() -> None:
    for entry in files("pipelines.watch").joinpath("page").iterdir():
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?://(?!www\.w3\.org)",
            entry.read_text(),
        )


def test_what_has_not_changed_is_not_sent_again(client: TestClient, clock: Clock, runs: Path) -> None:
    for path in ("/api/runs", f"/api/runs/{ids(client)['live']}"):
        tag = client.get(path).headers["etag"]
        assert client.get(path, headers={"If-None-Match": tag}).status_code == 304
        add_line(runs / "live" / "metrics.jsonl", {"stage": "grpo", "step": 30, "time_s": clock.now, "metrics": {}})
        clock.now += 10
        changed = client.get(path, headers={"If-None-Match": tag})
        assert changed.status_code == 200 and changed.headers["etag"] != tag


@pytest.mark.parametrize(
    "path",
    [
        "/api/runs/..",
        "/api/runs/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/api/runs/good",
        "/runs/../../etc/passwd/report.html",
        "/runs/%2e%2e/report.html",
        "/page/../server.py",
        "/page/%2e%2e/server.py",
        "/page/__init__.py",
        "/etc/passwd",
        "/docs",
        "/openapi.json",
    ],
)
def test_nothing_else_can_be_reached(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404 and "root:" not in answer.text and "import" not in answer.text


def test_a_report_has_an_origin_of_its_own(client: TestClient) -> None:
    found = ids(client)
    answer = client.get(f"/runs/{found['good']}/report.html")
    assert answer.status_code == 200 and answer.text.startswith("<!doctype html>")
    assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    assert client.get(f"/runs/{found['crashed']}/report.html").status_code == 404


def test_a_report_that_is_a_link_is_not_served(client: TestClient, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.html").write_text("secret")
    (runs / "crashed" / "report.html").symlink_to(tmp_path / "secret.html")
    assert client.get(f"/runs/{ids(client)['crashed']}/report.html").status_code == 404


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_it_only_reads(client: TestClient, method: str) -> None:
    assert getattr(client, method)("/api/runs").status_code == 405


def test_a_page_of_another_site_gets_nothing(client: TestClient, runs: Path) -> None:
    for host, status in (("evil.example", 400), ("localhost:8100", 200), ("127.0.0.1", 200), ("[::1]:8100", 200)):
        assert client.get("/api/runs", headers={"Host": host}).status_code == status
    public: Any = TestClient(watch_app(Fleet([runs]), "0.0.0.0"), base_url="http://cluster-head:8100")
    assert public.get("/api/runs").status_code == 200
