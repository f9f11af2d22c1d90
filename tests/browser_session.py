"""A page in a real browser that is moved by a real mouse and keyboard, through Chromium's debugging pipe."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason='Chromium is not installed: make browser')


class Session:
    """One page.

    Attributes:
        requests (list[str]): Addresses that the page asked for, the page itself aside; not those of its own data.
        complaints (list[str]): What the browser wrote to the console, and errors of scripts.
    """

    def __init__(self, commands: int, answers: int):
        self._commands, self._answers = commands, os.fdopen(answers, 'rb')
        self._buffer = b''
        self._number = 0
        self._page: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def open(self, page: Path) -> None:
        """Load a file and wait until it has drawn."""
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self._page = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')
        self.call('Page.navigate', url=page.as_uri())
        self.evaluate(
            "new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))"
        )
        self.drawn()
        self.requests.remove(page.as_uri())

    def drawn(self) -> None:
        """Wait for two frames."""
        self.evaluate('new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))')

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript, which may be a promise."""
        found = self.call('Runtime.evaluate', expression=expression, awaitPromise=True, returnByValue=True)
        assert 'exceptionDetails' not in found, found['exceptionDetails']
        return found['result'].get('value')

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """With the left button, from point to point of the window."""
        pressed = {'button': 'left', 'clickCount': 1}
        self.call('Input.dispatchMouseEvent', type='mouseMoved', x=start[0], y=start[1])
        self.call('Input.dispatchMouseEvent', type='mousePressed', x=start[0], y=start[1], **pressed)
        for share in (0.25, 0.5, 0.75, 1.0):
            x, y = (a + share * (b - a) for a, b in zip(start, end, strict=True))
            self.call('Input.dispatchMouseEvent', type='mouseMoved', x=x, y=y, button='left', buttons=1)
        self.call('Input.dispatchMouseEvent', type='mouseReleased', x=end[0], y=end[1], **pressed)
        self.drawn()

    def hover(self, x: float, y: float) -> None:
        """Move the mouse there."""
        self.call('Input.dispatchMouseEvent', type='mouseMoved', x=x, y=y)
        self.drawn()

    def press(self, key: str, code: int) -> None:
        """A key, by its name and its Windows code."""
        for kind in ('rawKeyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=key, code=key, windowsVirtualKeyCode=code)
        self.drawn()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol."""
        self._number += 1
        message: dict[str, Any] = {'id': self._number, 'method': method, 'params': parameters}
        if self._page:
            message['sessionId'] = self._page
        os.write(self._commands, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._receive()
            if answer.get('id') == self._number:
                assert 'error' not in answer, answer
                return answer['result']
            self._note(answer.get('method'), answer.get('params', {}))

    def _receive(self) -> dict[str, Any]:
        while b'\0' not in self._buffer:
            part = self._answers.read1(65536)
            assert part, 'the browser ended'
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b'\0')
        return json.loads(message)

    def _note(self, event: str | None, details: dict[str, Any]) -> None:
        if event == 'Network.requestWillBeSent' and not details['request']['url'].startswith('data:'):
            self.requests.append(details['request']['url'])
        elif event in ('Runtime.exceptionThrown', 'Runtime.consoleAPICalled', 'Log.entryAdded'):
            self.complaints.append(json.dumps(details))


@contextmanager
def session(folder: Path, width: int = 1200, height: int = 900) -> Iterator[Session]:
    """A browser without a window, whose profile lies in a folder of the test."""
    command = [str(BROWSER), '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run']
    command += ['--disable-background-networking', f'--window-size={width},{height}', '--remote-debugging-pipe']
    command += [f'--user-data-dir={folder / "profile"}']
    (to_browser, from_test), (to_test, from_browser) = os.pipe(), os.pipe()
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser, from_browser)]
    # the protocol's pipes are file descriptors 3 and 4 of the browser
    shell = ['sh', '-c', f'exec "$@" 3</dev/fd/{ends[0]} 4>/dev/fd/{ends[1]}', 'sh', *command]
    process = subprocess.Popen(shell, pass_fds=ends, stderr=subprocess.DEVNULL)
    for end in (to_browser, from_browser, *ends):
        os.close(end)
    opened = Session(from_test, to_test)
    try:
        yield opened
    finally:
        process.kill()
        process.wait()
        os.close(from_test)
        opened._answers.close()
