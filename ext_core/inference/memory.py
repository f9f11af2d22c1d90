"""How much memory a network takes, and how much there is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

SHARE = 0.5  # of the free memory; the rest is for workspaces of convolutions and for the images themselves
UNKNOWN = 2**32  # bytes, where the system does not say what is free
_CGROUP = Path('/sys/fs/cgroup')


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that were made and are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live: Any = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                self._live[storage] = storage.nbytes()
        self.peak = max(self.peak, sum(self._live.values()))
        return made


def peak_bytes(job: Callable[[], Tensor]) -> tuple[int, Tensor]:
    """Most bytes of tensors that a job holds at a time, on any device, and its result."""
    with _LiveBytes() as live:
        made = job()
    return live.peak, made


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken."""
    if device.type == 'cuda':
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return min([amount for amount in (_machine(), _container()) if amount is not None], default=UNKNOWN)


def _machine() -> int | None:
    try:
        lines = dict(line.split(':') for line in Path('/proc/meminfo').read_text().splitlines())
        return int(lines['MemAvailable'].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        return None


def _container() -> int | None:
    try:
        limit, used = ((_CGROUP / name).read_text().strip() for name in ('memory.max', 'memory.current'))
        return int(limit) - int(used)
    except (OSError, ValueError):  # no container, or without a limit: 'max'
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says so: PyTorch has a type for it on GPUs only."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ('not enough memory', "can't allocate memory", 'out of memory')
    )
