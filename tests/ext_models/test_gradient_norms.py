"""The norms of the losses' gradients at the generated images."""

import pytest
import tiny_energy  # noqa: F401  # registers TinyEnergy
import torch
from recipes import FEATURE, PIXEL, batches, build, options, run

from ext_models.gradient_norms import GradientNorms
from ext_models.precision import Precision

STANDARD = {'type': 'AdversarialLoss', 'loss_weight': 5e-3}


def test_norms_of_chunks_are_that_of_the_batch():
    """Gradients 3 and 4 at two chunks of one pixel: 5, as of the two side by side; measured anew when it is due."""
    norms = GradientNorms(2, Precision(None, 'cpu'), 'l_g_')
    for iteration, due, expected in ((1, False, None), (2, True, 5.0), (3, False, 5.0), (4, True, 10.0)):
        norms.start(iteration)
        assert norms.due == due
        for gradient in (3.0, 4.0) if due else ():
            image = torch.zeros(1, 1, 1, 1, requires_grad=True)
            norms.measure({'l_g_pix': iteration / 2 * gradient * image.sum()}, image)
        assert norms.values.get('grad_pix') == (expected and pytest.approx(expected))


def test_each_loss_is_reported_once_and_what_does_not_reach_the_images_is_told():
    """Closed forms: loss = weight * sum(image) over four pixels has a gradient of norm 2 * weight."""
    norms = GradientNorms(0, Precision(None, 'cpu'), 'l_')
    for iteration in (1, 2, 9):
        norms.start(iteration)
        image = torch.zeros(1, 1, 2, 2, requires_grad=True)
        other = torch.ones(1, requires_grad=True)
        losses = {'l_pix': 3 * image.sum(), 'l_weightless': 0 * image.sum(), 'l_detached': image.detach().sum()}
        losses |= {'l_elsewhere': other.sum(), 'l_bad': image.sum() * float('nan'), 'l_faint': 1e-3 * image.sum()}
        if iteration == 9:
            losses = {'l_pretrain': image.sum()}
        if norms.wants(losses):
            norms.measure(losses, image)
        line, *doubts = norms.report() or ['']
        if iteration == 1:
            assert line == (
                'Gradients at the generated images: '
                'l_pix 6, l_weightless 0, l_detached 0, l_elsewhere 0, l_bad nan, l_faint 0.002.'
            )
            assert [doubt.partition(':')[0] for doubt in doubts] == [*list(losses)[1:]]
            assert all(' is zero' in doubt for doubt in doubts[:3])
            assert 'not finite' in doubts[3]
            assert ' 3,000 times below' in doubts[4]
        elif iteration == 9:  # a phase with other losses
            assert (line, doubts) == ('Gradients at the generated images: l_pretrain 2.', [])
        else:
            assert not line
    assert not norms.values  # nothing of it gets into the log or the training state


def test_overflow_of_the_first_scale_is_measured_again():
    precision = Precision('fp16', 'cpu')
    norms = GradientNorms(0, precision, 'l_')
    for iteration, gradient, reported in ((1, torch.inf, False), (2, 1.0, True)):
        norms.start(iteration)
        image = torch.zeros(1, requires_grad=True)
        losses = {'l_pix': precision.scale(gradient * image.sum())}
        assert norms.wants(losses)
        norms.measure(losses, image)
        assert norms.report() == (['Gradients at the generated images: l_pix 1.'] if reported else [])


class BlindView(torch.nn.Module):
    """Hides the generated image from the gradient."""

    def forward(self, sr, gt):
        return sr.detach() + 0 * gt.mean(), gt


@pytest.mark.parametrize('train', [{}, {'accumulate': 2, 'amp': 'bf16'}], ids=['plain', 'accumulated, bf16'])
def test_a_generator_without_adversarial_gradient_is_told(train):
    model = build(options('GANSRModel', gan_opt=STANDARD | {'loss_weight': 0.0}, pixel_opt=PIXEL, **train))
    run(model, batches(1))
    line, *doubts = model.gradient_report()
    assert 'l_g_pix' in line
    assert [doubt.partition(' at ')[0] for doubt in doubts] == ['l_g_gan: its gradient']


def test_an_objective_that_does_not_see_the_generated_image_is_refused():
    model = build(options('GANSRModel', gan_opt=STANDARD, pixel_opt=PIXEL))
    model.views.append(BlindView())
    with pytest.raises(ValueError, match='l_g_gan does not depend on the generated images'):
        run(model, batches(1))


@pytest.mark.parametrize(
    ('model_type', 'train'),
    [
        ('ExtSRModel', {'pixel_opt': PIXEL, 'perceptual_opt': FEATURE, 'amp': 'bf16', 'accumulate': 2}),
        ('GANSRModel', {'pixel_opt': PIXEL, 'gan_opt': STANDARD, 'perceptual_opt': FEATURE, 'amp': 'fp16'}),
        ('MaskGANModel', {'pixel_opt': PIXEL, 'gan_opt': STANDARD, 'mask_opt': {'type': 'ErrorMask'}, 'accumulate': 2}),
        ('EnergyGANModel', {'pixel_opt': PIXEL, 'gan_opt': {'type': 'EnergyGANLoss'}}),
        ('DomainAdaptationSRModel', {'pixel_opt': PIXEL, 'gan_opt': {'type': 'FrequencyGANLoss'}}),
    ],
)
def test_measuring_changes_nothing_and_ends_with_the_first_step(model_type, train, monkeypatch):
    weights, logs, states, generators = [], [], [], []
    for measured in (True, False):
        opt = options(model_type, discriminator=None if model_type == 'ExtSRModel' else 'UNetDiscriminatorSN', **train)
        if model_type == 'EnergyGANModel':
            opt['network_d'] = {'type': 'TinyEnergy'}
        model = build(opt)
        if not measured:
            monkeypatch.setattr(GradientNorms, 'wants', lambda self, losses: False)
        logs.append(run(model, batches(1, gt_size=32)))
        if measured:
            assert model.gradient_report()
            monkeypatch.setattr(GradientNorms, 'measure', None)  # called again, it would fail
        logs[-1] += run(model, batches(2, gt_size=32, seed=1), start=2)
        assert not model.gradient_report()
        weights.append([*model.net_g.parameters(), *(model.net_d.parameters() if model_type != 'ExtSRModel' else ())])
        states.append(model.step_state()['gradient_norms'])
        generators.append(torch.get_rng_state())
    assert logs[0] == logs[1]
    assert states == [{}, {}]
    assert torch.equal(*generators)
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
