"""Scripts start without the tests' own registration."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / 'scripts'

LOAD_ALL = """
import importlib.util, pathlib, sys
sys.path.insert(0, sys.argv[3])
for path in sorted(path for folder in sys.argv[1:3] for path in pathlib.Path(folder).glob('*.py')
                   if 'register_all()  # what follows imports BasicSR' not in path.read_text()):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert 'basicsr' not in sys.modules, f'{path.name} imports basicsr before it is patched'
"""


def test_no_script_imports_basicsr_before_it_is_patched():
    command = [sys.executable, '-c', LOAD_ALL, str(SCRIPTS), str(SCRIPTS.parent / 'studies'), str(SCRIPTS.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
