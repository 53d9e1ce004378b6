"""Chromium without a window, steered over the pipes of its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

_UNFOLD = "document.querySelectorAll('details').forEach(d => { d.open = true })"
_HEIGHT = "document.documentElement.scrollHeight"


class Browser:
    """A headless Chromium with one page."""

    def __init__(self, program: str) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # it may still write
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        arguments = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        command = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", *arguments, f"--user-data-dir={self._profile.name}", "about:blank"],
            pass_fds=(to_browser, from_browser),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._waiting, self._count, self._session = b"", 0, None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._profile.cleanup()

    def screenshot(self, page: Path, width: int, scheme: str = "light", unfold: bool = False) -> bytes:
        """Return a whole page as PNG.

        Args:
            page: HTML file.
            width: Width of the window in pixels.
            scheme: ``light`` or ``dark``.
            unfold: Whether all folded parts are opened.
        """
        self.show(page, width, scheme)
        if unfold:
            self.evaluate(_UNFOLD)
        clip = {"x": 0, "y": 0, "width": width, "height": int(self.evaluate(_HEIGHT)), "scale": 1}
        shot = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(shot["data"])

    def show(self, page: Path, width: int, scheme: str = "light") -> None:
        """Open a page in a window of this width, and wait until it is loaded."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self._call("Emulation.setDeviceMetricsOverride", **metrics)
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._call("Page.navigate", url=page.resolve().as_uri())
        self._event("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression on the page."""
        result = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._count:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return dict(answer["result"])

    def _event(self, method: str) -> None:
        while self._next().get("method") != method:
            pass

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._waiting:
            read = os.read(self._read, 1 << 16)
            if not read:
                raise RuntimeError("Chromium ended")
            self._waiting += read
        message, self._waiting = self._waiting.split(b"\0", 1)
        return dict(json.loads(message))
