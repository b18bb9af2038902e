"""A headless Chromium, told what to do over the DevTools protocol through two pipes.

Documents are JSON ended by a zero byte (``--remote-debugging-pipe``): no port, no websocket.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from devtools.servers.waiting import wait_until

T = TypeVar("T")

RESPONSE_SECONDS = 60.0
_NAMES = ("chromium", "chromium-browser", "google-chrome")
# In a container or as root its own sandbox does not start; it opens nothing but our own page.
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class ChromiumError(Exception):
    """It does not respond, or refuses what it is told."""


def found() -> str | None:
    """The program; None where there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Chromium:
    """Runs while the ``with`` lasts; ``folder`` is for its profile."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._lock = threading.Condition()
        self._responses: dict[int, dict[str, Any]] = {}
        self._next_id = 0
        self._tabs: dict[str, Tab] = {}
        self._ended = False

    def __enter__(self) -> Self:
        # It reads descriptor 3 and writes 4: ours must be neither.
        pipes = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in _pipes(2)]
        to_read, self._to_write, self._from_read, to_answer = pipes
        self._process = subprocess.Popen(
            [
                *("bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_answer}', "bash"),
                *(self._program, *_ARGUMENTS, f"--user-data-dir={self._folder}", "about:blank"),
            ],
            pass_fds=(to_read, to_answer),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_read)
        os.close(to_answer)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (ChromiumError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._to_write)
        self._reader.join(10)

    def open(self, url: str, *, width: int = 1200, height: int = 900, dark: bool = False) -> Tab:
        """A new tab of that size that shows ``url``."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self._tabs[session] = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        tab.resize(width, height)
        scheme = "dark" if dark else "light"
        tab.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        tab.call("Page.navigate", url=url)
        return tab

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """What it responds. Raises :class:`ChromiumError`."""
        with self._lock:
            self._next_id += 1
            number = self._next_id
        document: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session:
            document["sessionId"] = session
        text = json.dumps(document).encode() + b"\0"
        try:
            while text:
                text = text[os.write(self._to_write, text) :]
        except OSError as error:
            raise ChromiumError(f"{method}: {error.strerror}") from None
        deadline = time.monotonic() + RESPONSE_SECONDS
        with self._lock:
            while number not in self._responses:
                left_seconds = deadline - time.monotonic()
                if self._ended or left_seconds <= 0:
                    raise ChromiumError(f"{method}: no response")
                self._lock.wait(left_seconds)
            response = self._responses.pop(number)
        if "error" in response:
            raise ChromiumError(f"{method}: {response['error']['message']}")
        result: dict[str, Any] = response["result"]
        return result

    def _read(self) -> None:
        with os.fdopen(self._from_read, "rb") as stream:
            text = b""
            while chunk := os.read(stream.fileno(), 1 << 16):
                *whole, text = (text + chunk).split(b"\0")
                for one in whole:
                    self._take(json.loads(one))
        with self._lock:
            self._ended = True
            self._lock.notify_all()

    def _take(self, document: Mapping[str, Any]) -> None:
        if "id" in document:
            with self._lock:
                self._responses[document["id"]] = dict(document)
                self._lock.notify_all()
        elif tab := self._tabs.get(document.get("sessionId", "")):
            tab.take(document["method"], document["params"])


def _pipes(number: int) -> Iterator[int]:
    """Both ends of so many pipes; they are closed once they were used."""
    ends = [end for _ in range(number) for end in os.pipe()]
    yield from ends
    for end in ends:
        os.close(end)


class Tab:
    """A page. ``errors``: what its console shows as errors, exceptions among them."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session
        self.errors: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """See :meth:`Chromium.call`."""
        return self._browser.call(method, self._session, **parameters)

    def take(self, event: str, parameters: Mapping[str, Any]) -> None:
        """Note an event that speaks of an error."""
        if event == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(parameters["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.errors.append(json.dumps(parameters["args"]))
        elif event == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(json.dumps(parameters["entry"]))

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, of which promises are waited for."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise ChromiumError(f"{expression}: {json.dumps(found['exceptionDetails'])}")
        return found["result"].get("value")

    def text(self, selector: str = "body") -> str:
        """What can be read there."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def wait_for(
        self, condition: Callable[[Tab], T], what: str, deadline_seconds: float = 60.0
    ) -> T:
        """Ask until the condition has a true value."""
        return wait_until(lambda: condition(self), deadline_seconds=deadline_seconds, what=what)

    def press(self, key: str) -> None:
        """A key of the keyboard, such as Tab or ArrowLeft."""
        code = {"Tab": 9, "ArrowLeft": 37, "ArrowRight": 39}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def resize(self, width: int, height: int) -> None:
        """How large the window is, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def picture(self) -> bytes:
        """A PNG of what the window shows."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
