"""Enlarge many files: reading and writing go on in the background, and a bad file does not stop the others."""

import math
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from ext_core.atomic import atomic_write_bytes
from ext_core.errors import UserError, failure_text
from ext_core.use.enlarge import Enlarger
from ext_core.use.image_names import Job, named
from ext_core.use.photographs import Photograph, encode, is_deep_format, read_photograph


@dataclass
class Outcome:
    """What became of one image; sizes are (width, height)."""

    source: str
    target: str
    status: str = 'made'  # 'there' (from before) or 'failed'
    size: tuple[int, int] | None = None
    result_size: tuple[int, int] | None = None
    seconds: float | None = None  # in the network, without reading and writing
    seconds_per_megapixel: float | None = None  # of the result
    notes: list[str] = field(default_factory=list)  # what could not be kept
    error: str | None = None

    def fail(self, error: BaseException) -> None:
        self.status, self.error = 'failed', failure_text(error)


def enlarge_files(
    jobs: Sequence[Job], enlarger: Enlarger, quality: int = 95, overwrite: bool = False, workers: int = 2
) -> list[Outcome]:
    """Enlarge files, one after the other.

    Args:
        jobs (Sequence[Job]): From :func:`ext_core.use.image_names.plan`; the outcomes have their order.
        enlarger (Enlarger): Its ``say`` and ``tell`` are set here, to the progress line.
        quality (int): Of JPEG and WebP, 1 to 100. Default: 95.
        overwrite (bool): Make those again whose results are there. Default: False.
        workers (int): Threads that read, and as many that write; so many images are held besides that in work. 0: one
            thing after the other. Default: 2.
    """
    outcomes = {job: Outcome(str(job.source), str(job.target)) for job in jobs}
    todo = [job for job in jobs if overwrite or not job.target.is_file()]
    for job in set(jobs) - set(todo):
        outcomes[job].status = 'there'
    readers, writers = (ThreadPoolExecutor(max(workers, 1)) for _ in range(2))
    reading: deque[tuple[Job, Future[Photograph]]] = deque()
    writing: deque[tuple[Outcome, Future]] = deque()

    def write(photograph: Photograph, job: Job) -> None:
        content = encode(photograph, job.target.suffix, quality)
        job.target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(content, job.target)

    def finish(most: int) -> None:
        """Wait until no more than so many are being written."""
        while len(writing) > most:
            outcome, future = writing.popleft()
            if not future.cancelled() and (error := future.exception()) is not None:
                outcome.fail(error)

    # disable=None: no line where nobody watches, in a pipe or a file
    bar = tqdm(total=len(todo), unit='image', dynamic_ncols=True, smoothing=0.1, disable=None)
    enlarger.say = bar.write
    enlarger.tell = lambda done, total: bar.set_postfix_str(f'tile {done}/{total}') if total > 1 else None
    rest, stopped = iter(todo), True
    try:
        while True:
            for job in islice(rest, workers + 1 - len(reading)):
                reading.append((job, readers.submit(read_photograph, job.source)))
            if not reading:
                break
            job, photograph = reading.popleft()
            outcome = outcomes[job]
            bar.set_description_str(job.source.name[:24])
            try:
                image = photograph.result()
                deep = image.deep and is_deep_format(job.target.suffix)
                if image.deep and not deep:
                    image.notes.append(f'16 bits reduced to 8, because {job.target.suffix} has no more')
                outcome.notes = image.notes
                outcome.size = image.pixels.shape[1], image.pixels.shape[0]
                started = time.perf_counter()
                result = enlarger(image, deep)  # on the CPU, so that a GPU has finished
                outcome.seconds = time.perf_counter() - started
                width, height = outcome.result_size = result.pixels.shape[1], result.pixels.shape[0]
                outcome.seconds_per_megapixel = outcome.seconds / (width * height / 1e6)
                writing.append((outcome, writers.submit(write, result, job)))
                finish(workers)
            except Exception as error:  # one bad file does not stop the rest, whatever is the matter with it
                outcome.fail(error)
            bar.set_postfix_str('')
            bar.update()
        stopped = False
    finally:  # files that are being written are finished, after Ctrl-C too
        for pool in (readers, writers):
            pool.shutdown(wait=True, cancel_futures=stopped)
        finish(0)
        bar.close()
    return list(outcomes.values())


def summary(outcomes: Sequence[Outcome], left_out: Sequence[Path] = ()) -> str:
    """What was done and what was left out, for people."""
    by_status = {status: [one for one in outcomes if one.status == status] for status in ('made', 'there', 'failed')}
    made = by_status['made']
    counts = [f'{len(made)} images made']
    if made:
        seconds = sum(outcome.seconds or 0 for outcome in made)
        megapixels = sum(math.prod(outcome.result_size or (0, 0)) for outcome in made) / 1e6
        counts[0] += f' in {seconds:.1f} s ({seconds / max(megapixels, 1e-9):.2f} s for each megapixel of the results)'
    if by_status['there']:
        counts.append(f'{len(by_status["there"])} there before (--overwrite makes them again)')
    if by_status['failed']:
        counts.append(f'{len(by_status["failed"])} failed')
    if left_out:
        counts.append(f'{len(left_out)} left out: {named(left_out)}')
    notes = [f'  {outcome.source}: {note}' for outcome in made for note in outcome.notes]
    return '\n'.join([', '.join(counts) + '.', *notes])


def failures(outcomes: Sequence[Outcome]) -> None:
    """Raise a UserError that names what failed, if anything did."""
    failed = {outcome.source: outcome.error or '' for outcome in outcomes if outcome.status == 'failed'}
    if failed:
        lines = [f'  {e}' if e.startswith(source) else f'  {source}: {e}' for source, e in failed.items()]
        raise UserError('\n'.join([f'{len(lines)} of {len(outcomes)} images could not be enlarged:', *lines]))
