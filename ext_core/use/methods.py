"""What is measured on what: test sets, and the methods that make SR images of them.

Methods are interpolation, networks, ONNX files, and folders of images that were made elsewhere. An :class:`Upscaler`
holds paths and options only, so that it can be sent to another process, which loads what it needs once.
"""

import functools
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from ext_core.atomic import sum_of
from ext_core.box import from_box
from ext_core.errors import UserError, failure_text
from ext_core.networks.files import GeneratorFile, open_generator
from ext_core.networks.weight_files import SUFFIXES, experiment_files
from ext_core.options import loading as options
from ext_core.use.evaluation import Folders, bicubic, image_pairs, read, upscale
from ext_core.use.jobs import fingerprint
from ext_core.use.network import run_onnx
from ext_data.decoding import IMAGE_SUFFIXES, decode_with_header, is_scaled, read_bytes

_PROBE = 48  # px of LR, a multiple of the windows and strides that networks have
_KINDS = (
    'Name an experiment or a folder of images, a .pth or .safetensors file (with :OPTIONS.yml where it does not tell '
    'its network), a name in generators/, an option file (.yml) with path:pretrain_network_g, or an .onnx file.'
)


# ---------------------------------------------------------------------- sets
@dataclass(frozen=True)
class Place:
    """One image of a test set: its LR and HR file."""

    set_name: str
    scale: int
    low: Path
    gt: Path

    @property
    def name(self) -> str:
        """The file name without its suffix."""
        return self.gt.stem

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) that its result has: scale times LR."""
        width, height = size_of(self.low)
        return self.scale * width, self.scale * height


@dataclass(frozen=True)
class TestSet:
    """Images with a common scale."""

    __test__ = False  # the name is not meant for pytest

    name: str
    scale: int
    places: tuple[Place, ...]


def read_set(name: str, folders: Folders) -> TestSet:
    """The pairs in (HR, LR) folders.

    Raises:
        UserError: If a folder is missing or holds no pairs, a file cannot be read, or sizes do not fit: HR must be
            scale times LR, or up to scale - 1 pixels larger, with the same scale throughout.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f'{name}: there is no folder {folder}. Correct --set.')
    files = image_pairs([folders])
    (low_width, _), (width, _) = (size_of(path) for path in files[0])
    scale = max(1, round(width / low_width))
    for low, gt in files:
        small, large = size_of(low), size_of(gt)
        if not is_scaled(large, small, scale):
            raise UserError(
                f'{name}: {gt} is {large[0]} x {large[1]}, which is not {scale} times {low}, {small[0]} x {small[1]} '
                '(width x height). All pairs of a set need one scale: correct the folders, or make the LR images anew.'
            )
    return TestSet(name, scale, tuple(Place(name, scale, low, gt) for low, gt in files))


@functools.cache
def size_of(path: Path) -> tuple[int, int]:
    """(width, height) of a file.

    Raises:
        UserError: If it is no image.
    """
    from ext_core.options.image_files import file_size  # BasicSR comes with it, which must be registered first

    size = file_size(path)
    if size is None:
        raise UserError(f'{path} cannot be read as an image. Replace it, or remove it from the set.')
    return size


@functools.cache
def hash_of(path: Path) -> str:
    """SHA-256 of a file's content."""
    return sum_of(path).sha256


# ---------------------------------------------------------------------- methods
@dataclass
class Upscaler:
    """A method by its name.

    ``timed``: it has :meth:`enlarge`, and its images are kept with the results. ``only``: the metrics that have a
    meaning for it, whose images are not shown beside others; None for all.
    """

    name: str
    scale: int | None = None  # None: any

    timed: ClassVar[bool] = True
    only: ClassVar[Collection[str] | None] = None

    def takes(self, test_set: TestSet) -> bool:
        """Whether it is measured on a set."""
        return self.scale in (None, test_set.scale)

    def identity(self) -> str:
        """A hash of all that decides its images, besides the image that it starts from."""
        return fingerprint(type(self).__name__)

    def sources(self, place: Place) -> Sequence[Path]:
        """The files that it starts from."""
        return [place.low]

    def enlarge(self, low: np.ndarray, scale: int) -> np.ndarray:
        """uint8 BGR LR to uint8 BGR SR; a class that is not timed defines :meth:`render` instead."""
        raise NotImplementedError

    def render(self, place: Place) -> np.ndarray:
        """The SR image, uint8 BGR (h, w, 3)."""
        return self.enlarge(read(place.low), place.scale)

    def truth(self, place: Place) -> np.ndarray:
        """The image that it is compared with, before cropping to the size of its result."""
        return read(place.gt)


class Bicubic(Upscaler):
    """MATLAB's bicubic interpolation of the LR file, as BasicSR implements it."""

    def enlarge(self, low: np.ndarray, scale: int) -> np.ndarray:
        return bicubic(low, scale)


class Nearest(Upscaler):
    """Each LR pixel repeated."""

    def enlarge(self, low: np.ndarray, scale: int) -> np.ndarray:
        return low.repeat(scale, axis=0).repeat(scale, axis=1)


class LiteratureBicubic(Upscaler):
    """The bicubic row of papers: from rounded luminance of HR, reduced and enlarged without rounding between.

    uint8 Y of HR -> bicubic reduction and enlargement in double precision -> [16, 235] -> uint8, compared with Y of HR.
    A one-channel file is its own luminance. The LR files play no part.
    """

    timed = False
    only = ('psnr', 'ssim')

    def sources(self, place: Place) -> Sequence[Path]:
        return [place.gt]

    def render(self, place: Place) -> np.ndarray:
        from ext_arch.resize import bicubic_downscale, bicubic_upscale

        width, height = place.size
        y = torch.from_numpy(self.truth(place)[:height, :width, 0].astype(np.float64))[None, None]
        enlarged = bicubic_upscale(bicubic_downscale(y, place.scale), place.scale)
        return enlarged[0, 0].clamp(16, 235).round().to(torch.uint8).numpy()[..., None]

    def truth(self, place: Place) -> np.ndarray:
        image, header, _ = decode_with_header(read_bytes(place.gt), str(place.gt))
        if header and header.grey:
            return image[..., :1]
        # MATLAB's rgb2ycbcr [ITU-R BT.601], in double precision, because the rounding decides the fourth digit
        y = 16 + image.astype(np.float64) @ np.array([24.966, 128.553, 65.481]) / 255
        return y.round().astype(np.uint8)[..., None]


@dataclass
class NetworkFile(Upscaler):
    """A generator, by what :func:`ext_core.networks.files.open_generator` takes."""

    weights: Path = field(default_factory=Path)
    options: Path | None = None
    param_key: str = 'params_ema'

    def identity(self) -> str:
        network = json.dumps(self.opened().network)
        return fingerprint(type(self).__name__, network, self.param_key, hash_of(self.weights))

    def opened(self) -> GeneratorFile:
        return generator(self.weights, self.options, self.param_key)

    def enlarge(self, low: np.ndarray, scale: int) -> np.ndarray:
        return upscale(self.opened().net, low)


@functools.cache
def generator(weights: Path, options: Path | None, param_key: str = 'params_ema') -> GeneratorFile:
    """An opened generator, on the GPU where there is one; opened once in a process."""
    opened = open_generator(weights, options=options, key=param_key)
    if torch.cuda.is_available():
        opened.net.cuda()
    return opened


@dataclass
class OnnxFile(Upscaler):
    """An ONNX model: one input, (1, 3, h, w) RGB in [0, 1] with free h and w, and one output of the same kind."""

    path: Path = field(default_factory=Path)

    def identity(self) -> str:
        beside = self.path.with_name(f'{self.path.name}.data')  # weights of large models
        return fingerprint(type(self).__name__, [hash_of(path) for path in (self.path, beside) if path.is_file()])

    def enlarge(self, low: np.ndarray, scale: int) -> np.ndarray:
        return upscale(functools.partial(run_onnx, self.path), low)


@dataclass
class ImageFolder(Upscaler):
    """Images that were made elsewhere: ``files[set][image]``."""

    files: dict[str, dict[str, Path]] = field(default_factory=dict)

    timed = False

    def takes(self, test_set: TestSet) -> bool:
        return test_set.name in self.files

    def sources(self, place: Place) -> Sequence[Path]:
        return [self.files[place.set_name][place.name]]

    def render(self, place: Place) -> np.ndarray:
        return read(self.sources(place)[0])


def image_folder(name: str, folder: Path, sets: Iterable[TestSet]) -> ImageFolder:
    """The images of sets in a folder: in its subfolder of a set's name, else in itself.

    Their names may have one common addition, as BasicSR's ``visualization/<set>/<image>_<experiment>.png`` have.

    Raises:
        UserError: If a set's subfolder is not complete, no set's images are there in the right size, or images in the
            folder itself could be those of several sets.
    """
    files: dict[str, dict[str, Path]] = {}
    reasons, loose = [], []
    for test_set in sets:
        own = folder / test_set.name
        place = own if own.is_dir() else folder
        present = {path.stem: path for path in sorted(place.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES}
        names = [image.name for image in test_set.places]
        additions = sorted((stem[len(names[0]) :] for stem in present if stem.startswith(names[0])), key=len)
        addition = next((end for end in additions if all(name + end in present for name in names)), None)
        found = {} if addition is None else {name: present[name + addition] for name in names}
        wrong = next((image for image in test_set.places if found and size_of(found[image.name]) != image.size), None)
        if found and wrong is None:
            files[test_set.name] = found
            loose += [] if own.is_dir() else [test_set.name]
            continue
        absent = next((name for name in names if name not in present), names[0])
        reason = f'{place} lacks images of {test_set.name}, such as {absent}. Add them, or leave the set out.'
        if wrong is not None:
            size, expected = (f'{width} x {height}' for width, height in (size_of(found[wrong.name]), wrong.size))
            reason = (
                f'{found[wrong.name]} is {size}, but scale ({wrong.scale}) times {wrong.low} is {expected} (width x '
                'height). Make it anew, or correct --set.'
            )
        if own.is_dir():
            raise UserError(f'{name}: {reason}')
        reasons.append(reason)
    if not files:
        raise UserError('\n'.join([f'{name}: {folder} has the images of no set.', *reasons]))
    if len(loose) > 1:  # for instance the same set at two scales
        raise UserError(
            f'{name}: {folder} fits {" and ".join(loose)}. Put the images of each set into a folder of its name in it.'
        )
    return ImageFolder(name, files=files)


# ---------------------------------------------------------------------- of the command line
def upscaler_of(text: str, sets: Sequence[TestSet]) -> Upscaler:
    """A method of the command line, ``[NAME=]SOURCE``, ready to be measured.

    Raises:
        UserError: If it cannot be read, fits no set, or its images have another size than scale times LR.
    """
    name, equals, source = text.partition('=')
    if not equals or '/' in name:
        name, source = '', text
    file, colon, beside = source.partition(':')
    path = from_box(file)
    suffix = path.suffix.lower()
    name = name or (path.resolve().name if path.is_dir() else path.stem)
    upscaler: Upscaler
    if not path.is_dir() and not path.is_file():
        raise UserError(f'{source}: there is no {path}. {_KINDS}')
    if path.is_dir() and not (path / 'models').is_dir():
        upscaler = image_folder(name, path, sets)
    elif suffix == '.onnx':
        upscaler = OnnxFile(name, run_onnx(path, torch.zeros(1, 3, _PROBE, _PROBE)).shape[-1] // _PROBE, path=path)
    else:
        weights, option_file, key = path, Path(beside) if colon else None, 'params_ema'  # EMA where there are some
        if path.is_dir():
            option_file, weights = experiment_files(path)
        elif suffix in ('.yml', '.yaml'):  # the weights that it starts from or tests
            paths = options.load(path).get('path')
            paths = paths if isinstance(paths, dict) else {}
            start = paths.get('pretrain_network_g')
            if not isinstance(start, str):
                raise UserError(f'{path} names no weights. Set path:pretrain_network_g, or name the .pth file.')
            weights, option_file, key = from_box(Path(start).expanduser()), path, paths.get('param_key_g') or 'params'
        elif suffix not in SUFFIXES:
            raise UserError(f'{source} is of no kind that can be measured. {_KINDS}')
        upscaler = NetworkFile(name, generator(weights, option_file, key).scale, weights, option_file, key)

    fitting = [test_set for test_set in sets if upscaler.takes(test_set)]
    if not fitting:
        scales = ', '.join(f'{test_set.name} {test_set.scale}' for test_set in sets)
        raise UserError(f'{upscaler.name} enlarges by {upscaler.scale}, but the sets have the scales: {scales}.')
    if upscaler.timed:  # a corner of the first image, so that what does not fit shows before anything is measured
        scale = fitting[0].scale
        low = read(fitting[0].places[0].low)[:_PROBE, :_PROBE]
        expected = (low.shape[0] * scale, low.shape[1] * scale, 3)
        try:
            made = upscaler.enlarge(low, scale).shape
        except Exception as error:  # ONNX has types of its own
            raise UserError(
                f'{name} fails on an image of {low.shape[1]} x {low.shape[0]}: {failure_text(error)}'
            ) from error
        if made != expected:
            raise UserError(
                f'{name} makes {made} of {low.shape}, not scale ({scale}) times as much, {expected}. '
                'Correct the scale of the option file, or the sets.'
            )
    return upscaler


def require_names(names: Sequence[str], what: str) -> None:
    """Names that folders can have, each once.

    Raises:
        UserError: If one cannot be used.
    """
    for name in names:
        if not re.fullmatch(r'[\w+(-][\w .,+()-]*', name):
            raise UserError(f"{what} '{name}': use letters, digits and _ + - . only. Write NAME=... to name it.")
        if names.count(name) > 1:
            raise UserError(f"two {what}s are called '{name}'. Write NAME=... to name them.")
