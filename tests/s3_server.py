"""A local S3 server, which a test can stop for a while: its objects stay.

It is a process of its own. Flask, which moto brings along, leaves objects in a process that code which looks through all loaded modules, as
torch's does, stumbles over.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

BUCKET = "runs"


class S3Server:
    """moto's S3 behind a port of this machine."""

    def __init__(self) -> None:
        root = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.s3_server"],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._fails = False
        self.port = int(self._told("start"))

    @property
    def fails(self) -> bool:
        """Whether each request is answered by 503."""
        return self._fails

    @fails.setter
    def fails(self, fails: bool) -> None:
        self._fails = fails
        self._told("fail" if fails else "work")

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a client finds the server."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Open the port again. Does nothing if it is open."""
        self._told("start")

    def stop(self) -> None:
        """Close the port. Connections are refused until `start`."""
        self._told("stop")

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)  # the end of its input ends it

    def _told(self, command: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer, f"the S3 server has ended: {self._process.wait(timeout=10)}"
        return answer


class _Served:
    """What the process does. One request is answered at a time, since S3's conditional writes are atomic."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._application = DomainDispatcherApplication(create_backend_app)
        self._one_at_a_time = threading.Lock()
        self._server: Any = None
        self.port = 0
        self.fails = False

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if self.fails:
            start("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        with self._one_at_a_time:
            return list(self._application(environ, start))

    def start(self) -> None:
        from werkzeug.serving import make_server

        if self._server is None:
            self._server = make_server("127.0.0.1", self.port, self, threaded=True)
            self.port = self._server.port
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def serve(self) -> None:
        """Do what the lines of standard input say, and answer each with the port."""
        for line in sys.stdin:
            match line.strip():
                case "start":
                    self.start()
                case "stop":
                    self.stop()
                case "fail" | "work" as word:
                    self.fails = word == "fail"
            print(self.port, flush=True)


if __name__ == "__main__":
    _Served().serve()
