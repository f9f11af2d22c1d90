"""The error that a user can mend."""


class UserError(Exception):
    """A problem in the user's options, files or environment.

    Its message names the culprit (file or option key) and the remedy. Launchers and scripts print it without a
    traceback and exit with status 1.
    """
