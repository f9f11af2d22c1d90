"""What a compatibility patch is, and the tools that they need."""

import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Patch:
    """One cause of failure in BasicSR 1.4.2 on the present stack, and its cure.

    Args:
        name (str): Identifier, as the doctor prints it.
        cause (str): What fails without the patch, in one sentence.
        cure (Callable[[], None]): Applies the patch in memory. Nothing on disk is touched.
        needed (Callable[[], bool] | None): Whether the symptom is there, where that depends on other libraries.
            Default: None, it is in BasicSR 1.4.2 itself, the one release that is accepted.
        state (str): 'pending', 'applied' or 'not needed'.
    """

    name: str
    cause: str
    cure: Callable[[], None]
    needed: Callable[[], bool] | None = None
    state: str = 'pending'

    def apply(self) -> None:
        """Apply the cure once, where it is needed."""
        if self.state != 'pending':
            return
        self.state = 'not needed'
        if self.needed is None or self.needed():
            self.cure()
            self.state = 'applied'


PATCHES: list[Patch] = []  # of the modules that are imported, in the order of their application


def cures(cause: str, needed: Callable[[], bool] | None = None) -> Callable:
    """Decorator of a cure: it becomes a patch of its own name, the last of the list."""

    def listed(cure: Callable[[], None]) -> Callable[[], None]:
        PATCHES.append(Patch(cure.__name__, cause, cure, needed))
        return cure

    return listed


def rebind(old: Callable, new: Callable, package: str = 'basicsr') -> None:
    """Replace ``old`` by ``new`` in every loaded module of ``package``.

    ``from module import name`` binds the object, so that replacing it in its own module alone would miss its users.
    """
    for module_name, module in list(sys.modules.items()):
        if module_name == package or module_name.startswith(f'{package}.'):
            for name in [name for name, value in vars(module).items() if value is old]:
                setattr(module, name, new)
