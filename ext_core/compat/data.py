"""Patches for reading images: BasicSR's decoder and its prefetchers."""

import atexit
import queue
import threading
import weakref
from typing import Any

import numpy as np
import torch
from basicsr.data.prefetch_dataloader import CUDAPrefetcher, PrefetchGenerator
from basicsr.utils import img_util

from ext_core.compat.patch import cures, rebind
from ext_data.decoding import ImageError, decode, read_header

_STOP = threading.Event()
_RUNNING: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


@cures(
    "a damaged image is None ('NoneType' object has no attribute 'astype'), an empty one '!buf.empty()'; OpenCV "
    'before 5 fills a JPEG that was cut short with grey; 16 bits are cut off, not rounded'
)
def image_decoder() -> None:
    stock = img_util.imfrombytes

    def imfrombytes(content: bytes, flag: str = 'color', float32: bool = False) -> np.ndarray:
        if not isinstance(content, bytes):
            content = bytes(content)
        if flag == 'color':
            image = decode(content)
        else:
            read_header(content, 'the image')
            image = stock(content, flag)
            if image is None:
                raise ImageError('the image does not decode: damaged, cut short, or not an image')
        return image.astype(np.float32) / 255.0 if float32 else image

    rebind(stock, imfrombytes)


def _offer(self: Any, item: Any) -> bool:
    """Put ``item`` into the queue; False where the program ends before there is room."""
    while not _STOP.is_set():
        try:
            self.queue.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False


def _run(self: Any) -> None:
    _RUNNING.add(self)
    try:
        for item in self.generator:
            if not _offer(self, item):
                return
        _offer(self, None)
    except BaseException as error:  # whatever it is, the main thread waits for it
        _offer(self, error)


def _next(self: Any) -> Any:
    if getattr(self, 'exhausted', False):
        raise StopIteration
    item = self.queue.get()
    self.exhausted = item is None or isinstance(item, BaseException)
    if isinstance(item, BaseException):
        raise item
    if item is None:
        raise StopIteration
    return item


def _stop_threads() -> None:
    # A thread that still waits when the interpreter ends can abort the process: 'terminate called without an active
    # exception', status 134.
    _STOP.set()
    for thread in list(_RUNNING):
        thread.join(timeout=5)


@cures('prefetch_mode: cpu hangs for ever when a sample cannot be read, and can abort at the end of the program')
def prefetch_cpu() -> None:
    PrefetchGenerator.run, PrefetchGenerator.__next__ = _run, _next
    atexit.register(_stop_threads)


@cures('prefetch_mode: cuda may reuse the memory of a batch that the training stream still reads')
def prefetch_cuda() -> None:
    stock = CUDAPrefetcher.next

    def next(self: Any) -> dict | None:
        for value in (self.batch or {}).values():
            if torch.is_tensor(value) and value.is_cuda:
                value.record_stream(torch.cuda.current_stream())
        return stock(self)

    CUDAPrefetcher.next = next
