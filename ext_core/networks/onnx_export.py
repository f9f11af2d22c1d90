"""ONNX models of generators, which take images of any size, and their comparison with PyTorch.

Written by PyTorch's exporter of traces (``dynamo=False``): it needs no further package, and gives the plain operators
that other runtimes know.
"""

import contextlib
import copy
import importlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ext_core.errors import UserError
from ext_core.networks.files import GeneratorFile
from ext_core.networks.metadata import Metadata
from ext_models.sides import MULTIPLES

DEFAULT_OPSET = 17
INPUT, OUTPUT = 'input', 'output'
_TRACED = 12  # px, or the next multiple that the network takes; small, since halves are slow on the CPU
_BICUBIC = 'aten::_upsample_bicubic2d_aa'


class _InHalf(nn.Module):
    """A network that computes in float16 between images in float32, so that users need not convert theirs."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = copy.deepcopy(net).half()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.half()).float()


@dataclass(frozen=True)
class Difference:
    """The largest difference of the outputs for one image, over all pixels, in [0, 1]."""

    name: str
    size: tuple[int, int]  # width, height
    largest: float


# ---------------------------------------------------------------------- writing
def export(
    opened: GeneratorFile, opset: int = DEFAULT_OPSET, half: bool = False, metadata: Metadata | None = None
) -> bytes:
    """An ONNX model: ``input`` (n, c, h, w) to ``output``, float32 RGB in [0, 1], n, h and w free.

    Where h and w must be multiples of a number, such as the window of a transformer, their names in the file say so.

    Args:
        opened (GeneratorFile): The generator. Networks for luminance are exported with their way for colour images. Its
            ``multiple`` is raised to what the network takes.
        opset (int): Version of the operators, 13 to 20.
        half (bool): Whether weights and computation are in float16.
        metadata (Metadata | None): Properties of the file that tell what it is.

    Raises:
        UserError: If a package is missing, the network takes no images, or has an operator that ONNX lacks.
    """
    onnx = _package('onnx')
    refused, channels = None, opened.channels
    for multiple in (opened.multiple * factor for factor in MULTIPLES):  # also of a window that only a trial shows
        odd = -(-_TRACED // multiple) // 2 * 2 + 1  # of which no larger multiple divides the sides
        try:
            with torch.inference_mode():
                opened.net(torch.zeros(1, channels, multiple * odd, multiple * (odd + 2)))
            break
        except (AssertionError, RuntimeError, ValueError) as error:
            refused = refused or error
        if 2 * multiple > MULTIPLES[-1]:
            raise UserError(f'{opened.type} takes no images of {channels} channels: {refused}') from refused
    opened.multiple = multiple
    net = (_InHalf(opened.net) if half else opened.net).eval()
    side = -(-_TRACED // opened.multiple) * opened.multiple
    sample = torch.rand(1, channels, side, 2 * side)
    ending = '' if opened.multiple == 1 else f'_multiple_of_{opened.multiple}'
    axes = {0: 'n', 2: f'height{ending}', 3: f'width{ending}'}
    larger = {0: 'n', 2: 'height_out', 3: 'width_out'}
    buffer: Any = io.BytesIO()  # which the declared types leave out
    try:
        with warnings.catch_warnings(), _bicubic(opset), torch.no_grad():
            warnings.simplefilter('ignore')  # of the checks of sizes, which are traced as passed
            torch.onnx.export(
                net,
                (sample,),
                buffer,
                dynamo=False,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: axes, OUTPUT: larger},
            )
        model = onnx.load_from_string(buffer.getvalue())
        onnx.checker.check_model(model, full_check=True)
    except (AssertionError, RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = ' Try another --opset.' if 'opset' in reason else ''
        raise UserError(f'{opened.type} cannot be exported with opset {opset}: {reason}.{remedy}') from error
    if metadata is not None:
        onnx.helper.set_model_props(model, metadata.to_strings())
    model.producer_version = torch.__version__.partition('+')[0]
    return model.SerializeToString()


@contextlib.contextmanager
def _bicubic(opset: int) -> Iterator[None]:
    """Teach the exporter the bicubic enlargement of ``ext_arch.resize``: MATLAB's kernel, renormalised at the border.

    Without the widening that reduces images; the comparison with PyTorch would show a network that needs it.
    """
    from torch.onnx import register_custom_op_symbolic, unregister_custom_op_symbolic

    def symbolic(g: Any, x: Any, size: Any, align_corners: Any, *scales: Any) -> Any:
        def constant(*values: int) -> Any:
            return g.op('Constant', value_t=torch.tensor(values, dtype=torch.int64 if values else torch.float32))

        sides = [size]
        if size.node().kind() == 'prim::ListConstruct':
            sides = [g.op('Unsqueeze', side, constant(0)) for side in size.node().inputs()]
        first = g.op('Slice', g.op('Shape', x), constant(0), constant(2), constant(0))
        return g.op(
            'Resize',
            x,
            constant(),  # roi
            constant(),  # scales
            g.op('Concat', first, *sides, axis_i=0),
            mode_s='cubic',
            cubic_coeff_a_f=-0.5,
            exclude_outside_i=1,
            coordinate_transformation_mode_s='half_pixel',
        ).setType(x.type().with_sizes([None] * 4))

    register_custom_op_symbolic(_BICUBIC, symbolic, opset)
    try:
        yield
    finally:
        unregister_custom_op_symbolic(_BICUBIC, opset)


# ---------------------------------------------------------------------- checking
def session_of(model: bytes | Path) -> Any:
    """onnxruntime with a model: on the CPU, a file on whatever device it finds.

    Raises:
        UserError: If the package is missing, or it cannot read the model.
    """
    onnxruntime = _package('onnxruntime')
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    in_memory = isinstance(model, bytes)
    providers = ['CPUExecutionProvider'] if in_memory else onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(model if in_memory else str(model), settings, providers=providers)
    except Exception as error:  # the package has a type for each kind of damage
        what, reason = 'The model' if in_memory else str(model), str(error) or type(error).__name__
        raise UserError(
            f'{what} cannot be read as an ONNX model: {reason.splitlines()[0]}. Export it again.'
        ) from error


def differences(opened: GeneratorFile, model: bytes, images: Sequence[tuple[str, np.ndarray]]) -> list[Difference]:
    """Compare onnxruntime with PyTorch in float32.

    Args:
        opened (GeneratorFile): The generator.
        model (bytes): The same as ONNX.
        images (Sequence[tuple[str, np.ndarray]]): Names and images, (h, w, 3) RGB in [0, 1]. They are cut to the sizes
            that the network takes.
    """
    session = session_of(model)
    found = []
    for name, image in images:
        height, width = (side // opened.multiple * opened.multiple for side in image.shape[:2])
        if not height or not width:
            raise UserError(f'{name} is smaller than {opened.multiple} x {opened.multiple}. Give larger images.')
        cut = image[:height, :width, : opened.channels].transpose(2, 0, 1)[None]
        cut = np.ascontiguousarray(cut, dtype=np.float32)
        try:
            with torch.inference_mode():
                expected = opened.net(torch.from_numpy(cut)).numpy()
            made = session.run(None, {INPUT: cut})[0]
        except Exception as error:  # onnxruntime's types derive from nothing in common
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f'{opened.type} fails on {name}, {width} x {height}: {reason}') from error
        largest = float(np.abs(made - expected).max()) if made.shape == expected.shape else float('inf')
        found.append(Difference(name, (width, height), largest))
    return found


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f'ONNX models need the package {name}. Install it with: pip install {name}') from error
