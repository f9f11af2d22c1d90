"""The components and tests that docs/extending.md shows: they are written, registered and run. So are option files that
would not pass the check if a line were missing."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from basicsr.utils import registry
from test_docs import EXAMPLES, PROJECT, WRITTEN_BY_THE_READER

from ext_core.options import check
from ext_core.options import loading as options

pytestmark = pytest.mark.wide_vgg

TESTS = sorted(name for name in EXAMPLES if name.startswith('tests/'))
CHECKED = ('extending.md', 'weights.md')
OPTIONS = sorted(name for name, block in WRITTEN_BY_THE_READER.items() if block.page.name in CHECKED)
REGISTRIES = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]


def load(name: str, folder: Path) -> ModuleType:
    """Import an example under the name that its file would have."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(EXAMPLES[name], encoding='utf-8')
    module_name = path.stem if name.startswith('tests/') else name.removesuffix('.py').replace('/', '.')
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def registered(tmp_path_factory):
    """All components of the page, until the end of this file's tests."""
    folder = tmp_path_factory.mktemp('examples')
    before = [dict(one._obj_map) for one in REGISTRIES]
    modules = set(sys.modules)
    for name in EXAMPLES:
        if not name.startswith('tests/'):
            load(name, folder)
    yield folder
    for one, objects in zip(REGISTRIES, before, strict=True):
        one._obj_map.clear()
        one._obj_map.update(objects)
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], '__file__', None) and str(folder) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.mark.parametrize('name', TESTS)
def test_its_test_passes(registered, name):
    module = load(name, registered)
    functions = [value for key, value in vars(module).items() if key.startswith('test_')]
    assert functions
    for function in functions:
        function()


@pytest.mark.parametrize('name', OPTIONS)
def test_its_option_file_passes_the_check(registered, tmp_path, name):
    shutil.copytree(PROJECT / 'options', tmp_path / 'options')
    (tmp_path / name).write_text(WRITTEN_BY_THE_READER[name].text)
    _, opt = options.resolve(options.parse_arguments(['-opt', str(tmp_path / name)], True), tmp_path, True)
    for part in (opt['train'].get('perceptual_opt'), opt['val']['metrics'].get('lpips')):
        if part:
            part['weights'] = 'random'  # which are not a matter of the example
    absent = ('datasets:', 'path:')  # the example's data and weights
    assert [str(problem) for problem in check.find_problems(opt, True) if not problem.path.startswith(absent)] == []
