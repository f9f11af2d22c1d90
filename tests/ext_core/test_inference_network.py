"""Networks of all families: recognised, made ready, in tiles as in one piece."""

import math

import numpy as np
import pytest
import torch
from inference_tools import CPU, Repeat, Same, network, noise, repeating_onnx, small_weights
from torch import nn

from ext_core.errors import UserError
from ext_core.use.enlarge import MAX_OVERLAP, self_ensemble
from ext_core.use.network import MULTIPLES, PROBE, LiveBytes, open_network, ready
from ext_models.sides import continued
from ext_models.tiles import in_tiles, reach_of

COLOUR = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8}
GREY = {**COLOUR, 'num_in_ch': 1, 'num_out_ch': 1}
# network, scale, multiple of sides, reach
FAMILIES: dict[str, tuple[dict, int, int, int | None]] = {
    'RRDBNet x4': ({'type': 'RRDBNet', **COLOUR, 'num_block': 1, 'num_grow_ch': 4}, 4, 1, 19),
    'RRDBNet x2': ({'type': 'RRDBNet', **COLOUR, 'num_block': 1, 'num_grow_ch': 4, 'scale': 2}, 2, 2, None),
    'RRDBNet x1': ({'type': 'RRDBNet', **COLOUR, 'num_block': 1, 'num_grow_ch': 4, 'scale': 1}, 1, 4, None),
    'RRDBNet of 4 blocks': (
        {'type': 'RRDBNet', **COLOUR, 'num_feat': 4, 'num_block': 4, 'num_grow_ch': 2}, 4, 1, None),
    'EDSR': ({'type': 'EDSR', **COLOUR, 'num_block': 2, 'upscale': 2}, 2, 1, 8),
    'MSRResNet': ({'type': 'MSRResNet', **COLOUR, 'num_block': 2, 'upscale': 3}, 3, 1, 7),
    'MSRResNet of luminance': ({'type': 'MSRResNet', **GREY, 'num_block': 2, 'upscale': 2}, 2, 1, 7),
    'SwinIR': (
        {'type': 'SwinIR', 'upscale': 2, 'img_size': 16, 'window_size': 8, 'depths': [2], 'embed_dim': 12,
         'num_heads': [2], 'mlp_ratio': 2, 'upsampler': 'pixelshuffledirect'}, 2, 8, None),
    'SRVGGNetCompact': ({'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 3, 'upscale': 4}, 4, 1, 5),
    'SRCNN': ({'type': 'SRCNN', 'num_feat': [4, 4], 'upscale': 3}, 3, 1, 5),
    'SRCNN of enlarged images': ({'type': 'SRCNN', 'num_feat': [4, 4], 'upscale': 3, 'pre_upsampled': True}, 3, 1, 5),
    'FSRCNN': ({'type': 'FSRCNN', 'd': 8, 's': 4, 'm': 2, 'upscale': 4}, 4, 1, 5),
    'ESPCN': ({'type': 'ESPCN', 'upscale': 3}, 3, 1, 4),
    'VDSR': ({'type': 'VDSR', 'num_feat': 8, 'upscale': 2}, 2, 1, 12),
}  # fmt: skip


def built(options: dict) -> nn.Module:
    """With weights so strong that far pixels show: those that BasicSR starts from hardly do."""
    from basicsr.archs import build_network

    torch.manual_seed(0)
    net = build_network(dict(options)).eval()
    for parameter in net.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, a=1)
    return net


def channels_of(options: dict) -> int:
    return options.get('num_in_ch', 1 if options['type'] in ('SRCNN', 'FSRCNN', 'ESPCN', 'VDSR') else 3)


def picture(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(noise(height, width, 3).astype(np.float32) / 255).permute(2, 0, 1)[None]


@pytest.mark.parametrize('family', FAMILIES)
def test_family_in_tiles_equals_the_whole(family):
    options, scale, multiple, reach = FAMILIES[family]
    found = ready(built(options), channels_of(options), CPU)
    assert (found.scale, found.multiple) == (scale, multiple)
    measured = reach_of(found.on_cpu(), MAX_OVERLAP, (1, scale), multiple)
    if reach is not None:
        assert measured == reach
    image = picture(32, 96)
    whole = found.run(image)
    align = math.lcm(multiple, 16)
    tiled = in_tiles(found.run, image, 32, measured or MAX_OVERLAP, (1, scale), align)
    assert (tiled - whole).abs().max() < 1e-4 * whole.std()
    assert (in_tiles(found.run, image, 32, 0, (1, scale), align) - whole).abs().max() > 1e-2 * whole.std()


def test_global_pooling_is_noticed():
    options = {'type': 'RCAN', **COLOUR, 'num_group': 1, 'num_block': 1, 'squeeze_factor': 4, 'upscale': 2}
    found = ready(built(options), 3, CPU)
    assert found.pools
    assert reach_of(found.run, 200, (1, 2)) is None
    assert not ready(built(FAMILIES['EDSR'][0]), 3, CPU).pools


def test_of_luminance_only_restores_y_and_keeps_colour():
    from ext_arch.luma import rgb_to_ycbcr

    class Brighter(Same):
        def forward(self, x):
            assert x.shape[1] == 1
            return super().forward(x) + 0.1

    image = picture(16, 18)
    made, before = (rgb_to_ycbcr(x) for x in (network(Brighter(), channels=1).run(image), image))
    assert torch.allclose(made[:, :1], before[:, :1].repeat_interleave(2, -1).repeat_interleave(2, -2) + 0.1, atol=1e-5)
    assert torch.allclose(made[:, 1:].mean((2, 3)), before[:, 1:].mean((2, 3)), atol=2e-3)


# ---------------------------------------------------------------------- what is refused
class Shrinks(nn.Module):
    def forward(self, x):
        return x[..., ::2, ::2]


class Chooses(nn.Module):
    """A network that takes sides of multiples of 8 only."""

    def forward(self, x):
        if x.shape[-1] % 8 or x.shape[-2] % 8:
            raise AssertionError('windows do not fit')
        return x


class Never(nn.Module):
    def forward(self, x):
        raise RuntimeError('always broken\nand more')


def test_multiple_is_found_by_trying():
    assert network(Chooses()).multiple == 8
    assert ready(Same(), 3, CPU, multiple=4).multiple == 4


def test_parameters_of_five_dimensions_stay_as_they_are():
    net = Same()
    net.fft = nn.Parameter(torch.ones(4, 1, 1, 8, 5))  # FFTformer's
    assert network(net).scale == 2


@pytest.mark.parametrize(
    ('net', 'channels', 'message'),
    [(Shrinks(), 3, 'cannot enlarge'), (Never(), 3, 'RuntimeError: always broken. Name'), (Same(), 4, '4 channels')],
)
def test_what_does_not_enlarge_is_refused(net, channels, message):
    with pytest.raises(UserError, match=message):
        ready(net, channels, CPU)


def test_files_are_opened(tmp_path):
    weights = small_weights(tmp_path / 'net_g.pth')
    found = open_network(weights, device='cpu')
    assert (found.name, found.scale, found.multiple) == ('MSRResNet x2', 2, 1)
    image = picture(16, 16)
    half = open_network(weights, device='cpu', half=True).run(image)
    assert half.dtype == torch.float32
    assert 0 < (half - found.run(image)).abs().max() < 0.02
    with pytest.raises(UserError, match=r'no\.onnx does not exist'):
        open_network(tmp_path / 'no.onnx')


def test_degradation_network_is_refused(tmp_path):
    options = {'type': 'DegradationNet', 'num_feat': 4, 'scale': 2}
    torch.save({'params': built(options).state_dict()}, tmp_path / 'd.pth')
    (tmp_path / 'd.yml').write_text('scale: 2\nnetwork_g: {type: DegradationNet, num_feat: 4, scale: 2}\n')
    with pytest.raises(UserError, match=r'DegradationNet, which makes images smaller.*synthesize_lr\.py'):
        open_network(tmp_path / 'd.pth', tmp_path / 'd.yml')


@pytest.mark.parametrize('half', [False, True])
def test_onnx(tmp_path, half):
    pytest.importorskip('onnxruntime', reason='needs onnxruntime')
    pytest.importorskip('onnx', reason='needs onnx')
    path = repeating_onnx(tmp_path / 'net.onnx', 3, half)
    found = open_network(path)
    assert (found.name, found.scale, found.multiple) == ('net.onnx x3', 3, 1)
    image = picture(20, 17)
    assert torch.allclose(found.run(image), Same(3)(image), atol=1e-3 if half else 0)
    assert found.on_cpu is None  # so that its reach is not measured
    for arguments in ({'half': True}, {'scale': 3}):
        with pytest.raises(UserError, match=r'net\.onnx'):
            open_network(path, **arguments)


# ---------------------------------------------------------------------- pieces
def test_self_ensemble_is_the_mean_of_eight():
    net = nn.Conv2d(3, 3, 3, padding=1)
    image = picture(9, 14)
    with torch.no_grad():
        by_hand = [
            net(image),
            net(image.flip(-1)).flip(-1),
            net(image.flip(-2)).flip(-2),
            net(image.flip(-1, -2)).flip(-1, -2),
            net(image.mT).mT,
            net(image.mT.flip(-1)).flip(-1).mT,
            net(image.mT.flip(-2)).flip(-2).mT,
            net(image.mT.flip(-1, -2)).flip(-1, -2).mT,
        ]
        made = self_ensemble(net)(image)
        assert torch.allclose(made, torch.stack(by_hand).mean(0), atol=1e-6)
        assert not torch.allclose(made, by_hand[0], atol=1e-3)
        assert torch.allclose(self_ensemble(net)(image.mT), made.mT, atol=1e-6)  # it has the symmetry that nets lack


@pytest.mark.parametrize('multiple', MULTIPLES[:5])
@pytest.mark.parametrize('size', [(1, 1), (1, 40), (17, 3), (32, 33)])
def test_padding_continues_by_reflection(size, multiple):
    image = picture(*size)
    made = continued(image, multiple, PROBE)
    assert all(side % multiple == 0 and PROBE <= side < max(PROBE, *size) + multiple for side in made.shape[-2:])
    assert torch.equal(made[..., : size[0], : size[1]], image)
    if 1 < size[0] < made.shape[-2]:
        assert torch.equal(made[..., size[0], : size[1]], image[..., size[0] - 2, :])


def test_peak_of_live_tensors():
    with LiveBytes() as live:
        first = torch.zeros(1000)
        second = first + 1
        del first
        third = second * 2
        del second
    assert live.peak == 2 * third.nbytes
    with torch.inference_mode(), LiveBytes() as live:
        Repeat(2)(torch.zeros(1, 3, 8, 8))
    assert live.peak >= 3 * 16 * 16 * 4
