"""Our imports as BasicSR's, in every form; and modules cut to what is needed of them."""

from pathlib import Path

import pytest

from ext_core.errors import UserError
from ext_core.upstream import closure, edits, test_files
from ext_core.upstream.closure import Reference, references
from ext_core.upstream.rewrite import new_name, rewrite
from ext_core.upstream.source import Source

ROOT = Path(__file__).resolve().parents[2]
MOVED = {
    'ext_losses': 'basicsr.losses',
    'ext_arch': 'basicsr.archs',
    'ext_losses.mmd': 'basicsr.losses.mmd',
    'ext_losses.spectrum': 'basicsr.losses.power_util',
    'ext_core.errors': 'basicsr.utils.ext.errors',
    'ext_core.images.decoding': 'basicsr.utils.ext.decoding',
}
LONG = ', '.join(f'a_name_that_is_long_{number}' for number in range(5))
FORMS = {
    'from ext_losses.mmd import mmd2': 'from basicsr.losses.mmd import mmd2',
    'from ext_losses.mmd import mmd2 as distance': 'from basicsr.losses.mmd import mmd2 as distance',
    'from ext_losses.mmd import (\n    Kernel,\n    mmd2,\n)': 'from basicsr.losses.mmd import Kernel, mmd2',
    'from ext_losses import mmd': 'from basicsr.losses import mmd',
    'from ext_losses import mmd as m': 'from basicsr.losses import mmd as m',
    'from ext_losses import spectrum': 'from basicsr.losses import power_util as spectrum',
    'from ext_losses import mmd, spectrum as s': 'from basicsr.losses import mmd, power_util as s',
    'from ext_core import errors': 'from basicsr.utils.ext import errors',
    'from ext_core.images import decoding': 'from basicsr.utils.ext import decoding',
    'import ext_losses': 'import basicsr.losses',
    'import ext_losses.mmd': 'import basicsr.losses.mmd',
    'import ext_losses.mmd as m': 'import basicsr.losses.mmd as m',
    'import os, ext_losses.mmd': 'import os, basicsr.losses.mmd',
    'import ext_losses.mmd\next_losses.mmd.mmd2()': 'import basicsr.losses.mmd\nbasicsr.losses.mmd.mmd2()',
    'from ext_losses.mmd import mmd2  # noqa: F401': 'from basicsr.losses.mmd import mmd2  # noqa: F401',
    'def f():\n    from ext_losses.mmd import mmd2\n\n    return mmd2': (
        'def f():\n    from basicsr.losses.mmd import mmd2\n\n    return mmd2'
    ),
    'if True:\n    import ext_losses.mmd as m': 'if True:\n    import basicsr.losses.mmd as m',
    "patch('ext_core.errors.UserError')": "patch('basicsr.utils.ext.errors.UserError')",
    '"""See :func:`ext_losses.mmd.mmd2`."""': '"""See :func:`basicsr.losses.mmd.mmd2`."""',
    'x = 1  # as in ext_losses.mmd': 'x = 1  # as in basicsr.losses.mmd',
    'from basicsr.utils import scandir': 'from basicsr.utils import scandir',
    'import text_losses, next_arch.x': 'import text_losses, next_arch.x',
    f'from ext_core.errors import {LONG}': (
        'from basicsr.utils.ext.errors import (\n' + ''.join(f'    {name},\n' for name in LONG.split(', ')) + ')'
    ),
}


@pytest.mark.parametrize(('ours', 'theirs'), FORMS.items(), ids=range(len(FORMS)))
def test_every_form_of_import_is_rewritten(ours, theirs):
    assert rewrite(ours, MOVED) == theirs + '\n'
    assert rewrite(theirs, MOVED) == theirs + '\n', 'a second time changes nothing'


def test_names_of_one_statement_may_part():
    parted = rewrite('from ext_core import errors\nfrom ext_losses import mmd, x', MOVED | {'ext_losses.mmd': 'a.b'})
    assert parted == 'from basicsr.utils.ext import errors\nfrom a import b as mmd\nfrom basicsr.losses import x\n'


@pytest.mark.parametrize(
    'text', ['from ext_core import launch', 'x = "ext_core.launch"', '# of ext_data', 'import ext_data']
)
def test_what_is_not_exported_is_refused(text):
    with pytest.raises(UserError, match=r'a\.py:2 of the exported text names ext_(core|data)'):
        rewrite(f'import os\n{text}', MOVED, name='a.py')


def test_relative_imports_are_refused():
    with pytest.raises(UserError, match=r'a\.py:1: a relative import'):
        rewrite('from . import mmd', MOVED, name='a.py')


def test_folders_above_the_file_follow_its_depth():
    line = 'ROOT = Path(__file__).resolve().parents[1]\nOTHER = path.parents[1]\n'
    assert rewrite(line, MOVED, deeper=1) == line.replace('resolve().parents[1]', 'resolve().parents[2]')
    assert rewrite(line, MOVED) == line


def test_long_lines_of_docstrings_are_wrapped():
    text = (
        f'"""{"word " * 21}ext_core.errors is long\nenough.\n\n{"x " * 52}ext_core.errors.UserError\n\n* point\n"""\n'
    )
    lines = rewrite(text, MOVED).splitlines()
    assert max(map(len, lines)) <= 120
    assert ' '.join(' '.join(lines).split()) == ' '.join(text.replace('ext_core', 'basicsr.utils.ext').split())
    assert lines[1] == 'basicsr.utils.ext.errors is long enough.'


def test_the_longest_module_counts():
    assert new_name('ext_losses.mmd.mmd2', MOVED) == 'basicsr.losses.mmd.mmd2'
    assert new_name('ext_losses.other', MOVED) == 'basicsr.losses.other'
    assert new_name('ext_core.launch', MOVED) is None


@pytest.mark.parametrize('text', ['see docs/mask.md', 'scripts/evaluate.py', 'of this plugin', 'save_best: mmd'])
def test_what_speaks_of_us_is_refused(text, tmp_path):
    with pytest.raises(UserError, match=r'a\.py of the exported text names .*, which BasicSR does not have'):
        edits.require_no_reference(f'"""{text}"""', 'a.py', tmp_path)
    (tmp_path / 'scripts').mkdir()
    (tmp_path / 'scripts' / 'theirs.py').touch()
    edits.require_no_reference('scripts/theirs.py', 'a.py', tmp_path)


# ---------------------------------------------------------------------- cutting
MODULE = '''"""What it is."""

import os
import sys
from math import inf, pi

LIMIT = inf  # of all


# about the first
@decorated
def first():
    """Uses the second."""
    return _second()


def _second():
    return pi, os.sep


# about the third
def third(path):
    return sys.path, path, LIMIT


class Model:
    """Has members."""

    # what it needs
    NEEDS = {'a'}
    KEPT = 1

    def run(self):
        return _second


Model.check_ready = third
'''


def cut(text: str, *names: str, dropped: tuple[str, ...] = ()) -> str:
    source = Source(Path('a.py'), text, dropped)
    kept = source.reached([*(source.definitions[name] for name in names), *source.nameless])
    return source.render(kept)


def test_what_is_not_reached_is_cut_with_its_comments_and_imports():
    assert cut(MODULE.split('\n\nclass')[0], 'first') == (
        '"""What it is."""\n\nimport os\nfrom math import pi\n\n\n# about the first\n@decorated\ndef first():\n'
        '    """Uses the second."""\n    return _second()\n\n\ndef _second():\n    return pi, os.sep\n'
    )


def test_members_for_our_check_are_dropped_and_what_they_used():
    text = cut(MODULE, 'Model', dropped=('NEEDS', 'check_ready'))
    assert text.endswith(
        'class Model:\n    """Has members."""\n\n    KEPT = 1\n\n    def run(self):\n        return _second\n'
    )
    assert 'third' not in text
    assert 'import sys' not in text


def test_an_import_that_dropped_members_alone_use_goes_too():
    text = 'import effect\nimport kinds\n\n\nclass Model:\n    NEEDS = kinds.ALL\n    KEPT = 1\n'
    assert cut(text, 'Model', dropped=('NEEDS',)) == 'import effect\n\n\nclass Model:\n    KEPT = 1\n'


def test_all_of_it_is_the_text_itself():
    assert cut(MODULE, 'first', '_second', 'third', 'Model') == MODULE


def test_what_runs_for_its_effect_is_kept():
    text = 'import effect\n\nfor name in LIST:\n    register(name)\n\n@LOSS_REGISTRY.register()\nclass L:\n    x = 1\n'
    assert [unit.binds for unit in Source(Path('a.py'), text).nameless] == [{'effect'}, {'name'}, {'L'}]


def test_references_say_what_is_used_of_which_module():
    text = (
        'from ext_losses import mmd\nimport ext_core.errors\nfrom ext_losses.spectrum import ring_means\n\n\n'
        'def f():\n    from ext_arch.resize import bicubic_upscale\n\n    return mmd.mmd2, ext_core.errors.UserError\n'
    )
    source = Source(Path('a.py'), text)
    assert set(references(ROOT, source, source.units)) == {
        Reference('ext_losses.mmd', frozenset({'mmd2'})),
        Reference('ext_core.errors', frozenset({'UserError'})),
        Reference('ext_losses.spectrum', frozenset({'ring_means'})),
        Reference('ext_arch.resize', frozenset({'bicubic_upscale'})),
    }


def test_the_closure_takes_of_our_core_what_is_used():
    parts = closure.closure(ROOT, ['ext_models.domain_adaptation_sr_model'])
    names = {unit.node.name for unit in parts['ext_core.inference.degrading'].kept if hasattr(unit.node, 'name')}
    assert names == {'low_resolution', '_raw'}
    assert 'ext_arch.resize' in parts
    assert not any(module.startswith(('ext_core.config', 'ext_core.check', 'ext_core.launch')) for module in parts)


def test_two_modules_for_one_place_are_refused():
    with pytest.raises(UserError, match=r'goes to basicsr\.utils\.ext\.files too'):
        closure.destinations(['ext_core.generators.files', 'ext_core.inference.files'])


# ---------------------------------------------------------------------- choosing tests
def choose(tmp_path: Path, text: str, companion: str = '') -> tuple[test_files.Chosen, ...]:
    (tmp_path / 'tests' / 'ext_losses').mkdir(parents=True)
    (tmp_path / 'ext_core').mkdir()
    for name in ('words.py', 'launch.py'):
        (tmp_path / 'ext_core' / name).write_text('class Word: pass\n')
    (tmp_path / 'tests' / 'conftest.py').write_text('@pytest.fixture\ndef shared_data(): pass\n')
    (tmp_path / 'tests' / 'ext_losses' / 'test_it.py').write_text(text)
    (tmp_path / 'tests' / 'ext_losses' / 'companion.py').write_text(companion)
    return tuple(test_files.choose(tmp_path, closure.closure(tmp_path, ['ext_core.words'])))


COMPANIED = """import companion
from companion import good, launched

from ext_core import launch, words


def test_good():
    assert good() is words


def test_launches():
    launch.run()


def test_through_a_companion():
    launched()


def test_through_its_module():
    companion.launched()


def test_fixture(shared_data):
    pass


def test_string():
    patch('ext_core.launch.run')


def test_absent():
    words.Absent
"""


def test_tests_that_use_more_than_is_exported_stay_with_the_reason(tmp_path):
    companion = 'from ext_core import launch\n\n\ndef good():\n    pass\n\n\ndef launched():\n    launch.run()\n'
    tests, companions = choose(tmp_path, COMPANIED, companion)
    assert tests.left == {
        'test_launches': 'ext_core.launch',
        'test_through_a_companion': 'ext_core.launch',
        'test_through_its_module': 'ext_core.launch',
        'test_fixture': 'the fixture shared_data of tests/conftest.py',
        'test_string': 'ext_core.launch.run',
        'test_absent': 'ext_core.words.Absent',
    }
    assert test_files.count([tests, companions]) == 1
    text = tests.part.source.render(tests.part.kept)
    assert 'from companion import good\n' in text
    assert 'from ext_core import words\n' in text
    assert companions.part.source.render(companions.part.kept) == 'def good():\n    pass\n'


def test_a_file_without_a_test_that_can_run_stays(tmp_path):
    (tests,) = choose(tmp_path, 'from ext_core import launch\n\n\ndef test_it():\n    launch.run()\n')
    assert (tests.part, tests.reason) == (None, 'ext_core.launch')
