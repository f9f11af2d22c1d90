"""High-resolution images alone, for a training whose model makes the low-resolution images itself."""

from dataclasses import dataclass
from typing import Annotated

from basicsr.data.transforms import augment, mod_crop, paired_random_crop
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY

from ext_data.decoding import as_float
from ext_data.hr_pool import HRPool


@DATASET_REGISTRY.register()
class HRImageDataset(HRPool):
    """Crops of HR images, for training only.

    Crops and flips are those that BasicSR's PairedImageDataset draws from the same seed: crops begin at a multiple of
    the scale, where an LR pixel does. All draws come from Python's global generator. Files are read as colour; images
    that are no multiple of the scale are cut at the right and bottom.

    Args:
        opt (dict): Section of the option file, with the keys of ``Options`` and :class:`ext_data.hr_pool.HRPool`.

    Returns:
        dict: A sample: gt, (3, gt_size, gt_size), RGB, float32, range [0, 1]; gt_path and lq_path (str), both the
        file or key.

    Raises:
        ValueError, OSError: If there are no images, gt_size is no multiple of the scale, or (in ``__getitem__``) an
            image cannot be decoded.
        ValueError: In ``__getitem__``, if an image is smaller than the crop.
    """

    @dataclass(kw_only=True)
    class Options:
        """Keys of the section."""

        scale: Annotated[int, 'Factor of super-resolution.']  # put in by the launcher
        gt_size: Annotated[int, {'minimum': 1}, 'Side of the crop in pixels, a multiple of the scale.']
        use_hflip: Annotated[bool, 'Flip crops at random.'] = True
        use_rot: Annotated[bool, 'Turn crops by 90 degrees at random.'] = True

    def __init__(self, opt: dict):
        super().__init__(opt)
        self.scale: int = opt['scale']
        if opt['gt_size'] % self.scale:
            raise ValueError(f'gt_size: {opt["gt_size"]} is no multiple of scale ({self.scale}).')

    def __getitem__(self, index: int) -> dict:
        path, opt = self.paths[index], self.opt
        gt = mod_crop(self.read(path), self.scale)
        gt, _ = paired_random_crop(gt, gt[:: self.scale, :: self.scale], opt['gt_size'], self.scale, path)
        gt = augment(gt, opt.get('use_hflip', True), opt.get('use_rot', True))
        return {'gt': img2tensor(as_float(gt), bgr2rgb=True, float32=True), 'gt_path': path, 'lq_path': path}
