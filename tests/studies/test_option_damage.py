"""The study of damaged option files, on a sample; and that it finds what it is for."""

from pathlib import Path

import hypothesis
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


# ---------------------------------------------------------------------- planted faults
def test_a_key_that_the_check_accepts_and_nobody_reads_is_a_leak(attempt, monkeypatch):
    accepted = check.section_problems

    def lenient(*args, **kwargs):
        return (problem for problem in accepted(*args, **kwargs) if 'unknown key' not in problem.text)

    monkeypatch.setattr(check, 'section_problems', lenient)
    outcome, message = attempt('  ema_decay: 0.999\n', '  ema_decay: 0.999\n  ema_decya: 0.9\n')
    assert outcome == 'leak'
    assert message.endswith(': train:ema_decya')


def test_a_component_that_nobody_builds_is_a_leak(attempt, monkeypatch):
    monkeypatch.setattr(check, 'section_problems', lambda *args, **kwargs: ())
    loss = '  gan_opt:\n    type: GANLoss\n    gan_type: vanilla\n    loss_weight: 0.1\n'
    assert attempt('  ema_decay: 0.999\n', loss)[0] == 'leak'


@pytest.mark.parametrize(
    ('error', 'outcome'),
    [
        (KeyError('lr'), 'traceback'),
        (SystemExit(2), 'traceback'),
        (UserError('something is wrong.'), 'unnamed'),
        (UserError('Traceback (most recent call last): train:lr'), 'unnamed'),
        (UserError('train:optim_g:lr is wrong.'), 'refused'),
    ],
)
def test_a_refusal_is_a_message_that_names_a_key(attempt, monkeypatch, error, outcome):
    def refuse(*args):
        raise error

    monkeypatch.setattr(check, 'check_options', refuse)
    assert attempt('gamma: 0.5', 'gamma: 0.4')[0] == outcome


def test_a_refusal_that_leaves_a_folder_is_half_made(attempt, monkeypatch):
    def refuse(*args):
        Path('experiments/train_srresnet').mkdir()
        raise UserError('train:optim_g:lr is wrong.')

    monkeypatch.setattr(check, 'check_options', refuse)
    assert attempt('gamma: 0.5', 'gamma: 0.4')[0] == 'half-made'
    Path('experiments/train_srresnet').rmdir()


def test_a_check_that_does_not_end_is_a_hang(attempt, monkeypatch):
    def stay(*args):
        while True:
            pass

    monkeypatch.setattr(option_damage, 'SECONDS', 0.5)
    monkeypatch.setattr(check, 'check_options', stay)
    assert attempt('gamma: 0.5', 'gamma: 0.4')[0] == 'hang'


# ---------------------------------------------------------------------- the study
def test_damages_change_the_text_and_are_of_every_kind():
    text, kinds = (option_damage.ROOT / 'options' / 'train_mask_esrgan.yml').read_text(), set()

    @hypothesis.settings(database=None, max_examples=300, derandomize=True, deadline=None)
    @hypothesis.given(option_damage.damages(text))
    def draw(damage):
        kinds.add(damage[0])
        assert damage[1] != text

    draw()
    assert len(kinds) == 15


def test_the_study_continues(home, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(option_damage, 'prepared', lambda files: option_damage.contextlib.nullcontext(home))
    command = ['--json', str(tmp_path / 'x.json'), '--damages', '3', '--files', str(option_damage.ROOT / FILE)]
    assert option_damage.main(command) == 0
    first = capsys.readouterr()
    monkeypatch.setattr(option_damage, 'damage_file', None)
    assert option_damage.main(command) == 0
    again = capsys.readouterr()
    assert first.err.startswith(FILE)
    assert not again.err
    assert first.out == again.out
    assert option_damage.main(['--files', str(tmp_path / 'none.yml')]) == 1
    assert 'no recipe' in capsys.readouterr().err
