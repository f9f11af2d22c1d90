"""A validation that two processes share gives the figures and pictures of one, bit for bit."""

import shutil
from pathlib import Path

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from degradation import Board, degradation_options
from processes import on_processes
from recipes import PIXEL, build, options
from torch import nn
from torch.utils.data import DataLoader, Dataset

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


def validate_all(rank: int, folder: Path) -> dict:
    return {name: validate(name, folder, rank, 2) for name in scenarios()}


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('shared')


@pytest.fixture(scope='module')
def shared(folder) -> list[dict]:
    """What each of two processes has."""
    return on_processes(validate_all, folder)


def pictures(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*.png')}


@pytest.mark.parametrize('scenario', list(scenarios()))
def test_figures_and_pictures_are_those_of_one_process(shared, folder, tmp_path, scenario):
    alone = validate(scenario, tmp_path)
    first, second = (found[scenario] for found in shared)
    assert first == alone  # repr() of floats is exact
    assert (first['metric_results'] == 'None') == (scenario == 'without metrics')
    assert second == {'metric_results': 'None', 'best_metric_results': 'None', 'scalars': {}}
    saved = pictures(tmp_path / scenario)
    assert len(saved) == len(scenarios()[scenario][1])
    assert pictures(folder / scenario) == saved


@pytest.mark.parametrize('model_type', ['SRModel', 'ExtSRModel', 'DegradationModel'])
def test_images_of_one_name_in_two_sets_have_a_picture_each(tmp_path, model_type):
    scenario = {'SRModel': 'BasicSR', 'ExtSRModel': 'without metrics', 'DegradationModel': 'degradation'}[model_type]
    opt, dataset = scenarios()[scenario]
    opt['path']['visualization'] = str(tmp_path)
    model = build(opt)
    images = range(len(dataset))
    for sections, folders in (({'val': 'photos'}, ['']), ({'val': 'a', 'val_2': 'b'}, ['a/', 'b/'])):
        model.opt['datasets'] = {key: {'name': name} for key, name in sections.items()}
        for name in sections.values():
            dataset.opt = {'name': name}
            model.validation(DataLoader(dataset), 7, None, save_img=True)
        expected = {f'{folder}{i}/{i}_7.png' for folder in folders for i in images}
        assert set(pictures(tmp_path)) == expected
        shutil.rmtree(tmp_path)
    assert model.opt['path']['visualization'] == str(tmp_path)
