"""Evaluate with an option file: ``python basicsr/test.py -opt options/test_mask_esrgan.yml``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if __name__ == '__main__':
    sys.path[0] = str(ROOT)
    from ext_core.launch import test

    sys.exit(test(ROOT))
