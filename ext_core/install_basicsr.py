"""Install BasicSR 1.4.2 with pip, which alone cannot: ``basicsr-ext install-basicsr``, or ``make install``.

pip builds packages in an environment of their own. For BasicSR it would download another PyTorch, of several GB, into
that, and from Python 3.13 on the build fails (``KeyError: '__version__'``). So this runs pip without isolation and with
the cure in ``basicsr_build``. It needs setuptools in the environment, and of Python only what comes with it: it also
runs as a file, before anything else is installed.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

VERSION = '1.4.2'


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pip install`` with further arguments of pip, such as ``-c constraints.txt``; returns its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    cure = Path(__file__).with_name('basicsr_build')
    path = os.pathsep.join(filter(None, [str(cure), os.environ.get('PYTHONPATH')]))
    pip = [sys.executable, '-m', 'pip', 'install', '--no-build-isolation', '--use-pep517', f'basicsr=={VERSION}']
    return subprocess.call([*pip, *arguments], env=os.environ | {'PYTHONPATH': path})


if __name__ == '__main__':
    sys.exit(main())
