"""A local S3 server, which a test can stop for a while: its objects stay."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

BUCKET = "runs"


class S3Server:
    """moto's S3 behind a port of this machine. One request is answered at a time, since S3's conditional writes are atomic."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._application = DomainDispatcherApplication(create_backend_app)
        self._one_at_a_time = threading.Lock()
        self._server: BaseWSGIServer | None = None
        self.port = 0
        self.fails = False
        """whether each request is answered by 503"""
        self.start()

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if self.fails:
            start("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        with self._one_at_a_time:
            return list(self._application(environ, start))

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
        if self._server is None:
            self._server = make_server("127.0.0.1", self.port, self, threaded=True)
            self.port = self._server.port
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Close the port. Connections are refused until `start`."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
