"""The norms of the losses' gradients at the generated images."""

import pytest
import torch

from ext_models.gradient_norms import GradientNorms
from ext_models.precision import Precision


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
