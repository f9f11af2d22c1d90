"""The error that a user can mend."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A problem in the user's options, files or environment.

    Its message names the culprit (file or option key) and the remedy. Launchers and scripts print it without a
    traceback and exit with status 1.
    """


def print_line(text: str) -> None:
    """Print to stderr in one write, so that what several processes print at once stays apart.

    ``print`` writes the end of the line by itself where output is not buffered (``PYTHONUNBUFFERED``).
    """
    sys.stderr.write(text + '\n')
    sys.stderr.flush()


def exit_status(job: Callable[[], object]) -> int:
    """Run a script's job: 0, or 1 where a :class:`UserError`, which is printed, ended it."""
    try:
        job()
    except UserError as error:
        print_line(f'error: {error}')
        return 1
    return 0
