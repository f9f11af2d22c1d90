"""Copies of tensors on the CPU, in memory that one checkpoint leaves to the next."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_Key = tuple[Any, ...]


def rebuilt(value: Any, leaf: Callable[[Tensor], Any]) -> Any:
    """A deep copy of containers, with ``leaf(tensor)`` in the place of each tensor. Types and attributes are kept.

    Args:
        value (Any): Tensors and plain values in mappings, lists and tuples; whatever else is in it is deep-copied.
        leaf (Callable[[Tensor], Any]): Its result stands in the copy.
    """
    if isinstance(value, Tensor):
        return leaf(value)
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, dict):
        new = copy.copy(value)  # with its class and attributes, such as the versions in a network's state dict
        for key in new:
            new[key] = rebuilt(value[key], leaf)
        return new
    if type(value) in (list, tuple):
        return type(value)(rebuilt(element, leaf) for element in value)
    return copy.deepcopy(value)


def frozen(value: Any) -> Any:
    """A copy that nothing changes later; tensors stay on their device."""
    return rebuilt(value, lambda tensor: tensor.detach().clone())


class Snapshots:
    """The tensors of one checkpoint at a time.

    Taking them has two parts. :meth:`take` is all that must happen before they may change: it copies tensors of the
    CPU into buffers, and those of a GPU within the GPU, in the stream that trains. :meth:`fetch` then brings the latter
    to the CPU beside that stream. Equal tensors, and a tensor in two places, are copied once.

    Buffers stay allocated, because fresh memory costs the system ten times as long as the copying.
    """

    def __init__(self) -> None:
        self._buffers: dict[_Key, Tensor] = {}
        # Sources are kept with their copies until all are taken: while they live, no other tensor has their key.
        self._taken: dict[_Key, tuple[Tensor, Tensor]] = {}
        self._on_gpu: list[tuple[Tensor, Tensor]] = []
        self._stream: Any = None
        self._copied_on_gpu: Any = None

    def begin(self) -> None:
        """Start a checkpoint, in the thread that trains; the last one must be on the disk, for it loses its memory."""
        self._taken, self._on_gpu = {}, []
        self._stream = torch.cuda.current_stream() if torch.cuda.is_initialized() else None

    def take(self, value: Any) -> Any:
        """A copy of ``value``, see :func:`rebuilt`, whose tensors are complete after :meth:`fetch`."""
        wanted: list[tuple[Tensor, Tensor]] = []
        result = rebuilt(value, lambda tensor: self._place(tensor, wanted))
        _copy((source, buffer) for source, buffer in wanted if not source.is_cuda)
        self._copy_on_gpu([(source, buffer) for source, buffer in wanted if source.is_cuda])
        return result

    def _place(self, tensor: Tensor, wanted: list[tuple[Tensor, Tensor]]) -> Tensor:
        tensor = tensor.detach()
        if tensor.layout is not torch.strided or tensor.is_quantized:
            return tensor.cpu().clone()
        key = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if key not in self._taken:
            buffer = self._buffers.get(key)
            if buffer is None:
                buffer = torch.empty_like(tensor, device='cpu')
            self._taken[key] = (tensor, buffer)
            wanted.append((tensor, buffer))
        return self._taken[key][1]

    def _copy_on_gpu(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        if not pairs:
            return
        with torch.cuda.stream(self._stream):
            try:
                clones = [(torch.empty_like(source), buffer) for source, buffer in pairs]
            except torch.cuda.OutOfMemoryError:
                _copy(pairs)  # to the CPU at once, which the training waits for
                return
            _copy((source, clone) for (source, _), (clone, _) in zip(pairs, clones, strict=True))
            self._on_gpu += clones
            self._copied_on_gpu = self._stream.record_event()

    def fetch(self) -> None:
        """Complete what :meth:`take` gave, and keep its memory for the next checkpoint."""
        if self._on_gpu:
            beside = torch.cuda.Stream(self._stream.device)
            beside.wait_event(self._copied_on_gpu)
            with torch.cuda.stream(beside):
                _copy(self._on_gpu)
            beside.synchronize()
            self._on_gpu = []
        self._buffers = {key: buffer for key, (_, buffer) in self._taken.items()}
        self._taken = {}


@torch.no_grad()
def _copy(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """From each first to its second, in one call, which lets other threads run."""
    pairs = list(pairs)
    if pairs:
        torch._foreach_copy_([buffer for _, buffer in pairs], [source for source, _ in pairs])
