"""A real Prometheus that scrapes a Ray cluster, and what it answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from actors.learner.distributed import free_port

SCRAPE_S = 1
_DEADLINE_S = 60

_CONFIG = """
global: {{scrape_interval: {seconds}s}}
scrape_configs:
- job_name: ray
  file_sd_configs: [{{files: ['{targets}'], refresh_interval: {seconds}s}}]
"""


class Prometheus:
    """Answers queries over HTTP, as Grafana asks them."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **parameters: Any) -> Any:
        """Return the data of an answer of its interface."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=_DEADLINE_S).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def series(self, query: str) -> list[dict[str, Any]]:
        """Return the series of a query at this moment."""
        result: list[dict[str, Any]] = self.ask("query", query=query)["result"]
        return result

    def history(self, query: str, start: float, end: float, step_s: float) -> list[dict[str, Any]]:
        """Return the series of a query over time. `start` and `end` are in seconds since 1970."""
        result: list[dict[str, Any]] = self.ask("query_range", query=query, start=start, end=end, step=step_s)["result"]
        return result

    def until(self, query: str, deadline_s: float = _DEADLINE_S) -> list[dict[str, Any]]:
        """Wait until a query has series, and return them."""
        ends = time.monotonic() + deadline_s
        while not (found := self.series(query)):
            assert time.monotonic() < ends, f"no data: {query}"
            time.sleep(SCRAPE_S / 2)
        return found


@contextmanager
def prometheus(folder: Path, targets: Path) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes the `targets` of a service-discovery file. Its data lies in `folder`.

    Without a program of that name tests are skipped; in CI they fail.
    """
    program = shutil.which("prometheus")
    if program is None:
        reason = "there is no prometheus: apt-get install prometheus"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    config, port = folder / "prometheus.yml", free_port()
    config.write_text(_CONFIG.format(seconds=SCRAPE_S, targets=targets))
    server = subprocess.Popen(
        [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
    )
    try:
        found = Prometheus(f"http://127.0.0.1:{port}")
        _wait_until_ready(found.url, server)
        yield found
    finally:
        server.terminate()
        server.wait(timeout=60)


def _wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + _DEADLINE_S
    while True:
        assert server.poll() is None, "Prometheus has ended"
        try:
            if httpx.get(f"{url}/-/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < ends, "Prometheus did not start"
        time.sleep(0.1)
