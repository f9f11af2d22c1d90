"""Time training samples of ours against those of BasicSR's dataset and decoder, in one process, from the same files.

Example:
    python studies/benchmark_loading.py --gt datasets/BSDS400/HR_x4 --lq datasets/BSDS400/LR_bicubic_x4

Folders or LMDBs of PNG files, x4, crops of 128 px, flips and rotations. Ours are ExtPairedImageDataset's, seeded one by
one, its files checked. The figure is the median over rounds of the ratio to BasicSR's time within a round.
"""

import argparse
import sys
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch

from ext_core.registration import register_quietly
from ext_core.use.cost import alternate, ratio
from studies.side_by_side import shown

SAMPLES = 100  # of a round


def basicsrs_decoder(content: bytes, flag: str = 'color', float32: bool = False) -> np.ndarray:
    """What BasicSR's does of a colour image, without our cure."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(image).astype(np.float32) / 255.0


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--gt', type=Path, required=True)
    parser.add_argument('--lq', type=Path, required=True)
    parser.add_argument('--rounds', type=int, default=20)
    args = parser.parse_args(argv)
    register_quietly()
    torch.set_num_threads(1)
    from basicsr.data import build_dataset, paired_image_dataset

    from ext_data.samples import SeededDataset

    section = {'name': 'pairs', 'phase': 'train', 'scale': 4, 'gt_size': 128, 'use_hflip': True, 'use_rot': True,
               'dataroot_gt': str(args.gt), 'dataroot_lq': str(args.lq)}  # fmt: skip
    kind = 'lmdb' if args.gt.suffix == '.lmdb' else 'disk'
    stock, ours = (
        build_dataset({**section, 'type': name, 'io_backend': {'type': kind}})
        for name in ('PairedImageDataset', 'ExtPairedImageDataset')
    )
    seeded = SeededDataset(ours, seed=0)

    def of_basicsr() -> None:
        with mock.patch.object(paired_image_dataset, 'imfrombytes', basicsrs_decoder):
            for index in range(SAMPLES):
                stock[index % len(stock)]

    def of_ours() -> None:
        for index in range(SAMPLES):
            seeded[0, index % len(seeded)]

    seconds = alternate({'BasicSR': of_basicsr, 'ours': of_ours}, args.rounds)
    rate = SAMPLES / float(np.median(seconds['ours']))
    print(
        f'ours: {rate:.0f} samples a second, {shown(ratio(seconds["ours"], seconds["BasicSR"]))} of the time of BasicSR'
    )


if __name__ == '__main__':
    main()
