"""Tasks in several processes; one that dies takes nothing with it but its own task."""

import argparse
import multiprocessing
import os
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized

from ext_core.benchmark.runner import Task, perform

Ended = tuple[Task, dict[str, str]]  # and what went wrong: metric to reason
_DIED = 'its process died, perhaps for want of memory; try --processes 1'


def run_tasks(tasks: Sequence[Task], processes: int, threads: int) -> Generator[Ended, None, None]:
    """Perform tasks, each process with a number of threads; with several GPUs each process takes one in turn.

    Yields:
        tuple[Task, dict[str, str]]: A task that has ended, with what went wrong.
    """
    if processes == 1 or len(tasks) < 2:
        for task in tasks:
            yield task, perform(task)
        return
    waiting, workers = list(tasks), processes
    while waiting:
        waiting = yield from _in_pool(waiting, workers, threads)
        if waiting and workers == 1:  # it takes tasks in their order, so the first one killed it
            guilty = waiting.pop(0)
            yield guilty, dict.fromkeys(guilty.wanted, _DIED)
        workers = 1


def _in_pool(tasks: Sequence[Task], processes: int, threads: int) -> Generator[Ended, None, list[Task]]:
    """Yield what ended. Returns the tasks whose end is unknown, because a process died, in their order."""
    context = multiprocessing.get_context('spawn')  # CUDA and the threads of torch do not survive a fork
    started = context.Value('i', 0)
    pool = ProcessPoolExecutor(min(processes, len(tasks)), context, _prepare, (threads, started))
    futures: dict[Future, Task] = {}
    unknown: set[str] = set()
    try:
        for task in tasks:
            try:
                futures[pool.submit(perform, task)] = task
            except BrokenProcessPool:
                unknown.add(task.label)
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                unknown.add(futures[future].label)
    finally:  # also where the run is stopped: nothing more is started
        pool.shutdown(cancel_futures=True)
    return [task for task in tasks if task.label in unknown]


def _prepare(threads: int, started: Synchronized) -> None:
    """At the start of a process."""
    import cv2
    import torch

    from ext_core.registration import register_all

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    if torch.cuda.is_available():
        with started.get_lock():
            torch.cuda.set_device(started.value % torch.cuda.device_count())
            started.value += 1
    register_all()
    from basicsr.utils import get_root_logger

    get_root_logger().setLevel('ERROR')


def default_processes() -> tuple[int, int]:
    """Processes and threads of each that fill this machine: one process for each GPU, else for every two cores."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    processes = torch.cuda.device_count() if torch.cuda.is_available() else max(1, cores // 2)
    return processes, max(1, cores // processes)


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a whole number from 1 on, but got {text!r}')
    return int(text)
