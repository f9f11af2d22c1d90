"""Networks that only take sides of certain multiples, such as those with windows: images are continued, results cut."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)  # that are tried


def continued(image: Tensor, multiple: int) -> Tensor:
    """An image (n, c, h, w), continued at the bottom and the right by its mirror image to multiples of both sides."""
    for dim in (-2, -1):
        side = image.shape[dim]
        # unlike torch's, NumPy's reflection may be longer than the image
        index = np.pad(np.arange(side), (0, -side % multiple), mode='reflect')
        image = image.index_select(dim, torch.from_numpy(index).to(image.device))
    return image


def in_whole_multiples(model: Any, test: Callable[[], None]) -> None:
    """Let a model test ``model.lq``; where its network refuses the size, continued to the smallest multiple it takes.

    An image that the network takes as it is goes in as it is.

    Args:
        model (SRModel): ``output`` is (n, c, scale h, scale w) afterwards.
        test (Callable): Makes ``model.output`` of ``model.lq``.

    Raises:
        Exception: What the network said of the image as it is, if it takes none of the sizes.
    """
    image = model.lq
    height, width = image.shape[-2:]
    refused = None
    tried = set()
    for multiple in MULTIPLES:
        model.lq = image if multiple == 1 else continued(image, multiple)
        size = tuple(model.lq.shape[-2:])
        if size in tried:
            continue
        tried.add(size)
        try:
            test()
        except torch.OutOfMemoryError:
            raise
        except (AssertionError, RuntimeError, ValueError) as error:
            refused = refused or error
            continue
        finally:
            model.lq = image
        if refused is not None:
            factor = model.output.shape[-1] // size[1]
            if tuple(model.output.shape[-2:]) != (factor * size[0], factor * size[1]) or not factor:
                break
            model.output = model.output[..., : factor * height, : factor * width]
        return
    assert refused is not None
    raise refused
