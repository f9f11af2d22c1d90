"""The study of damaged option files, on a sample; and that it finds what it is for."""

from pathlib import Path

import pytest

from ext_core.errors import UserError
from ext_core.options import check, loading, yaml_safe
from studies import option_damage

FILE = 'options/train_srresnet.yml'


@pytest.fixture(scope='module')
def home():
    with option_damage.prepared([FILE, 'options/test_srcnn.yml']) as home:
        yield home


@pytest.fixture
def attempt(home):
    """Give the recipe, whole in one file and with one text in it replaced, to the launcher."""
    with option_damage.own_folder(home):
        undamaged = option_damage.resolved(Path(FILE))
        text = yaml_safe.dump(loading.load(Path(FILE)))

        def attempt(old: str, new: str) -> tuple[str, str]:
            assert old in text
            Path(FILE).write_text(text.replace(old, new, 1))
            return option_damage.attempt(Path(FILE), undamaged)

        yield attempt


@pytest.mark.parametrize('file', [FILE, 'options/test_srcnn.yml'])
def test_every_damage_is_refused_or_has_its_effect(home, file):
    result = option_damage.damage_file(file, file, 25, 3, home)
    assert result['failures'] == []
    assert sum(result['counts'].values()) == 25
    assert result['counts']['refused'] > 12


@pytest.mark.parametrize(
    ('old', 'new', 'outcome'),
    [
        ('  ema_decay: 0.999\n', '  ema_decya: 0.999\n', 'refused'),
        ('ema_decay: 0.999', 'ema_decay: 0.99', 'effect'),
        ('  ema_decay: 0.999\n', '', 'effect'),
        ('  total_iter: 1000000\n', '  total_iter: 1000000  # long\n', 'same'),
        ('scale: 4', 'scale: !!python/name:os.system', 'refused'),
        ('      type: disk\n', '      type: disk\n    use_hflip: true\n', 'warned'),
        ('port: 29500', 'port: 29501', 'idle'),
    ],
)
def test_what_becomes_of_a_damage(attempt, old, new, outcome):
    assert attempt(old, new)[0] == outcome


def test_planted_faults_are_found(attempt, monkeypatch):
    """A key that the check accepts and nobody reads, an error that is no message, a folder left by a refusal."""
    accepted = check.section_problems

    def lenient(*args, **kwargs):
        return (problem for problem in accepted(*args, **kwargs) if 'unknown key' not in problem.text)

    with monkeypatch.context() as patch:
        patch.setattr(check, 'section_problems', lenient)
        outcome, message = attempt('  ema_decay: 0.999\n', '  ema_decay: 0.999\n  ema_decya: 0.9\n')
        assert (outcome, message.endswith(': train:ema_decya')) == ('leak', True)

    def refuse(*args):
        Path('experiments/train_srresnet').mkdir()
        raise UserError('train:optim_g:lr is wrong.')

    def fail(*args):
        raise KeyError('lr')

    for function, outcome in ((refuse, 'half-made'), (fail, 'traceback')):
        monkeypatch.setattr(check, 'check_options', function)
        assert attempt('gamma: 0.5', 'gamma: 0.4')[0] == outcome
    Path('experiments/train_srresnet').rmdir()
