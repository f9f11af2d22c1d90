"""Validation takes images of any size, and leaves those alone that the network takes as they are."""

import pytest
import torch
from basicsr.models import build_model
from recipes import PIXEL, options

from ext_models.sides import continued

NETWORKS = {
    'window': {
        'type': 'SwinIR', 'upscale': 4, 'img_size': 16, 'window_size': 8, 'depths': [1], 'embed_dim': 12,
        'num_heads': [2], 'mlp_ratio': 2, 'upsampler': 'pixelshuffle', 'resi_connection': '1conv',
    },
    'pixel-unshuffle': {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 2, 'num_feat': 4, 'num_block': 1},
    'two of them': {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 1, 'num_feat': 4, 'num_block': 1},
}  # fmt: skip
MULTIPLE = {'window': 8, 'pixel-unshuffle': 2, 'two of them': 4}
SCALE = {'window': 4, 'pixel-unshuffle': 2, 'two of them': 1}


def model_of(network: dict, model_type: str = 'ExtSRModel', **train):
    torch.manual_seed(0)
    opt = options(model_type, discriminator=None, pixel_opt=PIXEL, **train)
    opt['network_g'] = dict(network)
    return build_model(opt)


@pytest.mark.parametrize('model_type', ['ExtSRModel', 'SRModel'])
@pytest.mark.parametrize('kind', NETWORKS)
def test_any_size_is_taken(kind, model_type):
    model, scale = model_of(NETWORKS[kind], model_type, ema_decay=0.5), SCALE[kind]
    for height, width in ((20, 27), (3, 5), (25, 32), (16, 24)):
        image = torch.rand(1, 3, height, width)
        model.feed_data({'lq': image})
        model.test()
        whole = continued(image, MULTIPLE[kind])
        with torch.no_grad():
            expected = model.net_g_ema(whole)[..., : scale * height, : scale * width]
        assert torch.equal(model.output, expected)
        assert model.output.shape[-2:] == (scale * height, scale * width)
        assert torch.equal(model.lq, image)


def test_tiles_and_mixed_precision_where_the_options_ask_for_them():
    network = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 4}
    model = model_of(network)
    sizes, types = [], []

    def note(layer: torch.nn.Module, images: tuple, made: torch.Tensor) -> None:
        sizes.append(images[0].shape[-1])
        types.append(made.dtype)

    model.net_g.conv_first.register_forward_hook(note)
    results = []
    for val in ({}, {'tile': 32}, {'amp': 'bf16'}):
        model.opt['val'] = val
        model.feed_data({'lq': torch.rand(1, 3, 40, 100, generator=torch.Generator().manual_seed(0))})
        sizes.clear()
        model.test()
        results.append(model.output)
        assert (max(sizes) <= 32 + 2 * 32) == (val == {'tile': 32})  # with a frame around the tile
        assert types[-1] == (torch.bfloat16 if val.get('amp') else torch.float32)
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(results[2], results[0], rtol=0, atol=0.05)  # and in float32
    assert not torch.equal(results[2], results[0])


def test_what_is_wrong_with_the_image_itself_is_said():
    model = model_of(NETWORKS['pixel-unshuffle'])
    model.feed_data({'lq': torch.rand(1, 1, 20, 20)})
    with pytest.raises(RuntimeError, match='channels'):
        model.test()


ERRORS = [
    torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 8.00 GiB.'),
    RuntimeError('[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: not enough memory: you tried to allocate'),
    MemoryError(),
]


def with_memory_for(net: torch.nn.Module, pixels: int, error: Exception, calls: list) -> None:
    """Let a network fail on images of more pixels."""
    forward = net.forward

    def limited(image):
        calls.append(tuple(image.shape[-2:]))
        if image.shape[-1] * image.shape[-2] > pixels:
            raise error
        return forward(image)

    net.forward = limited


@pytest.mark.parametrize('error', ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(('kind', 'model_type'), [('pixel-unshuffle', 'SRModel'), ('two of them', 'ExtSRModel')])
def test_where_memory_runs_out_it_goes_on_in_tiles(kind, model_type, error, caplog):
    caplog.set_level('WARNING', logger='basicsr')
    model, calls = model_of(NETWORKS[kind], model_type), []
    image = torch.rand(1, 3, 151, 224)
    model.feed_data({'lq': image})
    model.test()
    whole = model.output
    with_memory_for(model.net_g, 112 * 112, error, calls)
    model.test()
    assert torch.allclose(model.output, whole, atol=1e-6)
    assert torch.equal(model.lq, image)
    assert calls[0] == (151, 224)
    assert 'an image of 224 x 151 pixels in one piece: going on in tiles of ' in caplog.text


def test_tiles_of_a_network_that_makes_images_smaller():
    reducing = {'type': 'DegradationNet', 'scale': 4, 'num_feat': 4}
    model = model_of(reducing)
    model.lq = torch.rand(1, 3, 160, 224)
    model.test()
    whole = model.output
    with_memory_for(model.net_g, 128 * 128, MemoryError(), [])
    model.test()
    assert whole.shape[-2:] == (40, 56)
    assert torch.allclose(model.output, whole, atol=1e-6)


@pytest.mark.parametrize('error', ERRORS, ids=lambda error: type(error).__name__)
def test_memory_that_does_not_suffice_for_the_smallest_tile_is_an_error(error):
    model, calls = model_of(NETWORKS['pixel-unshuffle']), []
    with_memory_for(model.net_g, 0, error, calls)
    model.feed_data({'lq': torch.rand(1, 3, 15, 150)})
    with pytest.raises(type(error)):
        model.test()
    assert len(calls) == 3  # one for the image, 75 and 37


def test_swinir_models_own_test_goes_on_in_tiles_too():
    model, calls = model_of(NETWORKS['window'], 'SwinIRModel'), []
    with_memory_for(model.net_g, 96 * 96, MemoryError(), calls)
    model.feed_data({'lq': torch.rand(1, 3, 40, 130)})
    model.test()
    assert model.output.shape[-2:] == (160, 520)
