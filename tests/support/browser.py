"""Headless Chromium, driven by its DevTools protocol over a pair of pipes."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from itertools import count

from tests.support.fronts import GUARD, poll

_SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """A browser with a profile of its own in *directory*."""

    def __init__(self, directory):
        inward, self._write = os.pipe()
        self._read, outward = os.pipe()
        os.set_inheritable(inward, True)
        os.set_inheritable(outward, True)
        # It reads commands from descriptor 3 and answers on 4; each ends with a zero byte.
        command = f'exec "$@" 3<&{inward} 4>&{outward}'
        self._output = open(os.path.join(directory, "chromium.out"), "wb")  # noqa: SIM115  (closed in close)
        self.process = subprocess.Popen(
            ["bash", "-c", command, "chromium", "chromium", *_SWITCHES, f"--user-data-dir={directory}/profile", "about:blank"],
            pass_fds=(inward, outward), stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output,
            env={**os.environ, "HOME": str(directory)},
        )  # fmt: skip
        os.close(inward)
        os.close(outward)
        self._numbers = count(1)
        self._buffer = b""

    def call(self, method, session=None, **parameters):
        """Have a command done and return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self):
        deadline = time.monotonic() + GUARD
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            assert left > 0, "the browser does not answer"
            if select.select([self._read], [], [], left)[0]:
                data = os.read(self._read, 65536)
                assert data, "the browser has ended"
                self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, url):
        return Page(self, url)

    def close(self):
        try:
            self.call("Browser.close")
            self.process.wait(GUARD)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._output.close()
            os.close(self._read)
            os.close(self._write)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Page:
    """A page in a tab of its own."""

    def __init__(self, browser, url):
        self._browser = browser
        target = browser.call("Target.createTarget", url=url)["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def run(self, script):
        """Return the value of an expression; a promise's once it has one."""
        told = self._browser.call(
            "Runtime.evaluate", self._session, expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait_for(self, script):
        """Wait until an expression is true, and return its value."""
        try:
            return poll(lambda: self.run(script), f"{script} does not come true")
        except AssertionError as error:
            error.add_note(str(self.run("document.documentElement.innerText")))
            raise
