"""High-resolution images and real low-resolution photographs of other scenes, side by side."""

import random
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from basicsr.data.transforms import augment, mod_crop
from basicsr.utils import get_root_logger, img2tensor
from basicsr.utils.matlab_functions import imresize
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from ext_data.decoding import as_float, decode
from ext_data.hr_pool import random_corner
from ext_data.roots import RootOptions, Roots, repeated

REDRAWS = 10  # unreadable real LR images in a row before a sample counts as failed


@DATASET_REGISTRY.register()
class UnpairedImageDataset(Dataset):
    """HR images and real LR images that do not belong together, for unpaired training.

    Both pools are folders, or both LMDBs; each may be several. Files are read as 8-bit colour, see
    :func:`ext_data.decoding.decode`.

    **Training.** The index chooses the HR image. The real LR image is drawn at random for each sample, with its own
    crop, flips and rotation, so over the epochs every HR image meets every real one. All draws come from Python's
    global generator, which ``ext_data.samples.SeededDataset`` seeds by (seed, epoch, index). An unreadable real LR
    image is reported once and another one drawn; an unreadable HR image is the caller's business.

    **Validation.** Nothing is random and nothing is cropped, but for HR, which is cut to a multiple of the scale. There
    are as many samples as real LR images; the n-th has the n-th HR image of the sorted pool, starting over where there
    are fewer (HR images beyond the number of real ones are not used). They are held-out images to compare sets of
    images with: no ``gt`` belongs to a ``real_lq``.

    Args:
        opt (dict): Section of the option file, with the keys of ``Options`` and, in training, of ``TrainOptions``; and
            ``phase``, which BasicSR adds.

    Returns:
        dict: A sample. Images are RGB, float32, range [0, 1]:

            * gt: (3, gt_size, gt_size), or whole in validation.
            * lq: (3, gt_size / scale, gt_size / scale), MATLAB-style bicubic of ``gt``, neither rounded nor clipped;
              equal to ``ext_arch.resize.bicubic_downscale``. Absent with ``make_lq: false``.
            * real_lq: (3, gt_size / scale, gt_size / scale), or whole in validation.
            * gt_path, real_lq_path (str): Files, or ``folder/key`` of the LMDBs.
            * lq_path (str): The same as gt_path, where BasicSR's models look for a name.

    Raises:
        ValueError, OSError: If a pool does not exist or is empty, or gt_size does not fit the scale or (in
            ``__getitem__``) an image.
    """

    @dataclass(kw_only=True)
    class Options(RootOptions):
        """Keys of the section in every phase."""

        dataroot_gt: Annotated[str | list[str], 'HR images: a folder or LMDB, or a list of them.']
        dataroot_real_lq: Annotated[str | list[str], 'Real LR images: likewise, each drawn equally often.']
        scale: Annotated[int, 'Factor of super-resolution.']  # put in by the launcher
        meta_info_file: Annotated[
            str | None,
            'Text file whose lines begin with the HR file names to use, relative to dataroot_gt (folders only). '
            'Without it, all files.',
        ] = None
        make_lq: Annotated[bool, 'Make the bicubic LR image; false where the model makes it on its device.'] = True

    @dataclass(kw_only=True)
    class TrainOptions:
        """Keys that only training reads."""

        gt_size: Annotated[int, {'minimum': 1}, 'Side of the HR crop in pixels, a multiple of the scale.']
        use_hflip: Annotated[bool, 'Flip crops at random.'] = True
        use_rot: Annotated[bool, 'Turn crops by 90 degrees at random.'] = True

    def __init__(self, opt: dict):
        self.opt = opt
        self.scale: int = opt['scale']
        self.training = opt['phase'] == 'train'
        self.make_lq = opt.get('make_lq', True)
        self.images = Roots(opt, 'dataroot_gt', 'dataroot_real_lq')
        gt_paths = repeated(self.images.paths('dataroot_gt', opt.get('meta_info_file')), opt.get('dataroot_weights'))
        self.real_lq_paths = repeated(self.images.paths('dataroot_real_lq'), None)
        if self.training:
            self.gt_size: Any = opt.get('gt_size')
            if not isinstance(self.gt_size, int) or self.gt_size < self.scale or self.gt_size % self.scale:
                raise ValueError(
                    f'gt_size: {self.gt_size} is no multiple of scale ({self.scale}). Choose one, such as '
                    f'{64 * self.scale}.'
                )
            self.paths = [{'gt_path': path} for path in gt_paths]
        else:
            self.paths = [
                {'gt_path': gt_paths[number % len(gt_paths)], 'real_lq_path': path}
                for number, path in enumerate(self.real_lq_paths)
            ]
        self._reported: set[str] = set()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        gt_path = self.paths[index]['gt_path']
        gt = self._read(gt_path)
        if self.training:
            gt = self._augmented(_random_crop(gt, self.gt_size, gt_path))
            real_lq, real_lq_path = self._random_real_lq()
        else:
            gt = mod_crop(gt, self.scale)
            real_lq_path = self.paths[index]['real_lq_path']
            real_lq = self._read(real_lq_path)
        sample = {
            'gt': _tensor(gt),
            'real_lq': _tensor(real_lq),
            'gt_path': gt_path,
            'lq_path': gt_path,
            'real_lq_path': real_lq_path,
        }
        if self.make_lq:
            sample['lq'] = imresize(sample['gt'], 1 / self.scale)
        return sample

    def _random_real_lq(self) -> tuple[np.ndarray, str]:
        """A crop of any real LR image, and its path.

        Which one depends on the random generator and on the files alone, not on what has failed before: so it is the
        same whatever the number of workers, and in a resumed run.
        """
        for _ in range(REDRAWS):
            path = random.choice(self.real_lq_paths)
            try:
                crop = _random_crop(self._read(path), self.gt_size // self.scale, path)
                return self._augmented(crop), path
            except Exception as error:
                self._report(path, error)
        raise ValueError(
            f'dataroot_real_lq: {REDRAWS} real LR images in a row cannot be used, the last one is '
            f'{path}. Check {self.opt["dataroot_real_lq"]}.'
        )

    def _report(self, path: str, error: Exception) -> None:
        if path not in self._reported:
            self._reported.add(path)
            get_root_logger().warning(
                f'Real LR image skipped: {path} cannot be used: {type(error).__name__}: {error}. Replace or delete it.'
            )

    def _augmented(self, image: np.ndarray) -> np.ndarray:
        return augment(image, self.opt.get('use_hflip', True), self.opt.get('use_rot', True))

    def _read(self, path: str) -> np.ndarray:
        """(h, w, 3), BGR, uint8."""
        return decode(self.images.get(path), path)


def _random_crop(image: np.ndarray, size: int, path: str) -> np.ndarray:
    top, left = random_corner(image, size, path)
    return image[top : top + size, left : left + size].copy()  # augment flips in place


def _tensor(image: np.ndarray) -> Tensor:
    return img2tensor(as_float(image), bgr2rgb=True, float32=True)
