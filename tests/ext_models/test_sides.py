"""Validation takes images of any size, and leaves those alone that the network takes as they are."""

import pytest
import torch
from basicsr.models import build_model
from recipes import PIXEL, options

from ext_core.use.enlarge import padded
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
@pytest.mark.parametrize('size', [(20, 27), (3, 5), (25, 32), (16, 24)])
def test_any_size_is_taken(kind, size, model_type):
    model, scale = model_of(NETWORKS[kind], model_type, ema_decay=0.5), SCALE[kind]
    image = torch.rand(1, 3, *size)
    model.feed_data({'lq': image})
    model.test()
    whole = continued(image, MULTIPLE[kind])
    with torch.no_grad():
        expected = model.net_g_ema(whole)[..., : scale * size[0], : scale * size[1]]
    assert torch.equal(model.output, expected)
    assert model.output.shape[-2:] == (scale * size[0], scale * size[1])
    assert model.lq is image or torch.equal(model.lq, image)
    assert whole.shape[-2:] != size or torch.equal(whole, image)


def test_images_are_continued_as_for_upscale():
    image = torch.rand(1, 3, 17, 30)
    as_numpy = padded(image[0].permute(1, 2, 0).numpy(), 8)
    assert torch.equal(continued(image, 8)[0].permute(1, 2, 0), torch.from_numpy(as_numpy))


def test_what_is_wrong_with_the_image_itself_is_said():
    model = model_of(NETWORKS['pixel-unshuffle'])
    model.feed_data({'lq': torch.rand(1, 1, 20, 20)})
    with pytest.raises(RuntimeError, match='channels'):
        model.test()


def test_no_second_try_where_memory_runs_out(monkeypatch):
    model, calls = model_of(NETWORKS['pixel-unshuffle']), []

    def out_of_memory(image):
        calls.append(image)
        raise torch.OutOfMemoryError('8 GiB')

    monkeypatch.setattr(model.net_g, 'forward', out_of_memory)
    model.feed_data({'lq': torch.rand(1, 3, 15, 15)})
    with pytest.raises(torch.OutOfMemoryError):
        model.test()
    assert len(calls) == 1
