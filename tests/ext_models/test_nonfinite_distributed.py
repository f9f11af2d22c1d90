"""Two processes decide alike about a batch that only one of them saw go bad."""

from pathlib import Path

import pytest
import torch
from nonfinite_runs import data_of, poisoned, run_options, state_of, trainer_on
from processes import on_processes

from ext_core.errors import UserError
from studies.sameness import difference

GAN = {
    'model_type': 'GANSRModel',
    'discriminator': 'UNetDiscriminatorSN',
    'gan_opt': {'type': 'AdversarialLoss'},
    'ema_decay': 0.9,
}
COUNT = 16


def data_on(rank: int) -> list[dict]:
    halves = slice(rank, rank + 1)
    return [{key: value[halves] for key, value in batch.items()} for batch in data_of(COUNT)]


def run(folder: Path, rank: int, data: list[dict], nonfinite: dict, **kwargs) -> dict:
    opt = run_options(folder, nonfinite, **kwargs)
    opt.update(dist=True, world_size=2, rank=rank)
    opt['datasets']['train']['batch_size_per_gpu'] = 1
    opt['logger']['save_checkpoint_freq'] = 4
    trainer = trainer_on(opt, data)
    try:
        trainer.run()
    except UserError as error:
        return {'error': str(error), 'count': trainer.finite.count}
    torch.save(state_of(trainer), folder / f'state{rank}.pth')
    return {'count': trainer.finite.count}


def scenarios(rank: int, folder: Path) -> dict[str, dict]:
    good = data_on(rank)
    second = poisoned(good, 3, 6) if rank == 1 else good
    results = {
        'skip': run(folder / 'skip', rank, second, {'action': 'skip', 'every': 4}, **GAN),
        'skip expected': run(folder / 'skip expected', rank, good[:2] + good[3:5] + good[6:], {}, **GAN),
        'rollback': run(folder / 'rollback', rank, second[4:], {'action': 'rollback', 'every': 3}),
        'stop': run(folder / 'stop', rank, second, {'action': 'stop'}),
    }
    root = {'pixel_opt': {'type': 'RootAtZero'}}
    second = poisoned(good, 7, value=-1) if rank == 1 else good
    results['gradient'] = run(folder / 'gradient', rank, second, {'action': 'rollback', 'every': 1}, **root)
    results['gradient expected'] = run(folder / 'gradient expected', rank, good[:4] + good[7:], {}, **root)
    return results


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('nonfinite')


@pytest.fixture(scope='module')
def results(folder) -> list[dict[str, dict]]:
    """What each rank says of each scenario."""
    return on_processes(scenarios, folder)


def written(folder: Path, scenario: str) -> list[str]:
    return sorted(path.name for path in (folder / scenario / 'nonfinite').iterdir())


@pytest.mark.parametrize(
    ('scenario', 'files'), [('skip', ['iter_3_rank1', 'iter_5_rank1']), ('gradient', ['iter_7_rank0', 'iter_7_rank1'])]
)
def test_both_end_as_if_the_batch_had_never_been_drawn(results, folder, scenario, files):
    """They count it, and those write it that saw it; a gradient is everyone's."""
    for rank in range(2):
        got, expected = (folder / name / f'state{rank}.pth' for name in (scenario, f'{scenario} expected'))
        assert difference(*(torch.load(file, weights_only=True) for file in (got, expected))) is None
    assert [found[scenario]['count'] for found in results] == [{'skip': 2, 'gradient': 1}[scenario]] * 2
    assert written(folder, scenario) == files


def test_errors_are_those_of_both(results, folder):
    """Batch 6 is the second of the rollback, and the first checkpoint comes with the fourth."""
    for found in results:
        assert 'there is no checkpoint to go back to' in found['rollback']['error']
        assert found['stop'] == results[0]['stop']
    error = results[0]['stop']['error']
    assert error.startswith('Iteration 3: loss l_pix is not finite, so training stops here')
    assert f'Its batch is in {folder / "stop" / "nonfinite" / "iter_3_rank1"}.' in error
