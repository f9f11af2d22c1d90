"""The option file of a run that takes seconds, with --demo: it validates and saves every second iteration."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def tiny_recipe(name: str, total_iter: int, **logger) -> dict:
    """A file that inherits options/train_rrdb_psnr.yml; ``logger`` are further keys of that section."""
    return {
        '_base_': str(PROJECT / 'options' / 'train_rrdb_psnr.yml'),
        'name': name,
        'datasets': {'train': {'gt_size': 32, 'num_worker_per_gpu': 0}},
        'network_g': {'num_feat': 4, 'num_block': 1, 'num_grow_ch': 4},
        'train': {'total_iter': total_iter},
        'val': {
            'val_freq': 2,
            'save_img': False,
            'save_best': 'psnr',
            'metrics': {'_delete_': True, 'psnr': {'type': 'calculate_psnr', 'crop_border': 4}},
        },
        'logger': {'save_checkpoint_freq': 2, **logger},
    }
