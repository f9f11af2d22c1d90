"""What a compatibility patch is, and the two tools that most of them need."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Patch:
    """One cause of failure in BasicSR 1.4.2 on the present stack, and its cure.

    Args:
        name (str): Identifier, as the doctor prints it.
        cause (str): What fails without the patch, in one sentence.
        needed (Callable[[], bool]): True where the symptom or the version that causes it is present.
        cure (Callable[[], None]): Applies the patch in memory. Nothing on disk is touched.
        state (str): 'pending', 'applied' or 'not needed'.
    """

    name: str
    cause: str
    needed: Callable[[], bool]
    cure: Callable[[], None]
    state: str = 'pending'

    def apply(self) -> None:
        """Apply the cure once, where it is needed."""
        if self.state != 'pending':
            return
        if self.needed():
            self.cure()
            self.state = 'applied'
        else:
            self.state = 'not needed'


def contains(function: Callable, text: str) -> bool:
    """True where the source of ``function`` still holds the faulty ``text``.

    The guard of a patch whose symptom is costly to provoke. An installation without sources counts as faulty, since
    the release is known.
    """
    try:
        return text in inspect.getsource(function)
    except (OSError, TypeError):
        return True


def lacks(function: Callable, text: str) -> bool:
    """True where the source of ``function`` does not hold the mending ``text``. Without sources: True."""
    try:
        return text not in inspect.getsource(function)
    except (OSError, TypeError):
        return True


def rebind(old: Callable, new: Callable, package: str = 'basicsr') -> None:
    """Replace ``old`` by ``new`` in every loaded module of ``package``.

    ``from module import name`` binds the object, so that replacing it in its own module alone would miss its users.
    """
    for module_name, module in list(sys.modules.items()):
        if module_name == package or module_name.startswith(f'{package}.'):
            for name in [name for name, value in vars(module).items() if value is old]:
                setattr(module, name, new)
