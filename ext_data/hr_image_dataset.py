"""High-resolution images alone, for a training whose model makes the low-resolution images itself."""

import numpy as np
from basicsr.data.data_util import paths_from_folder, paths_from_lmdb
from basicsr.data.transforms import augment, mod_crop, paired_random_crop
from basicsr.utils import FileClient, imfrombytes, img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from ext_core.errors import UserError


@DATASET_REGISTRY.register()
class HRImageDataset(Dataset):
    """Crops of HR images, for training only.

    Crops and flips are those that BasicSR's PairedImageDataset draws from the same seed: crops begin at a multiple of
    the scale, where an LR pixel does. All draws come from Python's global generator. Files are read as colour; images
    that are no multiple of the scale are cut at the right and bottom.

    Args:
        opt (dict): Section of the option file, with

            * dataroot_gt (str): A folder of images, or an LMDB.
            * io_backend (dict): ``type: disk`` or ``type: lmdb``.
            * gt_size (int): Side of the crop in pixels, a multiple of the scale.
            * use_hflip, use_rot (bool): Flips and rotations by 90 degrees. Default: True.
            * scale (int): Added by BasicSR.

    Returns:
        dict: Of each sample: gt, (3, gt_size, gt_size), RGB, float32, range [0, 1]; gt_path and lq_path (str), both the
        file or key.

    Raises:
        UserError: If there are no images, gt_size is no multiple of the scale, or (in ``__getitem__``) an image cannot
            be decoded.
        ValueError: In ``__getitem__``, if an image is smaller than the crop.
    """

    NEEDS = frozenset({'dataroot_gt', 'io_backend', 'gt_size'})

    def __init__(self, opt: dict):
        self.opt = opt
        self.scale: int = opt['scale']
        root = opt['dataroot_gt']
        is_lmdb = opt['io_backend']['type'] == 'lmdb'
        self.paths: list[str] = sorted(paths_from_lmdb(root) if is_lmdb else paths_from_folder(root))
        if not self.paths:
            raise UserError(f'datasets:train:dataroot_gt: no images in {root}. Put images there, or correct the path.')
        if opt['gt_size'] % self.scale:
            raise UserError(f'datasets:train:gt_size: {opt["gt_size"]} is no multiple of scale ({self.scale}).')
        self._client: FileClient | None = None  # opened where it is used: not every backend survives a fork

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        path, opt = self.paths[index], self.opt
        gt = mod_crop(self._read(path), self.scale)
        gt, _ = paired_random_crop(gt, gt[:: self.scale, :: self.scale], opt['gt_size'], self.scale, path)
        gt = augment(gt, opt.get('use_hflip', True), opt.get('use_rot', True))
        return {'gt': img2tensor(gt, bgr2rgb=True, float32=True), 'gt_path': path, 'lq_path': path}

    def _read(self, path: str) -> np.ndarray:
        """(h, w, 3), BGR, float32, range [0, 1]."""
        if self._client is None:
            backend = dict(self.opt['io_backend'])
            kind = backend.pop('type')
            if kind == 'lmdb':
                backend |= {'db_paths': self.opt['dataroot_gt'], 'client_keys': 'gt'}
            self._client = FileClient(kind, **backend)
        content = self._client.get(path, 'gt')
        image = imfrombytes(content) if content else None
        if image is None:
            raise UserError(f'{path} does not decode: damaged, cut short, or not an image.')
        return image.astype(np.float32) / 255.0
