"""Low-quality images of a test set, made as a training makes its own: by the section ``degrade`` of an option file.

Examples:
    python studies/degraded_set.py -opt options/zoo/photo_x4.yml --gt bench/Set5/X4/HR --output results/Set5_degraded

HR images are cut to a multiple of the scale and written beside, so that the two folders are pairs: OUTPUT/HR and
OUTPUT/LR. What is drawn depends on the seed and the number of the image.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from ext_core.errors import exit_status
from ext_core.registration import register_quietly


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-opt', type=Path, required=True, metavar='YML', help='option file with scale and degrade')
    parser.add_argument('--gt', type=Path, required=True, metavar='DIR', help='HR images')
    parser.add_argument('--output', type=Path, required=True, metavar='DIR')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    register_quietly()
    from basicsr.utils import img2tensor, imwrite, tensor2img

    from ext_core.options import loading
    from ext_data.decoding import decode_file
    from ext_models.degrader import Degrader

    def degrade() -> None:
        opt = loading.load(args.opt)
        scale = opt['scale']
        degrader = Degrader.from_options(opt['degrade'], scale, args.seed, torch.device('cpu'))
        for number, file in enumerate(sorted(args.gt.iterdir())):
            image = decode_file(file)
            height, width = (side - side % scale for side in image.shape[:2])
            gt = img2tensor(image[:height, :width].astype(np.float32) / 255)[None]
            lq, gt, _ = degrader(gt, None, [f'0 {number}'])
            for kind, made in (('LR', lq), ('HR', gt)):
                imwrite(tensor2img(made), str(args.output / kind / f'{file.stem}.png'))

    return exit_status(degrade)


if __name__ == '__main__':
    sys.exit(main())
