"""Pairs of images from several folders or LMDBs."""

from dataclasses import dataclass
from typing import Annotated

from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import bgr2ycbcr, img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset
from torchvision.transforms.functional import normalize

from ext_data.decoding import as_float, decode
from ext_data.roots import RootOptions, Roots, joined, partners, repeated

KINDS = ('gt', 'lq')


@DATASET_REGISTRY.register()
class ExtPairedImageDataset(PairedImageDataset):
    """BasicSR's PairedImageDataset for data as they are: takes its options unchanged, and several folders.

    ``dataroot_gt: [a, b]`` and ``dataroot_lq: [a_lq, b_lq]`` belong together one by one, drawn by
    ``dataroot_weights``. With ``subfolders`` the partner of ``x/1.png`` is ``x/1.png`` in the other folder. The
    endings of a pair's files may differ. Samples are PairedImageDataset's, bit for bit, in less time: the crop alone is
    converted from bytes. Paths of LMDBs are ``folder/key``.

    Args:
        opt (dict): Section of the option file, with the keys of ``Options`` and of PairedImageDataset; and ``phase``,
            which BasicSR adds.

    Raises:
        ValueError, OSError: If there are no images, numbers of folders differ, or an image has no partner.
    """

    @dataclass(kw_only=True)
    class Options(RootOptions):
        """Keys of the section beside PairedImageDataset's."""

        dataroot_gt: Annotated[str | list[str], 'Ground truths: a folder or LMDB, or a list of them.']
        dataroot_lq: Annotated[str | list[str], 'Low-quality images: as many, in the same order.']

    def __init__(self, opt: dict):
        Dataset.__init__(self)
        self.opt, self.mean, self.std = opt, opt.get('mean'), opt.get('std')
        self.file_client = images = Roots(opt, 'dataroot_gt', 'dataroot_lq')
        gt_roots, lq_roots = images.roots.values()
        if len(gt_roots) != len(lq_roots):
            raise ValueError(
                f'dataroot_lq names {len(lq_roots)} folders and dataroot_gt {len(gt_roots)}. Give as many of both, in '
                'the same order.'
            )
        gt_names, lq_names = images.names('dataroot_gt', opt.get('meta_info_file')), images.names('dataroot_lq')
        groups = []
        for gt_root, lq_root, gts, lqs in zip(gt_roots, lq_roots, gt_names, lq_names, strict=True):
            pairs, present = partners(gts, lqs, opt.get('filename_tmpl') or '{}', images.is_lmdb), set(lqs)
            lonely = [gt for gt, lq in pairs.items() if lq not in present]
            if lonely:
                raise ValueError(f'{joined(gt_root, lonely[0])} has no partner in {lq_root}, {pairs[lonely[0]]}.')
            groups.append(
                [{'gt_path': joined(gt_root, gt), 'lq_path': joined(lq_root, lq)} for gt, lq in pairs.items()]
            )
        self.paths = repeated(groups, opt.get('dataroot_weights'))

    def __getitem__(self, index: int) -> dict:
        if self.opt['phase'] != 'train':
            return super().__getitem__(index)
        opt, paths = self.opt, self.paths[index]
        gt, lq = (decode(self.file_client.get(paths[f'{kind}_path'], kind), paths[f'{kind}_path']) for kind in KINDS)
        gt, lq = paired_random_crop(gt, lq, opt['gt_size'], opt['scale'], paths['gt_path'])
        gt, lq = map(as_float, augment([gt, lq], opt['use_hflip'], opt['use_rot']))
        if opt.get('color') == 'y':
            gt, lq = (bgr2ycbcr(image, y_only=True)[..., None] for image in (gt, lq))
        sample = dict(zip(KINDS, img2tensor([gt, lq], bgr2rgb=True, float32=True), strict=True))
        if self.mean is not None or self.std is not None:
            sample = {kind: normalize(image, self.mean, self.std) for kind, image in sample.items()}
        return {**sample, **paths}
