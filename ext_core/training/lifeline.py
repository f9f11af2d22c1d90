"""A rank that fails or dies ends the others in seconds, and the first error is shown first.

Each rank holds a connection to rank 0 beside the collectives. The kernel closes it when a process ends, however it
ends: nothing is polled, and no slow rank is taken for a dead one. It is needed where no collective fails (a rank that
waits for its GPU), and where no agent ends the others: Slurm does so only with ``srun --kill-on-bad-exit``. Rank 0
decides whose error was first.

    rank -> 0   failed, summary    may I tell? Answered when it may; else when the first one has told
    rank -> 0   heard              of the first failure
    rank -> 0   ended              all is done here
    0 -> rank   tied               all are connected
    0 -> rank   failed, rank, summary    the first failure
    0 -> rank   ended              all is done everywhere
"""

import contextlib
import json
import multiprocessing
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Client, Connection, Listener
from typing import Any, NoReturn

from ext_core.errors import print_line

# Seconds for a process that was told of another's failure to end by itself: its collectives fail, too, and on the way
# out it closes its files. It may be waiting for a GPU instead, where no Python code runs.
GRACE = 5.0
PATIENCE = 10.0  # seconds in which rank 0 answers, unless something is very wrong
_PEER_ERRORS = ('peer', 'gloo', 'NCCL', 'Broken pipe', 'TCPStore', 'Socket')
_DEAD = 'ended without a message (killed, perhaps for lack of memory)'


class Lifeline:
    """This process's connections to the others. Every rank must make one at the same time, in the default group.

    Args:
        rank (int): Of this process.
        world_size (int): Number of processes, at least 2.
    """

    def __init__(self, rank: int, world_size: int):
        import torch.distributed as dist

        self.rank, self.world_size = rank, world_size
        self._lock = threading.RLock()
        self._first: tuple[int, str] | None = None  # rank and summary of the first failure
        self._told = threading.Event()  # the first failure has been shown, or this process may show its own
        self._over = threading.Event()  # all ranks have ended without one
        self._mentioned = False
        self._ended: set[int] = set()
        self._informed: set[int] = set()  # on rank 0: who knows of the first failure, or has ended
        self._lines: dict[int, Connection] = {}
        listener = Listener(('', 0), backlog=world_size, authkey=secrets.token_bytes()) if rank == 0 else None
        meeting: list = [(listener.address[1], listener._authkey) if listener else None]  # type: ignore[attr-defined]
        dist.broadcast_object_list(meeting)
        os.register_at_fork(after_in_child=self._let_go)
        self._tied = threading.Event()
        _start(self._welcome if listener else self._connect, listener or meeting[0])
        if not self._tied.wait(PATIENCE):
            self._warn('not all processes have connected to rank 0')

    # ------------------------------------------------------------------ what the main thread calls
    def leave(self) -> None:
        """Wait until all ranks are done. A launcher ends the others as soon as one exits with another status than 0."""
        with self._lock:
            self._ended.add(self.rank)
            self._send(0, 'ended')
            self._end_if_all_have()
        if self._lines:
            self._over.wait()

    def is_first(self, error: BaseException, summary: str) -> bool:
        """Whether no other rank failed before this one, whose error should be shown then."""
        if _names_peers(error):
            self._told.wait(GRACE)  # the other process's own words, or its end, are on the way
        with self._lock:
            if self.rank == 0 and self._first is None:
                self._first = (0, summary)
                return True
            self._send(0, 'failed', summary)
        self._told.wait(PATIENCE)
        return self._first is None or self._first[0] == self.rank

    def end(self, status: int) -> NoReturn:
        """End this process, which failed, at once: what it left on the GPU or in collectives may never finish."""
        if self._first is not None and self._first[0] != self.rank:
            self._mention()
        elif self.rank == 0:
            self._tell()
        deadline = time.monotonic() + GRACE
        # ending with their messages unread would reset the connections, and so drop ours to them
        while self.rank == 0 and not self._informed >= self._lines.keys() and time.monotonic() < deadline:
            time.sleep(0.01)
        end_process(status)

    # ------------------------------------------------------------------ connecting
    def _welcome(self, listener: Listener) -> None:
        """Rank 0: a thread for each of the others."""
        with listener:
            while len(self._lines) < self.world_size - 1:
                with contextlib.suppress(OSError, EOFError, multiprocessing.AuthenticationError):  # a port scanner
                    line = listener.accept()
                    rank = json.loads(line.recv_bytes())
                    _keep_alive(line)
                    self._lines[rank] = line
                    _start(self._attend, rank, line)
        self._tied.set()
        with self._lock:
            for rank in self._lines:
                self._send(rank, 'tied')

    def _connect(self, meeting: tuple[int, bytes]) -> None:
        """The others: the address of rank 0 is the one where they all met."""
        port, key = meeting
        try:
            line = Client((os.environ['MASTER_ADDR'], port), authkey=key)
        except (OSError, EOFError) as error:
            self._warn(f'no connection to {os.environ["MASTER_ADDR"]}:{port} ({error})')
            return
        line.send_bytes(json.dumps(self.rank).encode())
        _keep_alive(line)
        self._lines[0] = line
        self._attend(0, line)

    def _warn(self, reason: str) -> None:
        print_line(
            f'[rank {self.rank}] warning: {reason}: where one process fails, others may wait for it. Open the ports '
            'between the machines.'
        )

    def _let_go(self) -> None:
        """In a forked worker of a DataLoader, whose copy would keep a dead process's connection open."""
        for line in self._lines.values():
            line.close()

    # ------------------------------------------------------------------ listening
    def _attend(self, rank: int, line: Connection) -> None:
        for kind, *content in _messages(line):
            with self._lock:
                if kind == 'ended' and self.rank == 0:
                    self._ended.add(rank)
                    self._end_if_all_have()
                elif kind == 'ended':
                    self._over.set()
                elif kind == 'tied':
                    self._tied.set()
                elif kind == 'heard':
                    self._informed.add(rank)
                elif self.rank == 0:
                    self._hear_failure(rank, content[0])
                else:
                    self._first = (content[0], content[1])
                    self._send(0, 'heard')
                    self._told.set()
            if kind == 'failed' and self._first and self._first[0] != self.rank != 0:
                self._give_way()
        self._lost(rank)

    def _hear_failure(self, rank: int, summary: str) -> None:
        if self._first is None:
            self._first = (rank, summary)
            self._send(rank, 'failed', *self._first)

    def _lost(self, rank: int) -> None:
        """The connection is closed, so the process has ended."""
        with self._lock:
            self._informed.add(rank)
            if self._over.is_set() or (self.rank == 0 and rank in self._ended):
                return
            if self._first is None:
                self._first = (rank, _DEAD)
            if self._first[0] == self.rank or (self.rank == 0 and self._first[0] != rank):
                return  # this process tells; or another one is still telling
        if self.rank == 0:
            self._tell()
        self._told.set()
        self._give_way()

    def _end_if_all_have(self) -> None:
        if self.rank == 0 and self._ended >= {0, *self._lines}:
            self._over.set()
            for rank in self._lines:
                self._send(rank, 'ended')

    # ------------------------------------------------------------------ telling
    def _tell(self) -> None:
        """Rank 0: pass on the first failure, which has been shown by now."""
        with self._lock:
            assert self._first is not None
            for rank in self._lines:
                if rank != self._first[0]:
                    self._send(rank, 'failed', *self._first)

    def _send(self, rank: int, *message: Any) -> None:
        if rank in self._lines:
            with contextlib.suppress(OSError):  # it has ended
                self._lines[rank].send_bytes(json.dumps(message).encode())

    def _give_way(self) -> NoReturn:
        """End this process, which another's failure has made useless, if it does not do so itself."""
        time.sleep(GRACE)
        self._mention()
        end_process(1)

    def _mention(self) -> None:
        """One line that names the first failure, once."""
        with self._lock:
            if self._mentioned or self._first is None:
                return
            self._mentioned = True
            line = f'stopped, because rank {self._first[0]} failed: {self._first[1]}'
        _report(self.rank, line)


def end_process(status: int) -> NoReturn:
    """End this process without waiting for anything: its DataLoader's workers, threads, or pending collectives."""
    for worker in multiprocessing.active_children():
        worker.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def tell_torchrun(summary: str) -> None:
    """Put an error into the table that torchrun prints at its end."""
    if path := os.environ.get('TORCHELASTIC_ERROR_FILE'):
        message = {'message': summary, 'extraInfo': {'timestamp': str(int(time.time()))}}
        with contextlib.suppress(OSError), open(path, 'w', encoding='utf-8') as file:
            json.dump({'message': message}, file)


def _report(rank: int, line: str) -> None:
    """To the terminal; on rank 0 by BasicSR's logger, so that the experiment's log has it, too."""
    import logging

    logger = logging.getLogger('basicsr')
    if rank == 0 and logger.hasHandlers():
        logger.error(line)
    else:
        print_line(f'[rank {rank}] {line}')


def _names_peers(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, looks like what another process's end makes of a collective."""
    while error is not None:
        if isinstance(error, RuntimeError | ConnectionError) and any(word in str(error) for word in _PEER_ERRORS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _messages(line: Connection) -> Iterator[list]:
    """What comes in, until the other end closes."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            yield json.loads(line.recv_bytes())


def _keep_alive(line: Connection) -> None:
    """Have the kernel notice within a minute that the other machine is gone."""
    with socket.fromfd(line.fileno(), socket.AF_INET, socket.SOCK_STREAM) as copy:
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (('TCP_KEEPIDLE', 30), ('TCP_KEEPINTVL', 10), ('TCP_KEEPCNT', 3)):
            if hasattr(socket, option):
                copy.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _start(work: Any, *arguments: Any) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()
