"""Mixed precision, memory format, gradient scaling, clipping and the optimizer's step, in one place for every training
procedure."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

AMP_TYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}
CLIPPING = {'norm': 'max', 'value': 'max', 'adjustable': 'theta'}  # type of grad_clip: its number


@dataclass
class StepGradients:
    """Gradients in one optimizer's step: the 1-norm for each parameter, and whether an overflow counts.

    With fp16 it does not, because the gradient scaler skips such a step and lowers its scale; unless that has come down
    to 1, where nothing is left to lower.
    """

    parameters: list[Tensor]
    norms: Tensor
    count: Tensor


class Precision:
    """Runs forward passes under autocast and steps optimizers with scaled and clipped gradients.

    Args:
        amp (str | None): 'bf16', 'fp16' (with a gradient scaler) or None for plain float32.
        device_type (str): 'cuda' or 'cpu'.
        grad_clip (dict | None): None for no clipping, or

            * ``{type: norm, max: float}``: the norm of all gradients together is at most ``max``;
            * ``{type: value, max: float}``: each value is at most ``max``;
            * ``{type: adjustable, theta: float}``: each value is at most theta / lr, with the current learning rate of
              its parameter group, so that no step of plain SGD is longer than theta (Kim et al., VDSR, CVPR 2016,
              section 3.2).

    Attributes:
        gradients (list[StepGradients]): Of the last iteration's steps, on the device, before clipping: by these the
            trainer finds what is NaN or infinite.

    Raises:
        ValueError: If ``amp`` or the type of clipping is unknown, or its number is not positive.
    """

    def __init__(self, amp: str | None, device_type: str, grad_clip: dict | None = None):
        if amp is not None and amp not in AMP_TYPES:
            raise ValueError(f"amp must be bf16, fp16 or left out, but is '{amp}'.")
        if grad_clip and not _is_clipping(grad_clip):
            raise ValueError(
                'grad_clip must be like {type: norm, max: 1.0}, {type: value, max: 0.1} or '
                f"{{type: adjustable, theta: 0.01}}, but is '{grad_clip}'."
            )
        self.dtype = AMP_TYPES[amp] if amp else None
        self.device_type = device_type
        self.grad_clip = grad_clip
        self.scaler = torch.amp.GradScaler(device_type, enabled=amp == 'fp16')
        self.gradients: list[StepGradients] = []
        self._iteration_ended = False

    def autocast(self) -> AbstractContextManager:
        """Context for forward passes and losses."""
        return torch.autocast(self.device_type, self.dtype) if self.dtype else nullcontext()

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to call ``backward`` on; the identity unless ``amp: fp16``."""
        return self.scaler.scale(loss)

    def step(self, optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor]) -> None:
        """Unscale, clip, step. Without a device synchronisation, except for fp16's check for overflow."""
        if self._iteration_ended:
            self.gradients, self._iteration_ended = [], False
        groups = optimizer.param_groups
        changing = [parameter for group in groups for parameter in group['params'] if parameter.grad is not None]
        if changing:
            # the 1-norm: unlike the 2-norm it overflows for no gradient that an optimizer can use
            norms = torch._foreach_norm([parameter.grad for parameter in changing], 1)
            stacked = torch.stack([norm.float() for norm in norms])
            self.gradients.append(StepGradients(changing, stacked, self.scale(torch.ones_like(stacked[0])) <= 1))
        if self.grad_clip:
            self.scaler.unscale_(optimizer)
            if self.grad_clip['type'] == 'norm':
                torch.nn.utils.clip_grad_norm_(parameters, self.grad_clip['max'])
            elif self.grad_clip['type'] == 'value':
                torch.nn.utils.clip_grad_value_(parameters, self.grad_clip['max'])
            else:
                for group in groups:
                    if group['lr'] > 0:  # else it does not move
                        torch.nn.utils.clip_grad_value_(group['params'], self.grad_clip['theta'] / group['lr'])
        self.scaler.step(optimizer)

    def update(self) -> None:
        """Adapt the scale; once per iteration, after the last optimizer's step."""
        self.scaler.update()
        self._iteration_ended = True


def processor_has_bf16() -> bool | None:
    """Whether this processor computes with bfloat16 itself, in which a step takes about half the time; None: unknown.

    Others can run ``amp: bf16``, but convert each number, which takes longer than float32.
    """
    try:
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    except (AttributeError, RuntimeError):  # of another version of torch
        return None


def _is_clipping(clip: Any) -> bool:
    if not isinstance(clip, dict) or clip.get('type') not in CLIPPING:
        return False
    number = clip.get(CLIPPING[clip['type']])
    if not isinstance(number, int | float) or isinstance(number, bool):
        return False
    return set(clip) == {'type', CLIPPING[clip['type']]} and number > 0


def in_memory_format(net: nn.Module, layout: torch.memory_format) -> None:
    """Put the weights and buffers of four dimensions into a memory format, in place.

    ``net.to(memory_format=...)`` does the same, but fails on weights of five dimensions, such as those of FFTformer.
    """
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.to(memory_format=layout)
