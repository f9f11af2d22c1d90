"""``basicsr-ext COMMAND ...``, the same as ``python -m ext_core COMMAND ...``: every command, from any folder.

``train`` and ``test`` are ``basicsr/train.py`` and ``basicsr/test.py``, most others the files of ``scripts/``. Results
go into the present folder.
"""

import argparse
import ast
import importlib.util
import sys
from pathlib import Path

from ext_core.errors import print_line
from ext_core.project import CONSOLE, SCRIPTS, as_called

MODULES = {  # commands that are no scripts: where they are, and what they do
    'train': ('launch', 'train', 'Train with an option file.'),
    'test': ('launch', 'test', 'Evaluate with an option file.'),
    'doctor': ('doctor', 'main', 'Say what is installed, what is missing, and what to do about it.'),
    'install-basicsr': ('install_basicsr', 'main', "Install BasicSR 1.4.2 with pip; further arguments are pip's."),
}


def scripts() -> dict[str, Path]:
    """The files of ``scripts/`` by the names of their commands."""
    return {path.stem.replace('_', '-'): path for path in sorted(SCRIPTS.glob('*.py'))}


def usage() -> str:
    """Every command with a sentence."""
    said = {name: sentence for name, (*_, sentence) in MODULES.items()}
    for name, path in scripts().items():
        text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
        said[name] = ' '.join(text.split('\n\n')[0].splitlines()[:1])
    lines = [f'  {name:<24} {sentence}' for name, sentence in said.items()]
    return '\n'.join([
        f'usage: {CONSOLE} COMMAND ...', '', *lines, '',
        f'{CONSOLE} COMMAND --help says more. Results go into the present folder; {CONSOLE}://NAME.yml, for -opt and',
        f'_base_, is a recipe of this package. example: {CONSOLE} train -opt {CONSOLE}://train_mask_esrgan.yml --demo',
    ])  # fmt: skip


def main() -> int:
    """Run the command of the command line; returns its exit status."""
    name, *argv = sys.argv[1:] or ['--help']
    if name in ('-h', '--help'):
        print(usage())
        return 0
    found = scripts()
    if name not in MODULES and name not in found:
        print_line(f'{usage()}\n\nerror: there is no command {name}')
        return 2
    sys.argv = [f'{CONSOLE} {name}', *argv]
    format_help = argparse.ArgumentParser.format_help
    argparse.ArgumentParser.format_help = lambda self: as_called(format_help(self))  # type: ignore[method-assign]
    if name in MODULES:
        module, function, _ = MODULES[name]
        folder = [Path.cwd()] if module == 'launch' else []
        return getattr(importlib.import_module(f'ext_core.{module}'), function)(*folder, argv)
    spec = importlib.util.spec_from_file_location(found[name].stem, found[name])
    assert spec is not None
    assert spec.loader is not None
    script = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(script)
    return script.main(argv)


if __name__ == '__main__':
    sys.exit(main())
