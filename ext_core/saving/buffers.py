"""The buffers of networks, found without a walk through their modules at each checkpoint."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules import module as torch_module


class _Found(NamedTuple):
    networks: Sequence[nn.Module]  # kept, so that their ids stay theirs
    owners: list[dict[str, Tensor | None]]
    extra: bool


class BufferFinder:
    """Remembers which modules have buffers until any module gets another child or buffer.

    PyTorch tells of those through hooks, which :meth:`close` removes.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[int, ...], _Found] = {}
        self._hooks = [
            torch_module.register_module_module_registration_hook(self._forget),
            torch_module.register_module_buffer_registration_hook(self._forget),
        ]

    def _forget(self, *registered: Any) -> None:
        self._found.clear()

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def of(self, networks: Sequence[nn.Module]) -> list[Tensor] | None:
        """Their buffers; None if a module has a state of its own besides (``get_extra_state``).

        Args:
            networks (Sequence[Module]): One or more.
        """
        key = tuple(map(id, networks))
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._walk(networks)
        if found.extra:
            return None
        return [buffer for owned in found.owners for buffer in owned.values() if buffer is not None]

    @staticmethod
    def _walk(networks: Sequence[nn.Module]) -> _Found:
        modules = [*networks]
        for module in modules:  # which grows; Module.modules() takes ten times as long
            modules += [child for child in module._modules.values() if child is not None]
        kinds: set[type[nn.Module]] = set(map(type, modules))
        extra = any(kind.get_extra_state is not nn.Module.get_extra_state for kind in kinds)
        return _Found(list(networks), [module._buffers for module in modules if module._buffers], extra)
