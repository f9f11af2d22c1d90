"""Tiles cover an image once, and a function of limited reach does not notice them."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from ext_models.tiles import in_tiles, reach_of, spans


@pytest.mark.parametrize('align', [1, 4, 16])
@pytest.mark.parametrize(('length', 'tile', 'reach'), [(1, 1, 0), (7, 3, 2), (100, 33, 5), (64, 64, 9), (65, 64, 9)])
def test_spans_cover_once_and_have_their_frames(length, tile, reach, align):
    found = list(spans(length, tile, reach, align))
    assert found[0].start == 0
    assert found[-1].stop == length
    assert all(before.stop == after.start for before, after in itertools.pairwise(found))
    for span in found:
        assert span.stop - span.start <= max(tile, align)
        assert span.first % align == 0
        assert span.last % align == 0 or span.last == length
        assert span.first <= max(span.start - reach, 0)
        assert span.last >= min(span.stop + reach, length)


def test_tiles_of_a_strip_are_nearly_equal():
    assert [span.stop - span.start for span in spans(100, 90, 0)] == [50, 50]


@pytest.mark.parametrize(('cells', 'factor'), [((1, 2), 2.0), ((2, 1), 0.5)])
def test_a_function_of_limited_reach_does_not_notice_tiles(cells, factor):
    image = torch.rand(1, 2, 22, 34, dtype=torch.float64)
    sizes = []

    def blur(x):
        sizes.append(x.shape[-1])
        x = x.repeat_interleave(2, -1).repeat_interleave(2, -2) if factor > 1 else F.avg_pool2d(x, 2)
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=True)

    whole = blur(image)
    sizes.clear()
    assert torch.equal(in_tiles(blur, image, 8, 1, cells), whole)
    assert max(sizes) <= (8 + 2) * cells[0]
    assert not torch.equal(in_tiles(blur, image, 8, 0, cells), whole)


@pytest.mark.parametrize(('kernel', 'reach'), [((3, 9), 4), ((9, 3), 4), ((5, 5), 2)])
def test_reach_is_measured_along_both_axes(kernel, reach):
    convolution = torch.nn.Conv2d(3, 3, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
    with torch.no_grad():
        assert reach_of(convolution, 10) == reach
        assert reach_of(convolution, reach - 1) is None
