"""The error that a user can mend."""

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ext_core.project import as_called

_COMPONENTS = frozenset({'ext_arch', 'ext_losses', 'ext_data', 'ext_metrics', 'ext_models'})


class UserError(Exception):
    """A problem in the user's options, files or environment.

    Its message names the culprit (file or option key) and the remedy. Launchers and scripts print it without a
    traceback and exit with status 1.
    """


def refusal(error: BaseException) -> str | None:
    """What to tell the user, or None for an error that is a mistake in the code and needs its traceback.

    Components know nothing of :class:`UserError`: they refuse arguments and data with ValueError or OSError. So these
    count where a component itself raised them, not a library that it called; and what the system says of a file.
    """
    if not isinstance(error, UserError | ValueError | OSError):
        return None
    if isinstance(error, OSError) and error.strerror and (error.filename or error.errno == errno.ENOSPC):
        return f'{error.filename or "output"}: {error.strerror}. Name another place, or mend this one.'
    text, kind = str(error), type(error)
    if re.match(r'Caught \w+ in DataLoader worker process', text):
        raised_in = re.split(r'[/\\]', re.findall(r'^ *File "(.+)", line \d+', text, re.MULTILINE)[-1])
        text = re.split(rf'^(?:\w+\.)*{kind.__name__}: ', text, flags=re.MULTILINE)[-1].strip()
    else:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        raised_in = trace.tb_frame.f_globals.get('__name__', '').split('.') if trace else []
    own = isinstance(error, UserError) or kind.__module__.split('.')[0] in _COMPONENTS
    return text if own or not _COMPONENTS.isdisjoint(raised_in) else None


def failure_text(error: BaseException) -> str:
    """Why one of many things failed, whatever it was: the kind of a mistake in the code, too."""
    text, kind = str(error).strip(), type(error).__name__
    return (text or kind) if refusal(error) is not None else f'{kind}: {text or kind}'


@contextmanager
def user_errors() -> Iterator[None]:
    """What components refuse inside, or in a function that this decorates, is a :class:`UserError`."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def print_line(text: str) -> None:
    """Print to stderr in one write, so that what several processes print at once stays apart.

    ``print`` writes the end of the line by itself where output is not buffered (``PYTHONUNBUFFERED``).
    """
    sys.stderr.write(as_called(text) + '\n')
    sys.stderr.flush()


def open_streams() -> None:
    """Make output that takes every character: on Windows a pipe takes 256, and a service has no streams at all."""
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, 'w'))  # noqa: SIM115, it stays open
        elif hasattr(stream, 'reconfigure'):  # not in a notebook
            stream.reconfigure(errors='backslashreplace')


def exit_status(job: Callable[[], object], stopped: str | None = None) -> int:
    """Run a script's job; returns 0, 1 where a :func:`refusal`, which is printed, ended it, or 130 after Ctrl-C where
    there is something to say then."""
    open_streams()
    try:
        job()
    except KeyboardInterrupt:
        if stopped is None:
            raise
        print_line(stopped)
        return 130
    except Exception as error:
        message = refusal(error)
        if message is None:
            raise
        print_line(f'error: {message}')
        return 1
    return 0
