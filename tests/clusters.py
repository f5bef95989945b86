"""A Ray cluster that is started as a user would start it, for tests that talk to it from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.ports import free_port

REPOSITORY = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
RAY = str(PROGRAMS / "ray")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A head on loopback, which asks for a token."""

    address: str
    dashboard: str
    environment: dict[str, str]
    """of a client"""
    metrics: str
    """host and port of the head's endpoint for Prometheus"""

    def run(self, *command: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment's programs from the repository's folder."""
        return subprocess.run(
            [str(PROGRAMS / command[0]), *command[1:]],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )


@contextmanager
def cluster_of_its_own(folder: Path, cpus: int = 4, settings: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """Run a Ray cluster until the block ends. Its token lies in `folder`. `settings` are Ray's environment variables."""
    ports = [free_port() for _ in range(5)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WANDB_"))}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    environment["RAY_DASHBOARD_STARTUP_TIMEOUT_S"] = "300"  # beside other tests, Ray's 60 seconds may be too short
    environment["PATH"] = f"{PROGRAMS}{os.pathsep}{environment['PATH']}"  # of a job's `python`
    (folder / "token").write_text("0" * 64)
    # With --block, a head ends if any of its ports is another cluster's.
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "metrics-export-port", "ray-client-server-port")
    options = zip(names, ports, strict=True)
    head = subprocess.Popen(
        [
            RAY,
            "start",
            "--head",
            "--block",
            "--node-ip-address=127.0.0.1",
            f"--num-cpus={cpus}",
            "--disable-usage-stats",
        ]
        + [f"--{name}={port}" for name, port in options],
        cwd=REPOSITORY,
        env={**environment, **(settings or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert head.stdout is not None
        printed = []
        for line in head.stdout:
            printed.append(line)
            if "runtime started" in line:
                break
        else:
            raise AssertionError("".join(printed))
        yield Cluster(f"127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}", environment, f"127.0.0.1:{ports[3]}")
    finally:
        head.terminate()
        head.communicate(timeout=60)
