"""The energy objective against its equations in NumPy, and its limits."""

import numpy as np
import pytest
import torch
from basicsr.losses import build_loss
from torch import Tensor


def make(**kwargs):
    return build_loss({'type': 'EnergyGANLoss', **kwargs})


def energies(seed: int = 0, shape: tuple[int, ...] = (5,)) -> tuple[Tensor, Tensor]:
    """Of real images about 0.5, of fakes from 0.1 to 2, so that margins of about 1 are in between."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.2, 4, shape[0]).reshape(-1, *(1,) * (len(shape) - 1))
    return torch.rand(shape, generator=generator), scale * torch.rand(shape, generator=generator)


def values(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: loss.item() for name, loss in losses.items()}


def per_image(output: Tensor, reduction: str = 'mean') -> np.ndarray:
    return getattr(output.double().numpy().reshape(len(output), -1), reduction)(axis=1)


@pytest.mark.parametrize('shape', [(5,), (5, 1), (5, 3, 3, 4)])
@pytest.mark.parametrize('margin', ['adaptive', 1.2, 1, None])
@pytest.mark.parametrize('reduction', ['sum', 'mean'])
def test_equals_the_equations(margin, shape, reduction):
    real, fake = energies(shape=shape)
    u_real, u_fake = per_image(real), per_image(fake)
    m = 2 * u_real.mean() if margin == 'adaptive' else margin
    on_fake = -u_fake.mean() if m is None else np.maximum(0, m - u_fake).mean()
    assert m is None or u_fake.min() < m < u_fake.max()
    loss = make(margin=margin, loss_weight=0.25, energy_reduction=reduction)
    expected = {'l_d_real': u_real.mean(), 'l_d_fake': on_fake}
    assert values(loss.discriminator_losses(real, fake)) == pytest.approx(expected, rel=1e-6)
    assert loss.generator_loss(real, fake).item() == pytest.approx(0.25 * per_image(fake, reduction).mean(), rel=1e-6)


@pytest.mark.parametrize('margin', [1.0, None])
def test_gradients_equal_finite_differences(margin):
    loss = make(margin=margin, loss_weight=0.5)
    real, fake = (value.double().requires_grad_() for value in energies())
    assert torch.autograd.gradcheck(lambda r, f: tuple(loss.discriminator_losses(r, f).values()), (real, fake))
    assert torch.autograd.gradcheck(lambda f: loss.generator_loss(real.detach(), f), fake)


def test_adaptive_margin_is_a_constant_of_the_gradient():
    real, fake = torch.ones(4, requires_grad=True), torch.tensor([0.0, 1.9, 2.1, 5.0], requires_grad=True)
    losses = make().discriminator_losses(real, fake)  # the margin is 2
    from_real, from_fake = torch.autograd.grad(sum(losses.values()), (real, fake))
    assert from_real.tolist() == [0.25] * 4
    assert from_fake.tolist() == [-0.25, -0.25, 0, 0]


def test_generator_gradient_reaches_the_fakes_only():
    real, fake = (value.requires_grad_() for value in energies())
    loss = make(loss_weight=0.1).generator_loss(real, fake)
    from_real, from_fake = torch.autograd.grad(loss, (real, fake), allow_unused=True)
    assert from_real is None
    torch.testing.assert_close(from_fake, torch.full((5,), 0.02))


def test_adaptive_margin_follows_the_average():
    """m_t = ratio * sum_i decay^(t - i) U_i / sum_i decay^(t - i)."""
    loss = make(margin_ratio=3.0, decay=0.9)
    means = [4.0, 1.0, 0.5, 2.0]
    for step, mean in enumerate(means):
        loss.discriminator_losses(torch.tensor([0.5, 1.5]) * mean, torch.zeros(2))
        ages = 0.9 ** np.arange(step, -1, -1)
        expected = 3 * (ages * means[: step + 1]).sum() / ages.sum()
        assert loss.statistics()['margin'].item() == pytest.approx(expected, rel=1e-6)


def test_average_is_restored_from_a_state_dict():
    uninterrupted, first, second = make(), make(), make()
    batches = [energies(seed) for seed in range(4)]
    expected = [values(uninterrupted.discriminator_losses(*batch)) for batch in batches]
    for batch in batches[:2]:
        first.discriminator_losses(*batch)
    second.load_state_dict(first.state_dict())
    assert [values(second.discriminator_losses(*batch)) for batch in batches[2:]] == expected[2:]
    assert set(first.state_dict()) == {'real_sum', 'real_weight'}
    assert not make(margin=1.0).state_dict()


@pytest.mark.parametrize('overflow', [float('inf'), float('nan')])
def test_overflow_does_not_stay_in_the_average(overflow):
    loss, untouched = make(), make()
    for start in (loss, untouched):
        start.discriminator_losses(*energies())
    loss.discriminator_losses(torch.tensor([1.0, overflow]), torch.ones(2))
    assert all(torch.equal(a, b) for a, b in zip(loss.buffers(), untouched.buffers(), strict=True))


def test_statistics():
    loss = make()
    assert loss.statistics() == {}
    loss.discriminator_losses(torch.tensor([1.0, 2.0]), torch.tensor([4.0, 6.0]))
    assert {name: value.item() for name, value in loss.statistics().items()} == {'energy_gap': 3.5, 'margin': 3.0}
    unbounded = make(margin=None)
    unbounded.discriminator_losses(torch.tensor([1.0, 2.0]), torch.tensor([4.0, 6.0]))
    assert set(unbounded.statistics()) == {'energy_gap'}


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_energies_are_averaged_in_float32(dtype):
    real, fake = (value.to(dtype) for value in energies(shape=(4, 1, 32, 32)))
    with torch.autocast('cpu', torch.bfloat16):
        losses = make().discriminator_losses(real, fake)
        for_generator = make().generator_loss(real, fake)
    assert values(losses) == pytest.approx(values(make().discriminator_losses(real.float(), fake.float())), rel=1e-6)
    assert {loss.dtype for loss in (*losses.values(), for_generator)} == {torch.float32}


@pytest.mark.parametrize(
    ('option', 'value'),
    [
        *(('margin', value) for value in ('fixed', 0, -1.0, float('inf'), True)),
        ('margin_ratio', 1.0),
        ('decay', 1.0),
        ('decay', -0.1),
        ('energy_reduction', 'median'),
    ],
)
def test_unusable_options_are_refused(option, value):
    with pytest.raises(ValueError, match=f'{option} must be'):
        make(**{option: value})
