"""The first batch of a training set: python spawned_workers.py FOLDER METHOD WORKERS prints the sum of its pixels.

FOLDER gets the embedded photographs. METHOD is how workers are started: Windows and macOS know no other than spawn.
"""

import multiprocessing
import sys
from pathlib import Path

if __name__ == '__main__':
    folder, method, workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    multiprocessing.set_start_method(method)
    from ext_core.registration import register_all

    register_all()
    from ext_core.train.loaders import TrainingBatches
    from ext_data.preparation.demo import ensure_demo_data

    demo = ensure_demo_data(folder, 2) / 'train'
    train = {
        'type': 'PairedImageDataset', 'name': 'demo', 'phase': 'train', 'scale': 2, 'gt_size': 64, 'use_hflip': True,
        'use_rot': True, 'dataroot_gt': str(demo / 'gt.lmdb'), 'dataroot_lq': str(demo / 'lq_x2.lmdb'),
        'io_backend': {'type': 'lmdb'}, 'batch_size_per_gpu': 4, 'num_worker_per_gpu': workers, 'pin_memory': False,
    }  # fmt: skip
    opt = {'datasets': {'train': train}, 'world_size': 1, 'rank': 0, 'manual_seed': 3, 'num_gpu': 0, 'dist': False}
    batches = TrainingBatches(opt)
    reading = iter(batches)
    batch = next(reading)
    print('sum', batch['gt'].double().sum().item(), batch['lq'].double().sum().item())
    reading.close()
