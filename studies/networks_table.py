"""Which networks of spandrel train here: each is built small, trained, saved, opened again and exported.

Example:
    python studies/networks_table.py > table.md
    python studies/networks_table.py SPAN SwinIR

Each trains two iterations on random images by ExtSRModel and by MaskGANModel, in training mode; validates an image of
odd sides; opens again in spandrel with equal output; and is exported to ONNX and compared with PyTorch.
"""

import argparse
import copy
import io
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor, nn

from ext_core.networks.files import GeneratorFile
from ext_core.registration import register_all
from ext_core.use.network import ready
from studies.side_by_side import model_options

_WINDOWS = {'img_size': 16, 'embed_dim': 12, 'num_heads': [2], 'upscale': 4}
_SHUFFLED = _WINDOWS | {'depths': [2], 'window_size': 8, 'upsampler': 'pixelshuffle'}


class Case(NamedTuple):
    """A small network: its arguments, its scale, and the side of its training images."""

    arguments: Mapping[str, Any]
    scale: int = 4
    side: int = 16


CASES = {
    'ATD': Case(_SHUFFLED | {'num_tokens': 8}),
    'Compact': Case({'num_feat': 4, 'num_conv': 2, 'upscale': 4}),
    'CRAFT': Case({'embed_dim': 12, 'depths': [1], 'num_heads': [2], 'upscale': 4}),
    'DAT': Case(_WINDOWS | {'embed_dim': 16, 'depth': [2], 'split_size': [4, 8], 'expansion_factor': 2.0}),
    'DCTLSA': Case({'nf': 10, 'num_modules': 6, 'upscale': 4}),
    'DITN': Case({'dim': 12, 'ITL_blocks': 1, 'SAL_blocks': 1, 'upscale': 4}),
    'DnCNN': Case({'in_nc': 3, 'out_nc': 3, 'nc': 4, 'nb': 5}, 1, 32),
    'DRCT': Case(_SHUFFLED | {'gc': 4, 'window_size': 8}),
    'DRUNet': Case({'in_nc': 3, 'out_nc': 3, 'nc': [4, 4, 8, 8], 'nb': 4}, 1, 32),
    'ESRGAN': Case({'num_filters': 4, 'num_blocks': 1, 'scale': 4}),
    'FBCNN': Case({'nc': [4, 4, 8, 512], 'nb': 1}, 1, 32),
    'FDAT': Case(
        {'embed_dim': 16, 'num_groups': 1, 'depth_per_group': 2, 'num_heads': 2, 'mid_dim': 8, 'aim_reduction_ratio': 4}
    ),
    'FFTformer': Case({'dim': 8, 'num_blocks': [1, 1, 1], 'num_refinement_blocks': 1}, 1, 32),
    'GRL': Case(
        {
            'img_size': 16, 'embed_dim': 12, 'upscale': 4, 'upsampler': 'pixelshuffle', 'depths': [2],
            'num_heads_window': [1], 'num_heads_stripe': [1], 'anchor_window_down_factor': 2,
        }
    ),
    'HAT': Case(_SHUFFLED | {'squeeze_factor': 4, 'num_feat': 8}),
    'HVICIDNet': Case({'channels': [8, 8, 16, 32]}, 1, 32),
    'IPT': Case({'patch_size': 16, 'patch_dim': 4, 'n_feats': 8, 'num_heads': 2, 'num_layers': 1, 'scale': [4]}),
    'KBNet_l': Case({'dim': 48, 'num_blocks': [1, 1, 1, 1], 'num_refinement_blocks': 1}, 1, 32),
    'KBNet_s': Case({'width': 8, 'middle_blk_num': 1, 'enc_blk_nums': [1, 1], 'dec_blk_nums': [1, 1]}, 1, 32),
    'MixDehazeNet': Case({'embed_dims': [8, 16, 32, 16, 8], 'depths': [1, 1, 1, 1, 1], 'out_chans': 4}, 1, 64),
    'MMRealSR': Case({'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1}),
    'MoESR': Case({'dim': 8, 'n_blocks': 1, 'n_block': 1, 'upsample_dim': 8}),
    'MoSR': Case({'n_block': 1, 'dim': 8}),
    'NAFNet': Case({'width': 4, 'enc_blk_nums': [1], 'dec_blk_nums': [1]}, 1, 32),
    'OmniSR': Case({'num_feat': 8, 'up_scale': 4}),
    'PLKSR': Case({'dim': 8, 'n_blocks': 1}),
    'RealPLKSR': Case({'dim': 8, 'n_blocks': 1}),
    'RetinexFormer': Case({'n_feat': 8, 'stage': 1}, 1, 32),
    'RGT': Case(_WINDOWS | {'depth': [2]}),
    'SAFMN': Case({'dim': 8, 'n_blocks': 1}),
    'SAFMNBCIE': Case({'dim': 8, 'n_blocks': 1, 'num_layers': 1}, 1, 32),
    'SCUNet': Case({'config': [1] * 7, 'input_resolution': 64}, 1, 64),
    'SeemoRe': Case({'num_experts': 2, 'num_layers': 1, 'embedding_dim': 8}),
    'SPAN': Case({'num_in_ch': 3, 'num_out_ch': 3, 'feature_channels': 8}),
    'SwiftSRGAN': Case({'num_channels': 8, 'num_blocks': 1}),
    'Swin2SR': Case(_SHUFFLED),
    'Uformer': Case({'img_size': 128, 'embed_dim': 16, 'depths': [1] * 9}, 1, 128),
    'UpCunet2x': Case({}, 2, 32),
    'UpCunet2x_fast': Case({}, 2, 32),
    'UpCunet3x': Case({}, 3, 32),
    'UpCunet4x': Case({}, 4, 32),
}  # fmt: skip
NO_GENERATORS = {
    'AuraSR': 'enlarges images of one size, with noise as a second input',
    'GFPGAN': 'restores faces of 512 x 512',
    'LaMa': 'fills holes, with a mask as a second input',
    'RestoreFormer': 'restores faces of 512 x 512',
}  # and why they are not tried
_PIXEL = {'type': 'L1Loss', 'loss_weight': 1.0}
_ADAM = {'type': 'Adam', 'lr': 1e-4}


# ---------------------------------------------------------------------- what is tried
def trained(name: str, case: Case, model_type: str, folder: Path | None = None) -> Any:
    """A model of this network after two iterations in training mode.

    Args:
        name (str): The class.
        case (Case): The small network.
        model_type (str): 'ExtSRModel', or 'MaskGANModel', which gets a small discriminator.
        folder (Path | None): For checkpoints. Default: None.
    """
    from basicsr.models import build_model

    train: dict[str, Any] = {'optim_g': _ADAM, 'pixel_opt': _PIXEL}
    parts: dict[str, dict] = {'network_g': {'type': name, **case.arguments}}
    if model_type == 'MaskGANModel':
        train |= {'optim_d': _ADAM, 'gan_opt': {'type': 'AdversarialLoss'}, 'mask_opt': {'type': 'ErrorMask'}}
        parts['network_d'] = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}
    torch.manual_seed(0)
    opt = model_options(model_type, train, **parts) | {'scale': case.scale, 'num_gpu': 0, 'manual_seed': 0}
    opt['path'] = {'models': str(folder)}
    model = build_model(opt)
    for iteration in (1, 2):
        large = case.side * case.scale
        model.feed_data({'lq': torch.rand(2, 3, case.side, case.side), 'gt': torch.rand(2, 3, large, large)})
        model.optimize_parameters(iteration)
        values = model.get_current_log()
        if not all(map(np.isfinite, values.values())):
            raise ValueError(f'loss not finite: {values}')
    return model


def idle(net: nn.Module) -> int:
    """How many tensors of weights got no gradient in the last step."""
    return sum(parameter.grad is None for parameter in net.parameters())


def same_in_spandrel(model: Any, case: Case, folder: Path) -> bool:
    """Whether spandrel opens the saved generator by itself, and it makes the same images."""
    import spandrel

    model.save_network(model.net_g, 'net_g', 2)
    opened = spandrel.ModelLoader().load_from_file(folder / 'net_g_2.pth')
    image = torch.rand(1, 3, case.side, case.side)
    return torch.equal(opened.model.eval()(image), output(model, image))


def output(model: Any, image: Tensor) -> Tensor:
    """What the generator makes of an image, in evaluation mode."""
    with torch.no_grad():
        return model.net_g.eval()(image)


def validated(model: Any, case: Case) -> tuple[int, int]:
    """Let the model validate an image of odd sides; the size of its output."""
    model.feed_data({'lq': torch.rand(1, 3, case.side + 3, case.side + 9)})
    model.test()
    return model.output.shape[-2] - case.scale * (case.side + 3), model.output.shape[-1] - case.scale * (case.side + 9)


def exported(model: Any, name: str, case: Case) -> float:
    """The largest difference of onnxruntime from PyTorch on noise."""
    from ext_core.networks import onnx_export

    network = {'type': name, **case.arguments}
    opened = GeneratorFile(Path(name), model.net_g.eval(), network, case.scale, 3, None, 'options')
    noise = np.random.default_rng(0).random((64, 128, 3), np.float32)
    (found,) = onnx_export.differences(opened, onnx_export.export(opened), [('noise', noise)])
    return found.largest


# ---------------------------------------------------------------------- the table
def tried(what: Callable[[], Any]) -> Any:
    """What a function gives, or its error."""
    try:
        with redirect_stdout(io.StringIO()):
            return what()
    except Exception as error:
        return error


def reason(error: Exception) -> str:
    """The beginning of an error, for a cell of the table."""
    said = ' '.join(str(error).split()) or type(error).__name__
    said = said.partition('with opset 17: ')[2] or said
    return (said if len(said) <= 100 else f'{said[:97]}...').replace('|', '/')


def row(name: str, case: Case) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        model = tried(lambda: trained(name, case, 'ExtSRModel', Path(folder)))
        if isinstance(model, Exception):
            return f'| {name} | no: {reason(model)} | | | | | |'
        gan = tried(lambda: trained(name, case, 'MaskGANModel'))
        cells = ['yes', 'yes' if not isinstance(gan, Exception) else f'no: {reason(gan)}', str(idle(model.net_g))]
        beyond = tried(lambda: validated(model, case))
        fitting = tried(lambda: ready(copy.deepcopy(model.net_g).eval(), 3, torch.device('cpu')))
        if isinstance(beyond, Exception) or isinstance(fitting, Exception):
            failed = next(found for found in (beyond, fitting) if isinstance(found, Exception))
            cells.append(f'no: {reason(failed)}')
        else:
            cells.append(str(fitting.multiple) if beyond == (0, 0) else f'no: the result is {beyond} px larger')
        same = tried(lambda: same_in_spandrel(model, case, Path(folder)))
        cells.append(f'no: {reason(same)}' if isinstance(same, Exception) else 'equal' if same else 'differs')
        largest = tried(lambda: exported(model, name, case))
        if isinstance(largest, Exception):
            cells.append(f'no: {reason(largest)}')
        else:
            cells.append(f'{largest:.0e}' if largest <= 1e-4 else f'differs by {largest:.0e}')
        return f'| {" | ".join([name, *cells])} |'


def main(argv: list[str] | None = None) -> int:
    """Print the table.

    Args:
        argv (list[str] | None): Arguments without the program's name. Default: those of the process.

    Returns:
        int: Exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='CLASS', help='default: all')
    names = parser.parse_args(argv).names or list(CASES)
    register_all()
    from basicsr.utils import get_root_logger

    get_root_logger().setLevel('ERROR')
    torch.set_num_threads(1)
    print('| type | supervised | mask-aided GAN | idle weights | sides | in spandrel | ONNX |')
    print('|---|---|---|---|---|---|---|')
    for name in names:
        print(row(name, CASES[name]), flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
