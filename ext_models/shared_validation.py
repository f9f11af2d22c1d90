"""A validation whose images are divided among the processes, with the figures of one process, bit for bit.

Image i is rank (i mod N)'s: it reads it, runs the network, saves the picture, computes the metrics. Rank 0 gets the
results, puts them in the order of the images and averages them in that order, as one process does.
"""

import datetime
import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from basicsr.metrics import calculate_metric
from basicsr.utils import imwrite, tensor2img
from torch import nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

TIMEOUT = datetime.timedelta(hours=12)  # for a rank whose share takes longer than the others'
Record = TypeVar('Record')

# There is no group for it where the default one talks by gloo. Else a group a process group, see _cpu_group.
_groups: dict[int, Any] = {}


# ---------------------------------------------------------------------- dividing
def shared(model: Any, dataloader: DataLoader, record: Callable[[dict], Record]) -> list[Record] | None:
    """Run ``record`` on every image of a set, each on one of the processes.

    Every process must call it. The networks are rank 0's: the parameters of ``net_g`` are alike on all ranks anyway,
    by DistributedDataParallel, but running statistics are not, and the averaged ones follow those.

    Args:
        model (BaseModel): Its ``net_g`` is without wrapper, and in rank 0's state meanwhile.
        dataloader (DataLoader): Of single images, in order.
        record (Callable[[dict], Record]): Makes an image's result from its batch; to be pickled.

    Returns:
        list[Record] | None: The results in the order of the images, on rank 0. None on the others.
    """
    rank, world_size = dist.get_rank(), dist.get_world_size()
    count = len(dataloader.dataset)  # type: ignore[arg-type]
    loader = DataLoader(
        Subset(dataloader.dataset, range(rank, count, world_size)),
        num_workers=dataloader.num_workers,
        pin_memory=dataloader.pin_memory,
        collate_fn=dataloader.collate_fn,
    )
    own = []
    hidden = rank != 0 or not model.opt['val'].get('pbar', False)
    with _networks_of_rank_0(model), tqdm(total=count, unit='image', disable=hidden) as bar:
        for data in loader:
            own.append(record(data))
            bar.update(min(world_size, count - bar.n))  # the others are about as far
    parts: list | None = [None] * world_size if rank == 0 else None
    dist.gather_object(own, parts, group=_cpu_group())
    if parts is None:
        return None
    whole: list = [None] * count
    for number, part in enumerate(parts):
        whole[number::world_size] = part
    return whole


def _cpu_group() -> Any:
    """All processes, talking by gloo: no wait for the device, and no copies to it."""
    world = dist.group.WORLD
    if dist.get_backend() == 'gloo':
        return world
    if id(world) not in _groups:
        _groups[id(world)] = dist.new_group(backend='gloo', timeout=TIMEOUT)
    return _groups[id(world)]


@contextmanager
@torch.no_grad()
def _networks_of_rank_0(model: Any) -> Iterator[None]:
    """Rank 0's buffers in ``net_g``, for the time of the context; rank 0's ``net_g_ema``, which serves nothing else."""
    network, average = getattr(model, 'net_g', None), getattr(model, 'net_g_ema', None)
    buffers = list(network.buffers()) if isinstance(network, nn.Module) else []
    own = [buffer.clone() for buffer in buffers]
    averaged = [*average.parameters(), *average.buffers()] if isinstance(average, nn.Module) else []
    for tensor in (*buffers, *averaged):
        dist.broadcast(tensor, 0)
    try:
        yield
    finally:
        for buffer, value in zip(buffers, own, strict=True):
            buffer.copy_(value)


# ---------------------------------------------------------------------- what BasicSR's SRModel does with a set
def image_record(model: Any, data: dict, dataset: str, current_iter: int | str, save_img: bool) -> dict[str, float]:
    """One image as ``SRModel.nondist_validation`` treats it; returns its metrics."""
    model.feed_data(data)
    model.test()
    visuals = model.get_current_visuals()
    images = {'img': tensor2img([visuals['result']])}
    if 'gt' in visuals:
        images['img2'] = tensor2img([visuals['gt']])
        del model.gt
    del model.lq, model.output  # whole images: their memory is the training's
    if save_img:
        imwrite(images['img'], str(image_path(model.opt, dataset, data['lq_path'][0], current_iter)))
    metrics = model.opt['val'].get('metrics') or {}
    return {name: calculate_metric(images, options) for name, options in metrics.items()}


def conclude(model: Any, results: dict[str, float], dataset: str, current_iter: int | str, tb_logger: Any) -> None:
    """Best values, log and TensorBoard of a set's figures, as at the end of ``SRModel.nondist_validation``."""
    model._initialize_best_metric_results(dataset)
    model.metric_results = results
    for name, value in results.items():
        model._update_best_metric_result(dataset, name, value, current_iter)
    model._log_validation_metric_values(current_iter, dataset, tb_logger)


def means(records: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of each figure, added up one by one in the order of the images. (``sum`` compensates since Python 3.12.)"""
    return {
        name: functools.reduce(operator.add, (record[name] for record in records), 0) / len(records)
        for name in records[0]
    }


def image_path(opt: dict, dataset: str, source: str, current_iter: int | str) -> Path:
    """Where BasicSR saves a validation image."""
    folder, stem = Path(opt['path']['visualization']), Path(source).stem
    if opt['is_train']:
        return folder / stem / f'{stem}_{current_iter}.png'
    return folder / dataset / f'{stem}_{opt["val"].get("suffix") or opt["name"]}.png'
