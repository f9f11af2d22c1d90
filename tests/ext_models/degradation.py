"""Options, batches and validation sets for tests of the degradation model."""

from types import SimpleNamespace

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from recipes import options
from torch import Tensor, nn

from ext_core.options.problems import Problem
from ext_models.degradation_model import DegradationModel

SCALE = 2
PIXEL = {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}
FEATURE = {
    'type': 'VGGFeatureLoss',
    'layer_weights': {'conv2_2': 1.0},
    'vgg_type': 'vgg16',
    'weights': 'random',
    'perceptual_weight': 0.01,
}
MMD = {'type': 'MMDLoss', 'loss_weight': 0.1}
GAN = {'type': 'AdversarialLoss', 'loss_weight': 5e-3}
HIGH_PASS = {'type': 'HighPassView', 'kernel_size': 5, 'sigma': 0.83}


@ARCH_REGISTRY.register()
class TinyFilter(nn.Module):
    """A filter of bicubic LR images that starts as the identity."""

    INPUT = 'lq'

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 5, padding=2, padding_mode='reflect', bias=False)
        nn.init.dirac_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def degradation_options(network: str = 'DegradationNet', adversarial: bool = False, **train) -> dict:
    """Resolved options of a stage-1 training at scale 2 on the CPU."""
    opt = options('DegradationModel', discriminator='UNetDiscriminatorSN' if adversarial else None, **train)
    opt['scale'] = SCALE
    opt['network_g'] = {'type': network}
    if network == 'DegradationNet':
        opt['network_g'] |= {'num_feat': 4, 'scale': SCALE}
    if adversarial:
        opt['train'].setdefault('gan_opt', GAN)
    opt['val'] = {}
    return opt


def unpaired(count: int, size: int = 2, gt_size: int = 32, seed: int = 0) -> list[dict[str, Tensor]]:
    """Random HR images and real LR images, as UnpairedImageDataset gives them with ``make_lq: false``."""
    generator = torch.Generator().manual_seed(seed)
    low = gt_size // SCALE
    return [
        {
            'gt': torch.rand(size, 3, gt_size, gt_size, generator=generator),
            'real_lq': 0.5 * torch.rand(size, 3, low, low, generator=generator),
        }
        for _ in range(count)
    ]


class Board:
    """TensorBoard that remembers."""

    def __init__(self):
        self.scalars: dict[str, float] = {}
        self.images: dict[str, Tensor] = {}

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars[name] = value

    def add_images(self, name: str, images: Tensor, step: int) -> None:
        assert name not in self.images, 'written twice'
        self.images[name] = images


class HeldOut(list):
    """A validation loader of one image a batch; LR images have the given sizes, other than the HR images'."""

    def __init__(self, gt_size: int = 64, low_sizes: tuple[tuple[int, int], ...] = ((24, 40), (32, 28), (24, 24))):
        generator = torch.Generator().manual_seed(7)
        super().__init__(
            {
                'gt': torch.rand(1, 3, gt_size, gt_size, generator=generator),
                'real_lq': 0.5 * torch.rand(1, 3, *low, generator=generator),
                'lq_path': [f'somewhere/hr{number}.png'],
            }
            for number, low in enumerate(low_sizes)
        )
        self.dataset = SimpleNamespace(opt={'name': 'held_out'})


def problems(opt: dict) -> str:
    return '\n'.join(str(Problem(*found)) for found in DegradationModel.option_problems(opt))
