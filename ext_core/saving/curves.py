"""TensorBoard's curves across interruptions."""

from pathlib import Path
from typing import Any

Curve = dict[int, float]  # value by iteration, ascending
Curves = dict[str, Curve]  # by tag


def forget_from(tb_logger: Any, step: int) -> None:
    """Let TensorBoard drop what was written so far of this step and later ones, because they are trained again.

    The files keep it: readers (TensorBoard, its ``EventAccumulator``) skip it when they meet the mark that this writes,
    the same that ``SummaryWriter(purge_step=...)`` writes into a new file.

    Args:
        tb_logger (SummaryWriter | None): None writes nothing.
        step (int): First iteration to be trained again.
    """
    if tb_logger is None:
        return
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    tb_logger.file_writer.add_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)), step)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(iteration, value) of every scalar that TensorBoard shows of a run, in the order of its files, by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={'scalars': 0}).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()['scalars']}


def read_curves(folder: Path) -> Curves:
    """All scalars of a run's TensorBoard folder, by their tags without ``losses/``; none where there is no folder.

    A run that was resumed has several files. Where they overlap, the value that was written last counts.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not folder.is_dir():
        return {}
    events = EventAccumulator(str(folder), size_guidance={'scalars': 0}).Reload()
    curves: Curves = {}
    for tag in events.Tags()['scalars']:
        last = {event.step: event.value for event in sorted(events.Scalars(tag), key=lambda event: event.wall_time)}
        curves[tag.removeprefix('losses/')] = dict(sorted(last.items()))
    return curves
