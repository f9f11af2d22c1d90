"""Mixed precision, gradient scaling, clipping and the optimizer's step, in one place for every training procedure."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

_AMP_TYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}


class Precision:
    """Runs forward passes under autocast and steps optimizers with scaled and clipped gradients.

    Args:
        amp (str | None): 'bf16', 'fp16' (with a gradient scaler) or None for plain float32.
        device_type (str): 'cuda' or 'cpu'.
        grad_clip (dict | None): ``{type: norm | value, max: float}``, or None for no clipping.

    Raises:
        ValueError: If ``amp`` or the type of clipping is unknown.
    """

    def __init__(self, amp: str | None, device_type: str, grad_clip: dict | None = None):
        if amp is not None and amp not in _AMP_TYPES:
            raise ValueError(f"train:amp must be one of {sorted(_AMP_TYPES)} or left out, but is '{amp}'.")
        if grad_clip and grad_clip.get('type') not in ('norm', 'value'):
            raise ValueError(f"train:grad_clip:type must be 'norm' or 'value', but is '{grad_clip.get('type')}'.")
        self.dtype = _AMP_TYPES[amp] if amp else None
        self.device_type = device_type
        self.grad_clip = grad_clip
        self.scaler = torch.amp.GradScaler(device_type, enabled=amp == 'fp16')

    def autocast(self) -> AbstractContextManager:
        """Context for forward passes and losses."""
        return torch.autocast(self.device_type, self.dtype) if self.dtype else nullcontext()

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to call ``backward`` on; the identity unless ``amp: fp16``."""
        return self.scaler.scale(loss)

    def step(self, optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor]) -> None:
        """Unscale, clip, step. Without a device synchronisation, except for fp16's check for overflow."""
        if self.grad_clip:
            self.scaler.unscale_(optimizer)
            if self.grad_clip['type'] == 'norm':
                torch.nn.utils.clip_grad_norm_(parameters, self.grad_clip['max'])
            else:
                torch.nn.utils.clip_grad_value_(parameters, self.grad_clip['max'])
        self.scaler.step(optimizer)

    def update(self) -> None:
        """Adapt the scale; once per iteration, after the last optimizer's step."""
        self.scaler.update()
