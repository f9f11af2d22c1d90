"""What makes SR images: interpolation, networks, ONNX files, and folders of images that were made elsewhere.

An :class:`Upscaler` holds paths and options only, so that it can be sent to another process, which loads what it needs
once.
"""

import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ext_core.benchmark.sets import Place, TestSet, hash_of, size_of
from ext_core.errors import UserError
from ext_core.generators.files import GeneratorFile, open_generator
from ext_core.inference.evaluation import Method, read, upscale
from ext_core.training.jobs import fingerprint
from ext_data.decoding import decode_with_header, read_bytes

Enlarge = Callable[[np.ndarray, int], np.ndarray]  # uint8 BGR LR and the scale to uint8 BGR SR


@dataclass
class Upscaler:
    """A method by its name.

    ``kept``: its images are stored with the results. ``pictured``: they may be shown beside others. ``only``: the
    metrics that have a meaning for it; None for all.
    """

    name: str
    scale: int | None = None  # None: any

    kept: ClassVar[bool] = True
    pictured: ClassVar[bool] = True
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

    def enlarger(self) -> Enlarge | None:
        """The function that is timed; None where there is nothing to time."""
        return None

    def render(self, place: Place) -> np.ndarray:
        """The SR image, uint8 BGR (h, w, 3)."""
        enlarge = self.enlarger()
        assert enlarge is not None, 'a class without enlarger() defines render()'
        return enlarge(read(place.low), place.scale)

    def truth(self, place: Place) -> np.ndarray:
        """The image that it is compared with, before cropping to the size of its result."""
        return read(place.gt)


# ---------------------------------------------------------------------- without weights
class Bicubic(Upscaler):
    """MATLAB's bicubic interpolation of the LR file, as BasicSR implements it."""

    def enlarger(self) -> Enlarge:
        return lambda low, scale: upscale(Method(self.name, scale), low)


class Nearest(Upscaler):
    """Each LR pixel repeated."""

    def enlarger(self) -> Enlarge:
        return lambda low, scale: low.repeat(scale, axis=0).repeat(scale, axis=1)


class LiteratureBicubic(Upscaler):
    """The bicubic row of papers: from rounded luminance of HR, reduced and enlarged without rounding between.

    uint8 Y of HR -> bicubic reduction and enlargement in double precision -> [16, 235] -> uint8, compared with Y of HR.
    A one-channel file is its own luminance. The LR files play no part.
    """

    kept = False
    pictured = False
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


# ---------------------------------------------------------------------- with weights
@dataclass
class NetworkFile(Upscaler):
    """A generator.

    Args:
        network (str): ``network_g`` as JSON.
        weights (Path), options (Path | None), param_key (str): What :func:`ext_core.generators.files.open_generator`
            takes.
    """

    network: str = ''
    weights: Path = field(default_factory=Path)
    options: Path | None = None
    param_key: str = 'params_ema'

    def identity(self) -> str:
        return fingerprint(type(self).__name__, self.network, self.param_key, hash_of(self.weights))

    def net(self) -> torch.nn.Module:
        """The network, on the GPU where there is one; loaded once in a process."""
        return generator(self.weights, self.options, self.param_key).net

    def enlarger(self) -> Enlarge:
        return lambda low, scale: upscale(Method(self.name, scale, self.net()), low)


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

    def enlarger(self) -> Enlarge:
        return lambda low, scale: run_onnx(self.path, low)


def run_onnx(path: Path, low: np.ndarray) -> np.ndarray:
    """What a model makes of a uint8 BGR image, as such."""
    from basicsr.utils import img2tensor, tensor2img

    session = onnx_session(path)
    entry = session.get_inputs()[0]
    kind = np.float16 if entry.type == 'tensor(float16)' else np.float32
    image = img2tensor(low.astype(np.float32) / 255)[None].numpy().astype(kind)
    return tensor2img([torch.from_numpy(session.run(None, {entry.name: image})[0].astype(np.float32))])


@functools.cache
def onnx_session(path: Path) -> Any:
    """A model ready to run, loaded once in a process.

    Raises:
        UserError: If the package is missing, the file cannot be read, or the model does not take colour images of any
            size.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f'{path} needs the package onnxruntime. Install it with: pip install onnxruntime') from error
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=onnxruntime.get_available_providers())
    except Exception as error:  # the package has an exception type for each kind of damage
        raise UserError(f'{path} cannot be read as an ONNX model: {error}. Export it again.') from error
    entries = session.get_inputs()
    shape = list(entries[0].shape) if len(entries) == 1 else []
    if len(shape) != 4 or shape[1] == 1 or any(isinstance(side, int) for side in shape[2:]):
        raise UserError(
            f'{path} takes {[entry.shape for entry in entries]}, but must take one tensor, (1, 3, height, width), with '
            'free height and width. Export it for colour images, with dynamic axes.'
        )
    return session


# ---------------------------------------------------------------------- images that are there
@dataclass
class ImageFolder(Upscaler):
    """Images that were made elsewhere: ``files[set][image]``."""

    files: dict[str, dict[str, Path]] = field(default_factory=dict)

    kept = False

    def takes(self, test_set: TestSet) -> bool:
        return test_set.name in self.files

    def sources(self, place: Place) -> Sequence[Path]:
        return [self.files[place.set_name][place.name]]

    def render(self, place: Place) -> np.ndarray:
        return read(self.files[place.set_name][place.name])


def image_folder(name: str, folder: Path, sets: Iterable[TestSet]) -> ImageFolder:
    """The images of sets in a folder: in its subfolder of a set's name, else in itself.

    Their names may have one common addition, as BasicSR's ``visualization/<set>/<image>_<experiment>.png`` have.

    Raises:
        UserError: If a set's subfolder is not complete, no set's images are there in the right size, or images in the
            folder itself could be those of several sets.
    """
    files: dict[str, dict[str, Path]] = {}
    reasons = []
    for test_set in sets:
        own = folder / test_set.name
        found = _images_of(own if own.is_dir() else folder, test_set)
        if not isinstance(found, str):
            files[test_set.name] = found
        elif own.is_dir():
            raise UserError(f'{name}: {found}')
        else:
            reasons.append(found)
    if not files:
        raise UserError('\n'.join([f'{name}: {folder} has the images of no set.', *reasons]))
    loose = [set_name for set_name in files if not (folder / set_name).is_dir()]
    if len(loose) > 1:  # for instance the same set at two scales
        raise UserError(
            f'{name}: {folder} fits {" and ".join(loose)}. Put the images of each set into a folder of its name in it.'
        )
    return ImageFolder(name, files=files)


def _images_of(folder: Path, test_set: TestSet) -> dict[str, Path] | str:
    """Files by image, or what is wrong."""
    from ext_data.decoding import IMAGE_SUFFIXES

    present = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES}
    first = test_set.places[0].name
    additions = sorted((stem[len(first) :] for stem in present if stem.startswith(first)), key=len)
    complete = [end for end in additions if all(place.name + end in present for place in test_set.places)]
    if not complete:
        absent = next((place.name for place in test_set.places if place.name not in present), first)
        return f'{folder} lacks images of {test_set.name}, such as {absent}. Add them, or leave the set out.'
    found = {place.name: present[place.name + complete[0]] for place in test_set.places}
    for place in test_set.places:
        size, expected = size_of(found[place.name]), place.size
        if size != expected:
            return (
                f'{found[place.name]} is {size[0]} x {size[1]}, but scale ({place.scale}) times {place.low} is '
                f'{expected[0]} x {expected[1]} (width x height). Make it anew, or correct --set.'
            )
    return found
