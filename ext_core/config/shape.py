"""The outline that an option file must have before anything can be said about its content."""

from typing import Any

from ext_core.config.positions import Positions
from ext_core.errors import UserError

SECTIONS = ('datasets', 'path', 'train', 'val', 'logger')


def require_outline(options: dict, positions: Positions | None = None) -> None:
    """Check that keys are text and that sections are sections.

    Args:
        options (dict): The options.
        positions (Positions | None): Where their keys stand.

    Raises:
        UserError: Naming the first key that is none, or all sections that are something else.
    """
    positions = Positions() if positions is None else positions
    require_text_keys(options, positions)
    sections = {key: options[key] for key in options if key in SECTIONS or key.startswith('network_')}
    if isinstance(options.get('datasets'), dict):
        sections |= {f'datasets:{phase}': value for phase, value in options['datasets'].items()}
    wrong = [
        positions.locate(f"{key} is '{value}'") for key, value in sections.items() if not isinstance(value, dict | None)
    ]
    if wrong:
        raise UserError(f'these must be sections of keys and values in the option file: {"; ".join(wrong)}.')


def require_text_keys(value: Any, positions: Positions, where: tuple[str, ...] = ()) -> None:
    """Check the keys of nested sections.

    Raises:
        UserError: Naming the first key that is not text.
    """
    if isinstance(value, dict):
        for key, element in value.items():
            if not isinstance(key, str):
                place = positions[(*where, str(key))]
                name = ':'.join((*where, repr(key)))
                raise UserError(
                    f"{f'{place}: ' if place else ''}{name}: a key of the option file must be text; quote it: '{key}'."
                )
            require_text_keys(element, positions, (*where, key))
        return
    for element in value if isinstance(value, list) else ():
        require_text_keys(element, positions, where)
