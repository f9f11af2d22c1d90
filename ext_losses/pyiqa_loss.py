"""Metrics of the package pyiqa as losses: ``{type: pyiqa.dists}``."""

import re

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from ext_losses.pyiqa_networks import PREFIX, build, configs


class PyIQALoss(nn.Module):
    """A metric of pyiqa, averaged over the batch: the type is ``pyiqa.`` and its name there.

    L = loss_weight * metric(x, gt) where lower is better, else loss_weight * (top - metric(x, gt)), where top is the
    best value that pyiqa names: 1 for ``pyiqa.ms_ssim``. Metrics without reference see x alone. Computed in float32
    also under autocast.

    Args:
        loss_weight (float): Factor on the result. Default: 1.0.
        weights (str | None): File of the metric's weights, of which pyiqa executes what a pickle may hold: take it
            from a source that you trust. None for those that pyiqa keeps in torch's cache, or downloads. Default: None.
        options (dict | None): Further arguments of ``pyiqa.create_metric``, such as ``{test_y_channel: false}``.
            Default: None.

    Shape:
        x, gt: (n, 3, h, w), RGB, range [0, 1], as large as the metric wants them. Output: scalar.

    Raises:
        OSError: If pyiqa or weights are missing.
        ValueError: In ``forward``, if the metric gives no gradient.

    Reference: Chen and Mo, IQA-PyTorch, https://github.com/chaofengc/IQA-PyTorch; each metric has its own.
    """

    NAME = ''
    CONFIG: dict = {}

    def __init__(self, loss_weight: float = 1.0, weights: str | None = None, options: dict | None = None) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.metric = build(self.NAME, True, weights, options)
        bounds = re.findall(r'-?\d+\.?\d*', str(self.CONFIG.get('score_range', '')))
        self.top = None if self.CONFIG.get('lower_better') else float(bounds[-1]) if bounds else 0.0

    def forward(self, x: Tensor, gt: Tensor) -> Tensor:
        """Loss of ``x`` against ``gt``, see the class."""
        with torch.autocast(x.device.type, enabled=False):
            images = (x.float(), gt.float()) if self.CONFIG['metric_mode'] == 'FR' else (x.float(),)
            value = self.metric(*images)
        if x.requires_grad and torch.is_grad_enabled() and not value.requires_grad:
            raise ValueError(f'{PREFIX}{self.NAME} has no gradient, so nothing is learnt of it. Use it as a metric.')
        return self.loss_weight * (value if self.top is None else self.top - value)


def register() -> None:
    """Register the metrics of the installed pyiqa, if it is."""
    for name, config in configs().items():
        # of the module pyiqa, since what there is differs from machine to machine, unlike our own losses
        made = {'NAME': name, 'CONFIG': config, '__module__': 'pyiqa', '__doc__': PyIQALoss.__doc__}
        LOSS_REGISTRY._do_register(PREFIX + name, type(PREFIX + name, (PyIQALoss,), made))


register()
