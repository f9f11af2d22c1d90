"""Does a file hold the weights of this network? The models' functions, whose refusals are UserError here."""

from ext_core.errors import with_user_errors
from ext_models import weights
from ext_models.weights import loading_problem, option_suffix, weights_problem, weights_unsound

__all__ = ['keep_layers', 'loading_problem', 'option_suffix', 'select_weights', 'weights_problem', 'weights_unsound']

keep_layers = with_user_errors(weights.keep_layers)
select_weights = with_user_errors(weights.select_weights)
