"""Run by torchrun: validate with two processes, each saves what it has: ``shared_validation_ranks.py FOLDER``."""

import os
import sys
from pathlib import Path

import torch

from ext_core.registration import register_all

register_all()

from basicsr.utils.registry import ARCH_REGISTRY  # noqa: E402
from degradation import Board, degradation_options  # noqa: E402
from recipes import PIXEL, build, options  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

NIQE = {'type': 'calculate_niqe', 'crop_border': 0, 'better': 'lower'}
PSNR = {'type': 'calculate_psnr', 'crop_border': 0}
SSIM = {'type': 'calculate_ssim', 'crop_border': 0}
PAIRED = {'psnr': PSNR, 'ssim': SSIM}


@ARCH_REGISTRY.register()
class NormedFilter(nn.Sequential):
    """At scale 1, with running statistics, which each process has its own of."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))


class Photos(Dataset):
    """Images of different sizes, with or without GT."""

    def __init__(self, count: int, target: bool = True, side: int = 24):
        self.opt = {'name': 'photos'}
        self.count, self.target, self.side = count, target, side

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(index)
        lq = torch.rand(3, self.side + 4 * index, self.side, generator=generator)
        return {'lq': lq, 'lq_path': f'{index}.png'} | ({'gt': lq.sqrt()} if self.target else {})


class Unpaired(Dataset):
    """As UnpairedImageDataset gives it."""

    opt = {'name': 'photos'}

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(index)
        gt, real = (torch.rand(3, side, side, generator=generator) for side in (64, 24 + 4 * index))
        return {'gt': gt, 'real_lq': real, 'lq_path': f'{index}.png'}


def paired_options(model_type: str, metrics: dict | None = None, **train) -> dict:
    opt = options(model_type, discriminator=None, pixel_opt=PIXEL, **train)
    return opt | {'scale': 1, 'network_g': {'type': 'NormedFilter'}, 'val': {'metrics': metrics, 'pbar': False}}


def scenarios() -> dict[str, tuple[dict, Dataset]]:
    return {
        'BasicSR': (paired_options('SRModel', PAIRED), Photos(5)),
        'BasicSR, averaged': (paired_options('SRModel', PAIRED, ema_decay=0.5), Photos(4)),
        'ours, averaged': (paired_options('ExtSRModel', PAIRED, ema_decay=0.5), Photos(5)),
        'fewer images than processes': (paired_options('ExtSRModel', PAIRED), Photos(1)),
        'without target': (paired_options('ExtSRModel', {'niqe': NIQE}), Photos(3, target=False, side=200)),
        'without metrics': (paired_options('ExtSRModel'), Photos(3)),
        'degradation': (degradation_options('TinyFilter', pixel_opt=PIXEL), Unpaired()),
    }


def validate(name: str, folder: Path, rank: int = 0, world_size: int = 1) -> dict:
    """The state of this process after a validation of one scenario; pictures go to ``folder``."""
    torch.set_num_threads(1)
    opt, dataset = scenarios()[name]
    opt.update(dist=world_size > 1, world_size=world_size, rank=rank)
    opt['path']['visualization'] = str(folder / name)
    model = build(opt)
    for net in (model.net_g, getattr(model, 'net_g_ema', None)):
        for buffer in net.buffers() if net is not None else ():
            buffer.add_(rank)  # apart, as a training step leaves them
    before = [buffer.clone() for buffer in model.net_g.buffers()]
    model.gt = torch.zeros(1, 3, 8, 8)  # of a training batch
    board = Board()
    with torch.random.fork_rng():
        state = torch.get_rng_state()
        model.validation(DataLoader(dataset), 7, board if rank == 0 else None, save_img=True)
        assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(*pair) for pair in zip(before, model.net_g.buffers(), strict=True))
    assert not hasattr(model, 'output') or not len(range(rank, len(dataset), world_size))
    as_text = {key: repr(getattr(model, key, None)) for key in ('metric_results', 'best_metric_results')}
    return as_text | {'scalars': {key: float(value) for key, value in board.scalars.items()}}


def main() -> None:
    from basicsr.utils.dist_util import init_dist

    init_dist('pytorch')
    folder, rank = Path(sys.argv[1]), int(os.environ['RANK'])
    torch.save({name: validate(name, folder, rank, 2) for name in scenarios()}, folder / f'{rank}.pth')
    torch.distributed.destroy_process_group()


if __name__ == '__main__':
    main()
