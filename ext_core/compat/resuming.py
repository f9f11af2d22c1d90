"""Patches that let BasicSR's own models continue exactly: what their next step depends on is saved and restored.

Our models have ``step_state`` and ``load_step_state`` for that, which the trainer calls where a model has them; the
first patch gives them to BasicSR's that need them.
"""

from collections.abc import Callable
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.models.edvr_model import EDVRModel
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.models.realesrnet_model import RealESRNetModel
from basicsr.models.stylegan2_model import StyleGAN2Model
from basicsr.models.video_recurrent_model import VideoRecurrentModel

from ext_core.compat.patch import Patch, lacks

_POOL = ('queue_lr', 'queue_gt', 'queue_ptr')
_STATE: dict[type[BaseModel], tuple[str, ...]] = {
    RealESRGANModel: _POOL,  # the pool that batches are drawn from
    RealESRNetModel: _POOL,
    StyleGAN2Model: ('mean_path_length', 'fixed_sample'),  # of the path regularisation; shown at validations
}
# Class: the attribute with the length of its first phase, and which parameters rest during it. The model freezes them
# in iteration 1 and in no other.
_PHASES: dict[type[BaseModel], tuple[str, Callable[[str], bool]]] = {
    EDVRModel: ('train_tsa_iter', lambda name: 'fusion' not in name),
    VideoRecurrentModel: ('fix_flow_iter', lambda name: 'spynet' in name or 'edvr' in name),
}


def step_state(self: Any) -> dict[str, Any]:
    """What the next step depends on beside networks, optimizers and schedules."""
    names = next(names for model, names in _STATE.items() if isinstance(self, model))
    return {name: _packed(getattr(self, name)) for name in names if hasattr(self, name)}


def load_step_state(self: Any, state: dict[str, Any]) -> None:
    """Take up what :func:`step_state` gave."""
    for name, value in state.items():
        setattr(self, name, _unpacked(value, self.device))


def _packed(value: Any) -> Any:
    """A copy on the CPU; of images of 256 levels, as the pools hold, in bytes: a quarter of the size."""
    if not torch.is_tensor(value):
        return value
    value = value.detach().cpu().clone()
    levels = (value * 255).round().clamp(0, 255).to(torch.uint8)
    return levels if torch.equal(levels.float() / 255, value) else value


def _unpacked(value: Any, device: torch.device) -> Any:
    if not torch.is_tensor(value):
        return value
    return (value.float() / 255 if value.dtype == torch.uint8 else value).to(device)


def _cure_state() -> None:
    for model in _STATE:
        model.step_state = step_state  # type: ignore[attr-defined]
        model.load_step_state = load_step_state  # type: ignore[attr-defined]


def _cure_phase() -> None:
    for model, (length, rests) in _PHASES.items():
        model.resume_training = _entering_phase(model, length, rests)


def _entering_phase(model: type[BaseModel], length: str, rests: Callable[[str], bool]) -> Callable[..., None]:
    def resume_training(self: Any, resume_state: dict) -> None:
        super(model, self).resume_training(resume_state)
        if 1 <= resume_state['iter'] < (getattr(self, length, None) or 0):
            for name, parameter in self.net_g.named_parameters():
                if rests(name):
                    parameter.requires_grad_(False)

    return resume_training


PATCHES = [
    Patch(
        'resumed_state',
        'a resumed RealESRGAN or RealESRNet run starts with an empty pool of training pairs, a resumed StyleGAN2 run '
        'with a mean path length of 0',
        lambda: not hasattr(RealESRGANModel, 'step_state'),
        _cure_state,
    ),
    Patch(
        'resumed_phase',
        'EDVR (tsa_iter) and the recurrent video models (fix_flow), resumed in their first phase, train all parameters',
        lambda: lacks(EDVRModel.resume_training, 'requires_grad'),
        _cure_phase,
    ),
]
