"""Scenarios: models of BasicSR that are continued from a saved training state."""

import torch
from compat_real_esrgan import real_esrgan, real_esrgan_batch
from compat_tools import folder, scenario

UNSAVED = 'is not saved|no attribute|CUDA|NVIDIA'  # they cannot even be built without CUDA


def _continued(one, other) -> None:
    """Save what ``one`` has learnt, through a file, and let ``other`` go on from it."""
    from ext_core.networks.weight_files import load_checkpoint

    saved = {'networks': {name: getattr(one, name).state_dict() for name in ('net_g', 'net_d') if hasattr(one, name)}}
    saved['optimizers'] = [optimizer.state_dict() for optimizer in one.optimizers]
    assert hasattr(one, 'step_state'), 'what the next step depends on is not saved'
    saved['step'] = one.step_state()
    with folder() as place:
        torch.save(saved, place / 'state')
        saved = load_checkpoint(place / 'state')  # without running code
    for name, weights in saved['networks'].items():
        getattr(other, name).load_state_dict(weights)
    for optimizer, state in zip(other.optimizers, saved['optimizers'], strict=True):
        optimizer.load_state_dict(state)
    other.load_step_state(saved['step'])


def _resumed_pool(name: str) -> None:
    from ext_data.samples import rng_state, set_rng_state

    torch.manual_seed(0)
    one, other = real_esrgan(name, queue_size=4), real_esrgan(name, queue_size=4)
    batches = [real_esrgan_batch() for _ in range(5)]
    for iteration, batch in enumerate(batches[:3], 1):  # the pool is full after two, and half exchanged by the third
        one.feed_data(batch)
        one.optimize_parameters(iteration)
    _continued(one, other)
    state = rng_state()
    for model in (one, other):
        set_rng_state(state)
        for iteration, batch in enumerate(batches[3:], 4):
            model.feed_data(batch)
            model.optimize_parameters(iteration)
    assert torch.equal(one.queue_lr, other.queue_lr)
    assert torch.equal(one.queue_gt, other.queue_gt)
    for (key, value), theirs in zip(one.net_g.state_dict().items(), other.net_g.state_dict().values(), strict=True):
        assert torch.equal(value, theirs), key


@scenario('resumed_state', UNSAVED)
def resume_real_esrgan() -> None:
    _resumed_pool('RealESRGANModel')


@scenario('resumed_state', UNSAVED)
def resume_real_esrnet() -> None:
    _resumed_pool('RealESRNetModel')


@scenario('resumed_state', UNSAVED)
def resume_pool_of_16_bit_images() -> None:
    one, other = real_esrgan('RealESRNetModel'), real_esrgan('RealESRNetModel')
    torch.manual_seed(0)
    one.queue_lr, one.queue_ptr = torch.rand(2, 3, 4, 4), 2
    other.load_step_state(one.step_state())
    assert torch.equal(other.queue_lr, one.queue_lr)
    one.queue_lr = torch.arange(256.0).div(255)
    assert one.step_state()['queue_lr'].dtype == torch.uint8
    other.load_step_state(one.step_state())
    assert torch.equal(other.queue_lr, one.queue_lr)
