"""Chromium without a window, spoken to through its DevTools protocol
(https://chromedevtools.github.io/devtools-protocol/), each message of which ends in a zero byte.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATH = shutil.which("chromium")

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-extensions", "--disable-background-networking", "--remote-debugging-pipe"),
)
PATIENCE = 60.0
"""Seconds for an answer."""


class Chromium:
    """One that runs, with one page.  `requests` are the URLs that this page has asked for."""

    def __init__(self, reads: int, writes: int) -> None:
        self.requests: list[str] = []
        self._session: str | None = None
        self._reads, self._writes = reads, writes
        self._waiting = b""
        self._count = 0
        self._events: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Accessibility"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> Any:
        """The result of a method."""
        self._count += 1
        asked: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            asked["sessionId"] = self._session
        os.write(self._writes, json.dumps(asked).encode() + b"\0")
        while (said := self._next()).get("id") != self._count:
            self._hear(said)
        assert "error" not in said, f"{method}: {said['error']}"
        return said["result"]

    def show(self, page: Path, width: int, scheme: str) -> None:
        """Load a page in a window of this width and one of the colour schemes, light and dark."""
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **screen)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.ask("Emulation.setEmulatedMedia", features=[feature])
        self.requests.clear()
        self._events.clear()
        self.ask("Page.navigate", url=page.as_uri())
        while "Page.loadEventFired" not in self._events:
            self._hear(self._next())

    def value(self, expression: str) -> Any:
        """What JavaScript comes to in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def _hear(self, said: dict[str, Any]) -> None:
        self._events.append(said.get("method", ""))
        if said.get("method") == "Network.requestWillBeSent":
            self.requests.append(said["params"]["request"]["url"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._waiting:
            assert select.select([self._reads], [], [], PATIENCE)[0], "chromium says nothing"
            read = os.read(self._reads, 1 << 20)
            assert read, "chromium has ended"
            self._waiting += read
        message, _, self._waiting = self._waiting.partition(b"\0")
        said: dict[str, Any] = json.loads(message)
        return said


@contextmanager
def running(profile: Path) -> Iterator[Chromium]:
    """Chromium with a profile of its own, until the end of the block.  It reads what it is asked from
    its file 3 and answers in its file 4.
    """
    assert PATH is not None
    (asked, writes), (reads, answers) = os.pipe(), os.pipe()
    command = f'exec "$@" 3<&{asked} 4>&{answers}'
    process = subprocess.Popen(
        ["bash", "-c", command, "bash", PATH, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(asked, answers),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={"PATH": os.environ["PATH"], "HOME": str(profile)},
    )
    os.close(asked)
    os.close(answers)
    try:
        yield Chromium(reads, writes)
    finally:
        os.close(writes)
        os.close(reads)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
