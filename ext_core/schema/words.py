"""What the keys mean that BasicSR reads, which no docstring describes; and their kinds, from the check's tables."""

from ext_core.check import sections

# put in by the launcher; no key of option files
INTERNAL = frozenset(
    {
        'is_train', 'dist', 'rank', 'world_size', 'auto_resume', 'root_path', 'experiments_root', 'results_root',
        'models', 'training_states', 'log', 'visualization', 'phase',
    }
)  # fmt: skip
_TEXTS = {
    'name': 'A name for logs and results.',
    'scale': 'Factor of super-resolution.',
    'network_g': "The generator, by type; other networks are the model's.",
    'network_d': 'The discriminator, by type.',
    'path': 'Weights to begin with, and a state to resume.',
    'train': 'Optimizers, losses and lengths; read by the model.',
    'val': 'How often is validated, and by which metrics.',
    'logger': 'How often is logged and saved.',
    'wandb': 'project and resume_id for Weights & Biases, which needs use_tb_logger; ~ for none.',
    'optim_d': "The discriminator's optimizer.",
    'pixel_opt': 'A loss that compares pixels, by type.',
    'perceptual_opt': 'A loss that compares features, by type.',
    'manual_seed': 'Seed of all that is drawn at random; ~ for a new one in each run.',
    'dist_params': 'How the processes of torchrun or Slurm meet.',
    'find_unused_parameters': 'Of DistributedDataParallel, for networks of which a step uses a part only.',
    'total_iter': 'Iterations of the whole training.',
    'warmup_iter': 'Iterations over which the learning rate rises from 0; -1 for none.',
    'ema_decay': 'Decay of the average of the weights that is evaluated and saved beside them; 0 for none.',
    'net_d_iters': 'The generator is trained in every so many iterations.',
    'net_d_init_iters': 'Iterations before the generator is trained at all.',
    'val_freq': 'Iterations between validations.',
    'save_img': 'Whether the images of validations are saved.',
    'save_best': 'Name of the metric by which net_g_best.pth is kept.',
    'suffix': 'Added to the names of saved images.',
    'pbar': 'Whether validations show their progress.',
    'print_freq': 'Iterations between lines of the log.',
    'save_checkpoint_freq': 'Iterations between checkpoints.',
    'keep_last': 'Checkpoints to keep; all, if left out.',
    'save_in_background': 'Write checkpoints while the training goes on.',
    'use_tb_logger': 'Write a log for TensorBoard.',
    'resume_state': 'A training state to go on from.',
    'ignore_resume_networks': 'Networks that are not loaded when a training goes on.',
    'type': 'Name of the class.',
    'dataroot_gt': 'Folder or LMDB of ground truths.',
    'dataroot_lq': 'Folder or LMDB of low-quality images.',
    'meta_info_file': 'Text file whose lines begin with the names of the images to use.',
    'filename_tmpl': "How low-quality images are named after their ground truths: '{}' alike, '{}x4' with an ending.",
    'io_backend': 'Where the images are: type: disk, or type: lmdb.',
    'gt_size': 'Side of the crops of the ground truth in pixels.',
    'use_hflip': 'Flip crops at random.',
    'use_rot': 'Turn crops by 90 degrees at random.',
    'use_shuffle': 'Stands in files of BasicSR; training is always shuffled.',
    'color': 'y: luminance only.',
    'mean': 'Subtracted from each channel.',
    'std': 'Divides each channel.',
    'dataset_enlarge_ratio': 'So many copies of the images make one epoch.',
    'batch_size_per_gpu': 'Images in the batch of one GPU, or of the CPU.',
    'num_worker_per_gpu': 'Processes that read images for one GPU.',
    'prefetch_mode': 'How batches get ready: cuda copies them to the GPU early, cpu reads in a thread; ~ for none.',
    'num_prefetch_queue': 'Batches that prefetch_mode: cpu keeps ready.',
    'max_bad_samples': 'Samples that may be unreadable before the training stops.',
    'pin_memory': 'Copy batches to the GPU from pinned memory.',
    'persistent_workers': 'Keep the reading processes from epoch to epoch.',
}
_TEXT_KEYS = frozenset({'resume_state', 'meta_info_file', 'filename_tmpl', 'suffix', 'save_best'})


def described(place: str, key: str, more: dict) -> dict:
    """A key of a section: its description and kind."""
    path = f'{place}:{key}' if place else key
    number = sections.DATASET_NUMBERS.get(key) if place == 'datasets' else sections.NUMBERS.get(path)
    switches = sections.DATASET_SWITCHES if place == 'datasets' else sections.SWITCHES.get(place, ())
    kind: dict = {}
    if number:
        never = sections.NEVER_NONE & {path, key}
        kind = dict(number.schema) if never else {'anyOf': [number.schema, {'type': 'null'}]}
    elif key in switches:
        kind = {'type': ['boolean', 'null']}
    elif key in _TEXT_KEYS or key.startswith('dataroot'):
        kind = {'type': ['string', 'null']}
    elif key == 'prefetch_mode':
        kind = {'enum': ['cuda', 'cpu', None]}
    text = {'description': _TEXTS[key]} if key in _TEXTS else {}
    return {**text, **kind, **more}
