"""Small option dicts and batches for tests of training procedures."""

import copy

import torch
from basicsr.models import build_model

PIXEL = {'type': 'L1Loss', 'loss_weight': 1e-2, 'reduction': 'mean'}
FEATURE = {'type': 'VGGFeatureLoss', 'layer_weights': {'conv2_2': 1.0}, 'vgg_type': 'vgg16', 'weights': 'random'}
GENERATORS = {
    'MSRResNet': {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1, 'upscale': 4},
    'RRDBNet': {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4},
}
DISCRIMINATORS = {
    'VGGStyleDiscriminator': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 4, 'input_size': 128},
    'UNetDiscriminatorSN': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4},
}
_ADAM = {'type': 'Adam', 'lr': 1e-3, 'weight_decay': 0, 'betas': [0.9, 0.99]}


def options(
    model_type: str, *, generator: str = 'MSRResNet', discriminator: str | None = 'VGGStyleDiscriminator', **train
) -> dict:
    """Resolved options of a training run on the CPU; ``train`` adds to its section."""
    opt = {
        'name': 'test',
        'model_type': model_type,
        'scale': 4,
        'num_gpu': 0,
        'is_train': True,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'manual_seed': 0,
        'path': {},
        'network_g': GENERATORS[generator],
        'train': {
            'optim_g': dict(_ADAM),
            'total_iter': 10,
            'scheduler': {'type': 'MultiStepLR', 'milestones': [3], 'gamma': 0.5},
            **train,
        },
    }
    if discriminator:
        opt['network_d'] = DISCRIMINATORS[discriminator]
        opt['train'].setdefault('optim_d', dict(_ADAM))
    return copy.deepcopy(opt)


def batches(count: int, size: int = 2, gt_size: int = 128, seed: int = 0) -> list[dict]:
    """Random pairs at scale 4, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            'lq': torch.rand(size, 3, gt_size // 4, gt_size // 4, generator=generator),
            'gt': torch.rand(size, 3, gt_size, gt_size, generator=generator),
        }
        for _ in range(count)
    ]


def build(opt: dict, seed: int = 0):
    """The model with weights that depend on the seed only."""
    torch.manual_seed(seed)
    return build_model(opt)


def run(model, data: list[dict], start: int = 1) -> list[dict]:
    """Train one iteration a batch; the logged scalars of each."""
    logs = []
    for iteration, batch in enumerate(data, start):
        model.update_learning_rate(iteration)
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        logs.append(dict(model.get_current_log()))
    return logs


def share_of(data: list[dict], world_size: int, rank: int) -> list[dict]:
    """What one of several processes gets of global batches of 4."""
    share = 4 // world_size
    return [{key: value[rank * share : (rank + 1) * share] for key, value in batch.items()} for batch in data]
