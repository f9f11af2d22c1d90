"""Checkpoints beside the training: the loop only names what is to be saved, a thread copies it and writes it."""

import functools
import json
import threading
import time
from collections.abc import Callable, Collection, Sequence
from operator import attrgetter
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from torch import Tensor, nn

from ext_core.errors import UserError
from ext_core.saving.buffers import BufferFinder
from ext_core.saving.checkpoint import Written, atomic_save, atomic_write_text
from ext_core.saving.manifest import remove_older, write_manifest
from ext_core.saving.snapshots import Snapshots, frozen, rebuilt


class _File(NamedTuple):
    path: str | Path  # a text until there is time
    content: Callable[[], Any]
    iteration: int | None


class _Job(NamedTuple):
    files: list[_File]
    notes: dict[Path, dict]
    versions: int


class CheckpointWriter:
    """Collects the files of a checkpoint, and writes them together.

    Between :meth:`submit` and the next change of the weights a thread copies them; then it writes the copies. The loop
    goes on at once, and waits in two cases only: an optimizer or the moving average is about to change tensors that
    are not copied yet, or the next checkpoint comes before the last one is on the disk. So there is at most one.

    What fails in the thread is raised by whichever method the loop calls next. Use as a context manager around the
    loop: its end waits until all is on the disk. Outside of it :meth:`submit` itself writes.

    Args:
        states (Path): Folder of the training states, for the manifests.
        in_background (bool): False writes in :meth:`submit`, and copies nothing. Default: True.
        keep_last (int | None): How many numbered checkpoints to keep, see
            :func:`ext_core.saving.manifest.remove_older`. Default: None, all.
        in_use (Collection[Path]): Files that must not be removed.
        complain (Callable[[str], None]): Gets an error that would hide another one. Default: print.

    Attributes:
        waited (float): Seconds that the loop has waited in the two cases.
    """

    def __init__(
        self,
        states: Path,
        in_background: bool = True,
        keep_last: int | None = None,
        in_use: Collection[Path] = (),
        complain: Callable[[str], None] = print,
    ):
        self.states = states
        self.in_background = in_background
        self.keep_last = keep_last
        self.in_use = in_use
        self.complain = complain
        self.waited = 0.0
        self._files: list[_File] = []
        self._notes: dict[Path, dict] = {}
        self._parameters: list[Tensor] = []
        self._snapshots = Snapshots()
        self._finder: BufferFinder | None = None  # inside of the loop
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._settled, self._written = threading.Event(), threading.Event()
        self._settled.set()
        self._written.set()
        self._failure: BaseException | None = None

    def guard(self, model: Any) -> None:
        """Let the model's optimizers and its moving average wait for the copies, and forget a former model.

        Args:
            model (BaseModel): With all of its networks and optimizers.
        """
        if not self.in_background:
            return
        self._snapshots.begin()
        self._parameters = []
        for optimizer in model.optimizers:
            optimizer.register_step_pre_hook(lambda *step: self.settle())
            self._parameters += [parameter for group in optimizer.param_groups for parameter in group['params']]
        if average := getattr(model, 'model_ema', None):

            @functools.wraps(average)
            def guarded(*args: Any, **kwargs: Any) -> Any:
                self.settle()
                return average(*args, **kwargs)

            model.model_ema = guarded

    # ------------------------------------------------------------------ what the loop calls
    def add(
        self,
        path: str | Path,
        content: Callable[[], Any],
        iteration: int | None = None,
        networks: Sequence[nn.Module] = (),
    ) -> None:
        """Name a file of the next checkpoint.

        Args:
            path (str | Path): The file.
            content (Callable[[], Any]): Gives what is to be saved, without copying it. It is called later, but before
                weights, moving averages and optimizer states change; nothing else in it may change.
            iteration (int | None): The iteration whose manifest names the file. Default: None, of none.
            networks (Sequence[Module]): Networks that ``content`` reads. What else than their parameters is in them,
                such as running statistics, is copied here: forward passes change it.

        Raises:
            UserError: If the last checkpoint could not be written.
        """
        self.drain()
        if not self._files:
            self._snapshots.begin()
        if self._finder and networks:
            content = self._with_buffers(content, self._finder.of(networks))
        self._files.append(_File(path, content, iteration))

    def _with_buffers(self, content: Callable[[], Any], buffers: list[Tensor] | None) -> Callable[[], Any]:
        if buffers is None:
            copied = frozen(content())
            return lambda: copied
        if not buffers:
            return content
        value = content()  # now: a module may put another tensor in a buffer's place
        self._snapshots.take(buffers)
        return lambda: value

    def note(self, path: Path, figures: dict) -> None:
        """Write a JSON file beside ``path``, after it: these figures, and the size and checksum of the file."""
        self._notes[path] = figures

    def submit(self) -> None:
        """Write what was added since the last time; nothing, if nothing was.

        Raises:
            UserError: If that is not done in the background and fails.
        """
        if not self._files:
            return
        job = _Job(self._files, self._notes, self._versions())
        self._files, self._notes = [], {}
        if not self._finder:
            self._write(job, [rebuilt(file.content(), lambda t: t.detach().cpu()) for file in job.files])
            return
        self._settled.clear()
        self._written.clear()
        if self._thread is None:
            # Not a daemon: if the process ends while it writes, the interpreter waits for it.
            self._thread = threading.Thread(target=self._work, name='checkpoints')
            self._thread.start()
        self._jobs.put(job)

    def settle(self) -> None:
        """Wait until weights may change."""
        self._wait(self._settled)

    def drain(self) -> None:
        """Wait until the last checkpoint is on the disk.

        Raises:
            UserError: If it could not be written.
        """
        self._wait(self._written)
        self.raise_failure()

    def _wait(self, event: threading.Event) -> None:
        if not event.is_set():
            started = time.perf_counter()
            event.wait()
            self.waited += time.perf_counter() - started

    def raise_failure(self) -> None:
        """Raise what went wrong in the thread, once; waits for nothing."""
        failure, self._failure = self._failure, None
        if failure is not None:
            self._files, self._notes = [], {}
            raise failure

    def finish(self) -> None:
        """:meth:`submit` and :meth:`drain`."""
        self.submit()
        self.drain()

    def __enter__(self) -> 'CheckpointWriter':
        if self.in_background:
            self._finder = BufferFinder()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        try:
            if kind is None:
                self.finish()
            else:
                self._finish_quietly()
        finally:
            if self._finder:
                self._finder.close()
                self._finder = None
            if self._thread is not None:
                self._jobs.put(None)
                self._thread = None

    def _finish_quietly(self) -> None:
        """What was not submitted is dropped; what fails does not hide the exception that ends the run."""
        self._files, self._notes = [], {}
        try:
            self.drain()
        except UserError as error:
            self.complain(str(error))

    # ------------------------------------------------------------------ the thread
    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._copy_and_write(job)
            except BaseException as error:
                self._failure = error
            finally:
                del job  # and with it what the copies were made of
                self._written.set()

    def _copy_and_write(self, job: _Job) -> None:
        try:
            contents = self._snapshots.take([file.content() for file in job.files])
            unchanged = job.versions == self._versions()
        finally:
            self._settled.set()
        if not unchanged:
            raise UserError(
                'weights changed while they were being saved: this model changes them outside of its optimizers. '
                'Set logger:save_in_background: false. Earlier checkpoints are complete.'
            )
        self._snapshots.fetch()
        self._write(job, contents)

    def _versions(self) -> int:
        """A number that grows with each change of the optimized parameters."""
        return sum(map(attrgetter('_version'), self._parameters))

    def _write(self, job: _Job, contents: list[Any]) -> None:
        """The files in the order in which they were added, then what declares them whole, then what is superfluous."""
        written: dict[int, dict[Path, Written]] = {}
        for file, content in zip(job.files, contents, strict=True):
            path = Path(file.path)
            record = atomic_save(content, path)
            if file.iteration is not None:
                written.setdefault(file.iteration, {})[path] = record
            if path in job.notes:
                text = json.dumps({'file': path.name, **job.notes[path], **record._asdict()}, indent=1)
                atomic_write_text(text + '\n', path.with_suffix('.json'))
        for iteration, records in written.items():
            if self.states / f'{iteration}.state' in records:
                write_manifest(self.states, iteration, records)
                if self.keep_last is not None:
                    remove_older(self.states, self.keep_last, iteration, self.in_use)
