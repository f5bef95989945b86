"""Pages in a headless Chromium, driven by its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)
_DEADLINE_S = 60
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "Space": 32, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40}
_TEXTS = {"Enter": "\r", "Space": " "}
_SHIFT = 8

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# The contrast of every text with what is behind it, where that is one opaque colour (WCAG 2.1, 1.4.3).
FAINT_TEXTS = """(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => channels(colour).slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((channels(colour)[3] ?? 1) === 1) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = new Set();
  for (const element of document.querySelectorAll("main *")) {
    if (!Array.from(element.childNodes).some((node) => node.nodeType === 3 && node.textContent.trim())) continue;
    if (!element.getClientRects().length) continue;
    const [a, b] = [getComputedStyle(element).color, ground(element)].map(light);
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) found.add(element.tagName + "." + element.className + " " + contrast.toFixed(2));
  }
  return Array.from(found);
})()"""


class Page:
    """One tab: what it asked the network for, and what went wrong in it."""

    def __init__(self, connection: ClientConnection, session: str) -> None:
        self._connection, self._session = connection, session
        self._ids = itertools.count(1)
        self._loaded: set[str] = set()
        self.errors: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return what a command of the protocol answers."""
        number = next(self._ids)
        message = {"id": number, "sessionId": self._session, "method": method, "params": parameters}
        self._connection.send(json.dumps(message))
        while (answer := self._receive()).get("id") != number:
            pass
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def open(self, address: str) -> None:
        """Open an address and wait until it is loaded; one that differs in its fragment alone is loaded anew, too."""
        self.call("Page.navigate", url="about:blank")
        loader = self.call("Page.navigate", url=address)["loaderId"]
        while loader not in self._loaded:
            self._receive()

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until a JavaScript expression is true, and return its value."""
        wait = f"""new Promise((done, failed) => {{
          const until = performance.now() + {1000 * _DEADLINE_S / 2};
          const look = () => {{
            const value = ({expression});
            if (value) done(value);
            else if (performance.now() > until) failed(new Error("never true: " + {json.dumps(expression)}));
            else setTimeout(look, 10);
          }};
          look();
        }})"""
        return self.evaluate(wait)

    def press(self, key: str, shift: bool = False) -> None:
        text = _TEXTS.get(key)
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=" " if key == "Space" else key,
                code=key,
                windowsVirtualKeyCode=_KEYS[key],
                modifiers=_SHIFT if shift else 0,
                **extra,
            )

    def picture(self, path: Path) -> Path:
        """Write what is on the screen as a PNG file."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
        return path

    def write(self, text: str) -> None:
        """Write into the field that has the focus."""
        self.call("Input.insertText", text=text)

    def resize(self, width: int, height: int = 900) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def prefer(self, scheme: str) -> None:
        """Switch to the light or the dark colours."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def _receive(self) -> dict[str, Any]:
        message = json.loads(self._connection.recv(timeout=_DEADLINE_S))
        if message.get("sessionId") == self._session:  # tabs of earlier tests may still be open
            self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, found: dict[str, Any]) -> None:
        if method == "Page.lifecycleEvent" and found["name"] == "load":
            self._loaded.add(found["loaderId"])
        if method == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])
        failed = (
            method == "Runtime.exceptionThrown"
            or (method == "Runtime.consoleAPICalled" and found["type"] in ("error", "warning"))
            or (method == "Log.entryAdded" and found["entry"]["level"] in ("error", "warning"))
        )
        if failed:
            self.errors.append(json.dumps(found))


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientConnection]:
    """A running Chromium. Without one, tests are skipped; in CI they fail."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        reason = f"none of {', '.join(_NAMES)} is installed: apt-get install -y --no-install-recommends chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    profile = tmp_path_factory.mktemp("chromium")
    with subprocess.Popen(
        [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            with connect(
                _address(process), max_size=None, proxy=None, open_timeout=_DEADLINE_S, ping_interval=None
            ) as connection:
                yield connection
        finally:
            process.terminate()


@pytest.fixture
def tab(chromium: ClientConnection) -> Page:
    """A new tab."""
    target = _answer(chromium, "Target.createTarget", url="about:blank")["targetId"]
    session = _answer(chromium, "Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    return Page(chromium, session)


@pytest.fixture
def address() -> Any:
    """Return a function from a page's path to its address."""
    return lambda path, fragment="": Path(path).resolve().as_uri() + fragment


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "DevTools listening on " in line:
            return line.split("DevTools listening on ")[1].strip()
    raise RuntimeError(f"Chromium ended before it listened: {''.join(said)}")


def _answer(connection: ClientConnection, method: str, **parameters: Any) -> dict[str, Any]:
    connection.send(json.dumps({"id": 0, "method": method, "params": parameters}))
    while (answer := json.loads(connection.recv(timeout=_DEADLINE_S))).get("id") != 0:
        pass
    return answer["result"]
