"""Small networks and images for the tests of scripts/upscale.py."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ext_core.use.network import Network, ready

CPU = torch.device('cpu')


class Repeat(nn.Module):
    """Each pixel repeated, red raised by a quarter of blue: what it makes is known exactly."""

    def __init__(self, scale: int = 2):
        super().__init__()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)
        return torch.cat([x[:, :1] + x[:, 2:] / 4, x[:, 1:]], 1) if x.shape[1] == 3 else x


class Same(Repeat):
    """Each pixel repeated."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)


def network(net: nn.Module | None = None, channels: int = 3) -> Network:
    return ready((net or Same()).eval(), channels, CPU)


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def repeated(image: np.ndarray, scale: int = 2) -> np.ndarray:
    return image.repeat(scale, 0).repeat(scale, 1)


def small_weights(path: Path, scale: int = 2) -> Path:
    """A MSRResNet of a few features, whose file shows what it is."""
    from basicsr.archs import build_network

    options = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': scale}
    torch.manual_seed(0)
    torch.save({'params': build_network(options).state_dict()}, path)
    return path


def repeating_onnx(path: Path, scale: int = 2, half: bool = False, shape: Sequence = (1, 3, 'h', 'w')) -> Path:
    """Each pixel repeated, as an ONNX model."""
    import onnx

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
    scales = helper.make_tensor('s', onnx.TensorProto.FLOAT, [4], [1, 1, scale, scale])
    nearest = {'mode': 'nearest', 'coordinate_transformation_mode': 'asymmetric', 'nearest_mode': 'floor'}
    graph = helper.make_graph(
        [helper.make_node('Resize', ['x', '', 's'], ['y'], **nearest)],
        'nearest',
        [helper.make_tensor_value_info('x', kind, shape)],
        [helper.make_tensor_value_info('y', kind, None)],
        [scales],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8), path)
    return path
