"""Build a model from checked options, with errors that a user can mend."""

from basicsr import models

from ext_core.errors import UserError


def build_model(opt: dict):
    """BasicSR's ``build_model``.

    Raises:
        UserError: If a network, loss or optimizer refuses its arguments.
    """
    try:
        return models.build_model(opt)
    except (ValueError, NotImplementedError, AssertionError) as error:
        raise UserError(
            f'the model cannot be built from these options: {error} Correct the sections network_*, path or train.'
        ) from error
