"""Scenarios: several processes, validation, checkpoints, BasicSR's models and losses."""

import contextlib
import os
import random
import sys
from collections.abc import Iterator
from types import ModuleType
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
from compat_real_esrgan import real_esrgan, real_esrgan_batch
from compat_tools import folder, model, process_group, raises, scenario
from torch import nn
from torch.distributed import distributed_c10d
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

ADDRESS = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': '29599', 'RANK': '0', 'LOCAL_RANK': '0', 'WORLD_SIZE': '1'}


# -------------------------------------------------------------------------------------------------- several processes


@scenario('start_method', "start method is 'spawn'")
def workers_are_forked() -> None:
    import torch.multiprocessing as mp
    from basicsr.utils.options import init_dist

    before = mp.get_start_method(allow_none=True)
    mp.set_start_method(None, force=True)
    try:
        with mock.patch.dict(os.environ, ADDRESS), _joining():
            with contextlib.suppress(ZeroDivisionError):  # the next cause
                init_dist('pytorch')
            assert mp.get_start_method(allow_none=True) == 'fork', f'start method is {mp.get_start_method()!r}'
    finally:
        mp.set_start_method(before, force=True)


def _expect_gloo(joined: mock.Mock) -> None:
    assert joined.call_args.kwargs['backend'] == 'gloo'
    assert joined.call_args.kwargs['timeout'].total_seconds() == 600, 'to meet'
    assert joined.patience.call_args.args[0].total_seconds() == 12 * 3600, 'afterwards'


@contextlib.contextmanager
def _joining() -> Iterator[mock.Mock]:
    later = mock.patch.object(distributed_c10d, '_set_pg_timeout')
    with mock.patch.object(dist, 'init_process_group') as joined, later as joined.patience:
        yield joined


def _without_cuda() -> contextlib.ExitStack:
    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(torch.cuda, 'is_available', return_value=False))
    stack.enter_context(mock.patch.object(torch.cuda, 'device_count', return_value=0))
    return stack


@scenario('dist_init', 'ZeroDivisionError')
def torchrun_without_cuda() -> None:
    from basicsr.utils import dist_util

    with _without_cuda(), mock.patch.dict(os.environ, ADDRESS), _joining() as joined:
        dist_util._init_dist_pytorch('nccl')
    _expect_gloo(joined)


@scenario('slurm_init', 'ZeroDivisionError')
def slurm_without_cuda() -> None:
    from basicsr.utils import dist_util

    job = {'SLURM_PROCID': '3', 'SLURM_NTASKS': '4', 'SLURM_NODELIST': 'node[7-8]', 'SLURM_LOCALID': '1'}
    with folder() as bin_folder, _without_cuda(), _joining() as joined:
        tool = bin_folder / 'scontrol'
        tool.write_text('#!/bin/sh\n[ "$*" = "show hostname node[7-8]" ] && printf "node7\\nnode8\\n"\n')
        tool.chmod(0o755)
        with mock.patch.dict(os.environ, {**job, 'PATH': f'{bin_folder}:{os.environ["PATH"]}'}):
            dist_util._init_dist_slurm('nccl', port=29511)
            found = {key: os.environ[key] for key in ADDRESS}
    _expect_gloo(joined)
    assert found == {'MASTER_ADDR': 'node7', 'MASTER_PORT': '29511', 'RANK': '3', 'LOCAL_RANK': '1', 'WORLD_SIZE': '4'}


@scenario('model_to_device', 'CUDA|NVIDIA')
def wrap_network_on_cpu() -> None:
    with process_group():
        net = model(dist=True).model_to_device(nn.Linear(2, 2))
        assert isinstance(net, DistributedDataParallel)
        assert net.device_ids is None


# --------------------------------------------------------------------------------------------------------- validation


@scenario('validation', 'rank 0 alone runs DistributedDataParallel')
def validate_bare_network() -> None:
    def look(dataloader: object, current_iter: int, tb_logger: object, save_img: bool) -> None:
        assert type(one.net_g) is nn.BatchNorm2d, f'rank 0 alone runs {type(one.net_g).__name__}'

    with process_group():
        one = model(dist=True)
        one.net_g = wrapped = DistributedDataParallel(nn.BatchNorm2d(2))
        one.dist_validation = look
        one.validation(None, 1, None)
        assert one.net_g is wrapped


@scenario('validation', 'the last training batch')
def validate_without_target() -> None:
    def look(*args: object) -> None:
        assert not hasattr(one, 'gt'), 'the target is that of the last training batch'

    one = model()
    one.gt = torch.zeros(1)
    one.nondist_validation = look
    one.validation(None, 1, None)


@scenario('validation', 'moved the random state')
def validate_without_drawing() -> None:
    from basicsr.utils import set_random_seed

    def draw() -> tuple[float, ...]:
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002, what BasicSR draws from

    one = model()
    one.nondist_validation = lambda loader, *args: [list(loader), draw()]
    set_random_seed(0)
    expected = draw()
    set_random_seed(0)
    one.validation(DataLoader([1, 2]), 1, None)
    assert draw() == expected, 'validation moved the random state'


@scenario('validation_sides', '^AssertionError: $')
def validate_any_size() -> None:
    from basicsr.archs.rrdbnet_arch import RRDBNet
    from basicsr.models.sr_model import SRModel

    one = SRModel.__new__(SRModel)
    one.opt = {}
    one.net_g, one.lq = RRDBNet(3, 3, 2, num_feat=4, num_block=1, num_grow_ch=4), torch.rand(1, 3, 15, 16)
    one.test()
    assert one.output.shape == (1, 3, 30, 32)


@scenario('shared_validation', 'this process looks at 0 of 2 images')
def validate_a_share() -> None:
    from basicsr.models.sr_model import SRModel

    def feed_data(data: dict) -> None:
        one.lq = data['lq']
        seen.append(data['lq_path'])

    class Photos(list):
        opt = {'name': 'photos'}

    seen: list[object] = []
    one = SRModel.__new__(SRModel)
    one.opt, one.is_train = {'dist': True, 'rank': 1, 'val': {}}, False  # the second process, of a group of its own
    one.feed_data = feed_data
    one.test = lambda: setattr(one, 'output', one.lq)
    photos = Photos({'lq': torch.zeros(3, 4, 4), 'lq_path': f'{number}.png'} for number in range(2))
    with process_group():
        one.validation(DataLoader(photos), 1, None, save_img=False)
    assert len(seen) == 2, f'this process looks at {len(seen)} of 2 images'


# -------------------------------------------------------------------------------------------------------- checkpoints


def _load(content: object, *args: object, net: nn.Module | None = None, **kwargs: object) -> nn.Module:
    """Save ``content`` (bytes as they are) as other.pth, and load it into a linear layer named net_g."""
    with folder() as path:
        file = path / 'other.pth'
        file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
        one = model()
        one.net_g = net or nn.Linear(2, 2)
        one.load_network(one.net_g, str(file), *args, **kwargs)
        return one.net_g


@scenario('load_network', r'RuntimeError: Error\(s\) in loading state_dict')
def load_other_network() -> None:
    other = {'params': nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3)).state_dict()}
    raises(lambda: _load(other), 'other.pth', 'Linear', '2 missing', 'weight, bias', '4 unknown', '0.weight, 0.bias',
           'pretrain_network_g', 'strict_load_g: false')  # fmt: skip
    raises(lambda: _load({'params': nn.Linear(3, 2).state_dict()}), 'weight (2, 3) instead of (2, 2)')


@scenario('load_network', "KeyError: 'params'")
def load_bare_state_dict() -> None:
    weights = nn.Linear(2, 2).state_dict()
    loaded = _load({f'module.{name}': value for name, value in weights.items()})
    assert torch.equal(loaded.weight, weights['weight'])


@scenario('load_network', "KeyError: 'params_ema'")
def load_without_weights() -> None:
    raises(
        lambda: _load({'iter': 3}, True, 'params_ema'), 'other.pth', "'params_ema'", 'its keys are: iter', 'param_key_g'
    )
    raises(lambda: _load({'params': nn.Linear(2, 2).state_dict()}, True, None), 'at its root', 'params')


@scenario('load_network', 'EOFError|UnpicklingError|RuntimeError')
def load_unreadable_file() -> None:
    for content in (b'', b'\x89PNG\r\n' + bytes(99)):
        raises(lambda content=content: _load(content), 'other.pth', 'cannot be read', 'truncated')


# ----------------------------------------------------------------------------------------------------------- training


@scenario('finite_loss', 'no error')
def stop_at_nan_loss() -> None:
    one = model()
    raises(lambda: one.reduce_loss_dict({'l_pix': torch.tensor(1.0), 'l_g_gan': torch.tensor(float('nan'))}),
           'l_g_gan = nan', 'learning rate')  # fmt: skip
    assert one.reduce_loss_dict({'l_pix': torch.tensor(1.5)}) == {'l_pix': 1.5}


@scenario('perceptual_l2', 'L2loss')
def perceptual_loss_l2() -> None:
    from basicsr.losses import basic_loss

    class Features(nn.Module):
        def __init__(self, **kwargs: object) -> None:
            super().__init__()

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {'conv': x}

    with mock.patch.object(basic_loss, 'VGGFeatureExtractor', Features):
        loss = basic_loss.PerceptualLoss({'conv': 2.0}, criterion='l2')
        assert basic_loss.PerceptualLoss({'conv': 2.0}, 'vgg19', True, False, 1.0, 0.0, 'l1').criterion_type == 'l1'
    value, _ = loss(torch.full((1, 1, 2, 2), 3.0), torch.zeros(1, 1, 2, 2))
    assert loss.criterion_type == 'l2'
    assert value.item() == 18.0  # 2 * 3^2


def _real_esrgan(name: str) -> None:
    one = real_esrgan(name)
    for iteration in (1, 2):  # the second batch leaves the queue
        one.feed_data(real_esrgan_batch())
        assert one.lq.shape == (2, 3, 16, 16)
        one.optimize_parameters(iteration)
        assert np.isfinite(one.log_dict['l_g_pix' if name == 'RealESRGANModel' else 'l_pix'])
    one.__dict__.pop('queue_lr')
    one.queue_size = 3
    raises(one._dequeue_and_enqueue, 'queue_size: 3', 'batch_size_per_gpu')


@scenario('real_esrgan_device', 'CUDA|NVIDIA')
def train_real_esrgan() -> None:
    _real_esrgan('RealESRGANModel')


@scenario('real_esrgan_device', 'CUDA|NVIDIA')
def train_real_esrnet() -> None:
    _real_esrgan('RealESRNetModel')


# -------------------------------------------------------------------------------------------------- curves


@scenario('wandb_id', "has no attribute 'generate_id'")
def wandb_starts() -> None:
    from basicsr import train

    wandb = ModuleType('wandb')
    wandb.util, wandb.init = ModuleType('wandb.util'), mock.Mock()
    with mock.patch.dict(sys.modules, {'wandb': wandb}):
        train.init_wandb_logger({'name': 'run', 'logger': {'wandb': {'project': 'curves'}}})
    assert wandb.init.call_args.kwargs['project'] == 'curves'
    assert len(wandb.init.call_args.kwargs['id']) == 8
