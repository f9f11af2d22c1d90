"""``optional: true`` in a section of ``val:metrics``: left out where it cannot run, otherwise as any other metric."""

import bad_input_run
import numpy as np
import pytest
from basicsr.utils.registry import METRIC_REGISTRY
from check_recipes import find_problems, psnr, put

from ext_core.errors import UserError
from ext_core.options.metrics import leave_out_metrics

run = bad_input_run.run
SECTION = {'type': 'calculate_picky', 'crop_border': 0, 'optional': True}


class Picky:
    """A metric that needs a file; it takes no argument that it does not know."""

    def __init__(self) -> None:
        self.missing = True
        self.trials: list[dict] = []

    def register(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def calculate_picky(img: np.ndarray, img2: np.ndarray, crop_border: int, better: str = 'higher') -> float:
            return 17.0

        def check_ready(**arguments: object) -> None:
            self.trials.append(arguments)
            if self.missing:
                raise UserError('calculate_picky needs picky.mat. Fetch it.')

        calculate_picky.check_ready = check_ready  # type: ignore[attr-defined]
        monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'calculate_picky', calculate_picky)


@pytest.fixture
def picky(monkeypatch) -> Picky:
    metric = Picky()
    metric.register(monkeypatch)
    return metric


def options(**changes: object) -> dict:
    return put('val:metrics:picky', SECTION | changes)


def test_only_the_optional_one_is_no_problem_where_it_cannot_run(data, picky):
    assert find_problems(options(), is_train=True) == []
    (problem,) = find_problems(options(optional=False), is_train=True)
    assert problem == 'val:metrics:picky: calculate_picky needs picky.mat. Fetch it.'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'optional': 'yes'}, "val:metrics:picky:optional must be true or false, but is the text 'yes'."),
        ({'crop_boder': 4}, 'val:metrics:picky:crop_boder: calculate_picky has no such argument.'),
        ({'type': 'calculate_piky'}, "val:metrics:picky:type: there is no metric 'calculate_piky'."),
    ],
)
def test_other_mistakes_in_its_section_stay_errors(data, picky, changes, message):
    (problem,) = find_problems(options(**changes), is_train=True)
    assert problem.startswith(message)


def test_left_out_with_the_reason(data, picky):
    opt = options(better='lower')
    (said,) = leave_out_metrics(opt)
    assert said.endswith('left out of this run. val:metrics:picky: calculate_picky needs picky.mat. Fetch it.')
    assert opt['val']['metrics'] == psnr()['val']['metrics']
    assert picky.trials == [{'crop_border': 0}]
    opt['val']['metrics'] = {'picky': SECTION}
    leave_out_metrics(opt)
    assert opt['val']['metrics'] is None
    assert SECTION['optional'] is True


def test_stays_without_the_word_where_it_can_run(data, picky):
    picky.missing = False
    opt = options()
    assert leave_out_metrics(opt) == []
    assert opt['val']['metrics']['picky'] == {'type': 'calculate_picky', 'crop_border': 0}
    assert [*opt['val']['metrics']] == [*psnr()['val']['metrics'], 'picky']


@pytest.mark.parametrize('missing', [True, False])
def test_training_goes_on_without_it_and_says_so(run, picky, missing):
    picky.missing = missing
    paired = {key: run.opt['datasets']['train'][key] for key in ('type', 'dataroot_gt', 'dataroot_lq', 'io_backend')}
    run.opt['datasets']['val'] = paired | {'name': 'four'}
    plain = {'type': 'calculate_psnr', 'crop_border': 0}
    run.opt['val'] = {'val_freq': 2, 'save_img': False, 'metrics': {'psnr': plain, 'picky': SECTION}}
    status, printed = run.launch()
    assert status == 0, printed
    folder = run.root / 'experiments' / 'run'
    (log,) = folder.glob('*.log')
    text = log.read_text()
    assert text.count('# psnr: ') == 2
    assert text.count('# picky: 17.0000') == (0 if missing else 2)
    assert text.count('left out of this run') == (1 if missing else 0)
    if missing:
        assert printed.index('warning: an optional metric is left out') < printed.index('Start training')
        assert text.index('Fetch it.') < text.index('Start training')
    assert 'optional: true' in (folder / 'run.yml').read_text()  # the saved file runs elsewhere, with the metric


def test_a_dry_run_says_so_too(run, picky):
    run.opt['val'] = {'val_freq': 2, 'save_img': False, 'metrics': {'picky': SECTION}}
    status, printed = run.launch('--dry-run')
    assert status == 0, printed
    assert 'warning: an optional metric is left out of this run. val:metrics:picky' in printed
