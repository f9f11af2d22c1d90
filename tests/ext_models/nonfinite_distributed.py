"""Run by torchrun: two ranks train on their halves of batches, of which the second rank's go bad.

Usage: nonfinite_distributed.py FOLDER. Each rank writes FOLDER/rank<r>.json.
"""

import json
import os
import sys
from pathlib import Path

import torch

from ext_core.registration import register_all

register_all()

from nonfinite_runs import data_of, poisoned, run_options, state_of, trainer_on  # noqa: E402

from ext_core.errors import UserError  # noqa: E402

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


def scenarios(folder: Path, rank: int) -> dict[str, dict]:
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


if __name__ == '__main__':
    from basicsr.utils.dist_util import init_dist

    torch.set_num_threads(1)
    init_dist('pytorch')
    rank = int(os.environ['RANK'])
    folder = Path(sys.argv[1])
    (folder / f'rank{rank}.json').write_text(json.dumps(scenarios(folder, rank)))
    torch.distributed.destroy_process_group()
