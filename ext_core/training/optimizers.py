"""Optimizers by their name: the models' own functions, whose refusals are the user's errors here."""

from ext_core.errors import with_user_errors
from ext_models import optimizers
from ext_models.optimizers import find_optimizer, optimizer_names, where_to_get_more

__all__ = ['find_optimizer', 'optimizer_names', 'parameter_groups', 'where_to_get_more']

parameter_groups = with_user_errors(optimizers.parameter_groups)
