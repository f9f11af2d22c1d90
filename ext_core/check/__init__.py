"""Options are checked before anything is created.

A key is known if some code that runs with the option file reads it (see :mod:`ext_core.check.sources`), so a new model
or dataset needs no entry in a list here. Classes may say more about themselves, as unions over their bases:

* ``EXTRA_TRAIN_KEYS: frozenset[str]`` of a model: keys of ``train`` that it takes.
* ``NEEDS: frozenset[str]`` of a model: colon paths, such as ``train:gan_opt``, without which it cannot be trained; of a
  dataset: keys that its section must have.
* ``OPTIONAL: frozenset[str]`` of a model: those of its bases' NEEDS that it can do without.
* ``option_problems(opt)``, a class method of a model: an iterator of further problems, such as parts that belong
  together.
* ``VALIDATION_FIGURES: dict[str, str]`` of a model: figures that its validation yields beside ``val:metrics``, and
  which is better, 'higher' or 'lower'.
"""

from collections.abc import Iterator
from types import ModuleType

from ext_core.check import components, datasets, networks, places, rehearsal, sections, values
from ext_core.check.trials import undisturbed
from ext_core.config.positions import Positions
from ext_core.errors import UserError

__all__ = ['check_options', 'find_problems', 'find_warnings']


def find_problems(opt: dict, is_train: bool) -> list[str]:
    """Everything that is wrong with the options of a run, as far as can be seen without running it.

    Reads image headers and LMDB indices, writes nothing.

    Args:
        opt (dict): Options as models get them, completed by ``ext_core.config.options.resolve`` (or BasicSR's
            ``parse_options`` and ``root_path``). Relative paths start at the current directory.
        is_train (bool): Whether they are for training or for testing.

    Returns:
        list[str]: One line for each problem: the option's colon path or the file, what is wrong, the remedy.
    """

    parts = (sections, values, components, networks, datasets, places)
    with undisturbed():
        return list(dict.fromkeys(problem for part in parts for problem in _problems_of(part, opt, is_train)))


def find_warnings(opt: dict, positions: Positions | None = None) -> list[str]:
    """What may be meant in the options of a training, and may be a mistake, one line each.

    Args:
        opt (dict): Options in which :func:`find_problems` finds nothing.
        positions (Positions | None): Where the keys stand, to name file and line. Default: not named.
    """
    return [positions.locate(warning) if positions else warning for warning in values.warnings(opt)]


def _problems_of(part: ModuleType, opt: dict, is_train: bool) -> Iterator[str]:
    """A check that stumbles over a value which it did not foresee says so instead of ending in a traceback."""
    try:
        yield from part.problems(opt, is_train)
    except Exception as error:
        name = part.__name__.rpartition('.')[2]
        yield f'the check of the {name} met a value that cannot be right: {type(error).__name__}: {error}'


def check_options(opt: dict, is_train: bool, positions: Positions | None = None) -> None:
    """Refuse options with problems; where none is found, also those whose parts do not fit when they meet.

    Args:
        opt (dict): See :func:`find_problems`.
        is_train (bool): Whether they are for training or for testing.
        positions (Positions | None): Where the keys stand, to name file and line. Default: not named.

    Raises:
        UserError: If there are problems; the message lists all of them, one a line.
    """
    with undisturbed():
        found = find_problems(opt, is_train) or list(_problems_of(rehearsal, opt, is_train))
    if found:
        count = 'a problem' if len(found) == 1 else f'{len(found)} problems'
        raise UserError(
            f'the options have {count}; nothing was created or changed.\n'
            + '\n'.join(f'  - {positions.locate(problem) if positions else problem}' for problem in found)
        )
