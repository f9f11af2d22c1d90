"""Train with an option file: ``python basicsr/train.py -opt options/train_mask_esrgan.yml``.

This folder has no ``__init__.py``, so that ``import basicsr`` finds the installed toolbox.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if __name__ == '__main__':
    sys.path[0] = str(ROOT)
    from ext_core.launch import train

    sys.exit(train(ROOT))
