"""What is printed where several processes share a terminal."""

import sys

from ext_core import errors


def test_line_is_one_write(monkeypatch):
    class Terminal:
        written: list[str] = []

        def write(self, text: str) -> None:
            self.written.append(text)

        def flush(self) -> None:
            self.written.append('flushed')

    monkeypatch.setattr(sys, 'stderr', Terminal())
    errors.print_line('[rank 1] error: bad option.\nMend it.')
    assert Terminal.written == ['[rank 1] error: bad option.\nMend it.\n', 'flushed']
