"""Every key of option files, declared once.

Check, JSON Schema, reference pages and "did you mean" are made from these dataclasses, from those of the same form in
our models (``TrainOptions``: keys of ``train``; ``FileOptions``: keys of the whole file) and datasets (``Options``:
keys of their section; ``TrainOptions``: those that only training reads), and from the signatures of all that is named
by ``type``. A field without a default is needed. Models and datasets inherit their bases' declarations; a subclass
that declares a key again changes it.

BasicSR's own models and datasets declare nothing, so the table at the end does it for them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any, Literal

from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.single_image_dataset import SingleImageDataset

from ext_core.options.signatures import Parameter, parameters_of

COUNT = {'minimum': 1}
WHOLE = {'minimum': 0}
ITERATIONS = {'minimum': 1, 'multipleOf': 1}  # of a float: YAML reads 5e3 as one

FOLDER_NAME = r'^(?!\.+$)[^/\\~]+$'


@dataclass(kw_only=True)
class File:
    """The top level."""

    name: Annotated[
        str, {'pattern': FOLDER_NAME, 'title': 'text that can name a folder'}, 'Name of the experiment and its folder.'
    ]
    model_type: Annotated[str, 'The training procedure.']
    scale: Annotated[int | None, COUNT, 'Factor of super-resolution.'] = None
    num_gpu: Annotated[int | Literal['auto'], WHOLE, 'GPUs: auto for all there are, 0 for the CPU.']
    manual_seed: Annotated[
        int | None,
        {'minimum': 0, 'maximum': 2**31 - 1},
        'Seed of all that is drawn at random; ~ for a new one in each run.',
    ] = None
    datasets: Annotated[
        dict, 'Sections train, val, val_1, ... for training; test, test_1, ..., val for testing. ~ leaves one out.'
    ]
    network_g: Annotated[dict, 'The generator, by type.']
    path: Annotated[dict, 'Weights to begin with, and a state to resume.']
    train: Annotated[dict | None, 'Optimizers, losses and lengths; read by the model.'] = None
    val: Annotated[dict | None, 'Frequency and metrics of validations.'] = None
    logger: Annotated[dict | None, 'Frequencies of logging and saving.'] = None
    dist_params: Annotated[dict | None, 'How the processes of Slurm meet: backend and port.'] = None
    custom_imports: Annotated[dict | None, 'Modules of your own, which register classes.'] = None
    find_unused_parameters: Annotated[
        bool | None, 'Of DistributedDataParallel, for networks of which a step uses a part only.'
    ] = False


@dataclass(kw_only=True)
class Train:
    """Keys of ``train`` that the loop reads."""

    total_iter: Annotated[float, ITERATIONS, 'Iterations of the whole training.']
    warmup_iter: Annotated[
        float,
        {'minimum': -1, 'multipleOf': 1},
        'Iterations over which the learning rate rises from 0; -1 for none.',
    ] = -1


@dataclass(kw_only=True)
class Val:
    """Keys of ``val``."""

    val_freq: Annotated[float | None, ITERATIONS, 'Iterations between validations. Training needs it.'] = None
    save_img: Annotated[bool | None, 'Save the images of validations.'] = False
    save_best: Annotated[str | None, 'Name of the metric by which net_g_best.pth is kept.'] = None
    suffix: Annotated[str | None, 'Added to the names of saved images.'] = None
    metrics: Annotated[dict[str, dict] | None, 'Metrics by a name of your own.'] = None
    pbar: Annotated[bool | None, 'Show the progress of validations.'] = False


@dataclass(kw_only=True)
class Metric:
    """What the section of a metric takes beside the metric's arguments."""

    better: Annotated[
        Literal['higher', 'lower'], 'Which is better; where it is left out, what the metric itself says.'
    ] = 'higher'
    optional: Annotated[bool, 'Leave it out where it cannot run.'] = False
    crop_border: Annotated[int, WHOLE, 'Pixels left out at each side.'] = 0


@dataclass(kw_only=True)
class Optimizer:
    """What the section of an optimizer takes beside the optimizer's arguments."""

    lr: Annotated[float, {'minimum': 0, 'maximum': 1, 'title': 'a number from 0 to 1, such as 1e-4'}, 'Learning rate.']
    lr_mult: Annotated[dict[str, Annotated[float, WHOLE]] | None, 'Factors on the learning rate by layer.'] = None


@dataclass(kw_only=True)
class Schedule:
    """Arguments of several schedules."""

    milestones: Annotated[
        list[Annotated[int, COUNT]],
        {'uniqueItems': True, 'title': 'iterations, whole numbers from 1 on'},
        'Where the learning rate falls, in ascending order.',
    ]
    total_iter: Annotated[float | None, ITERATIONS, 'Default: train:total_iter.'] = None


@dataclass(kw_only=True)
class Wandb:
    """``logger:wandb``."""

    project: Annotated[str | None, 'Project of Weights & Biases, which needs use_tb_logger; ~ for none.'] = None
    resume_id: Annotated[str | None, 'Run to go on with.'] = None


@dataclass(kw_only=True)
class Logger:
    """Keys of ``logger``."""

    print_freq: Annotated[float, ITERATIONS, 'Iterations between lines of the log.']
    save_checkpoint_freq: Annotated[float, ITERATIONS, 'Iterations between checkpoints.']
    keep_last: Annotated[int | None, COUNT, 'Checkpoints to keep; all, if left out.'] = None
    save_in_background: Annotated[bool | None, 'Has no effect: the training loop writes checkpoints itself.'] = None
    use_tb_logger: Annotated[bool | None, 'Write a log for TensorBoard.'] = False
    wandb: Annotated[dict | None, 'Weights & Biases: project and resume_id.'] = None


@dataclass(kw_only=True)
class Path:
    """Keys of ``path``; those of :class:`NetworkPath` stand here once for each network."""

    resume_state: Annotated[str | None, 'A training state to go on from.'] = None
    ignore_resume_networks: Annotated[
        list[str] | str | None, 'Networks that are not loaded when a training goes on.'
    ] = None


@dataclass(kw_only=True)
class NetworkPath:
    """Keys of ``path`` with the network's suffix: ``pretrain_network_g``, ``strict_load_g_except``."""

    pretrain_network: Annotated[str | None, 'Weights to begin with: a file, or a name in generators/.'] = None
    param_key: Annotated[str | None, 'Key of the weights in that file.'] = 'params'
    strict_load: Annotated[bool, 'Refuse weights that do not fit.'] = True
    strict_load_except: Annotated[list[str] | None, 'Layers that keep their initial weights.'] = None


@dataclass(frozen=True)
class NonFinite:
    """``train:nonfinite``: what happens when a loss or a gradient is NaN or infinite."""

    action: Annotated[
        Literal['stop', 'skip', 'rollback'],
        'stop: training ends with an error. skip: the batch counts as if it had never been drawn. rollback: training '
        'goes on from the newest whole checkpoint, with the batches that come next in the stream.',
    ] = 'stop'
    max: Annotated[int, COUNT, 'Bad batches that the whole run may have, resumed parts included; one more ends it.'] = (
        10
    )
    every: Annotated[
        int,
        COUNT,
        'Iterations between looks at the losses and gradients. That many batches are kept in memory.',
    ] = 10


@dataclass(kw_only=True)
class Compile:
    """``train:compile``, beside the arguments of torch.compile."""

    networks: Annotated[list[Literal['g', 'd']] | None, 'Networks to compile; ~: the generator alone.'] = None


@dataclass(kw_only=True)
class DistParams:
    """``dist_params``; read under Slurm."""

    backend: Annotated[str, 'How tensors travel: nccl between GPUs, gloo between CPUs.'] = 'nccl'
    port: Annotated[int | None, WHOLE, 'Port of the first process.'] = None


@dataclass(kw_only=True)
class CustomImports:
    """``custom_imports``, as mmengine has it: modules that register networks, losses and others of your own."""

    imports: Annotated[
        list[str] | str,
        'Modules as Python imports them, package.module; looked for in the current folder and where Python looks.',
    ]
    allow_failed_imports: Annotated[bool, 'A module that cannot be imported is a warning only.'] = False


@dataclass(kw_only=True)
class Dataset:
    """Keys of every dataset's section."""

    name: Annotated[str, 'A name for logs and results.']
    type: Annotated[str, 'Name of the class.']
    prefetch_mode: Annotated[
        Literal['cuda', 'cpu', None],
        'How batches get ready: cuda copies them to the GPU early, cpu reads in a thread; ~ for none.',
    ] = None
    pin_memory: Annotated[bool | None, 'Copy batches to the GPU from pinned memory.'] = False
    num_prefetch_queue: Annotated[int, COUNT, 'Batches that prefetch_mode: cpu keeps ready.'] = 1


@dataclass(kw_only=True)
class TrainDataset:
    """Keys of ``datasets:train`` that the loader of training batches reads."""

    batch_size_per_gpu: Annotated[int, COUNT, 'Images in the batch of one GPU, or of the CPU.']
    num_worker_per_gpu: Annotated[int, WHOLE, 'Processes that read images for one GPU.']
    dataset_enlarge_ratio: Annotated[float, {'exclusiveMinimum': 0}, 'Copies of the images in one epoch.'] = 1
    persistent_workers: Annotated[bool | None, 'Keep the reading processes from epoch to epoch.'] = False
    max_bad_samples: Annotated[int, WHOLE, 'Samples that may be unreadable before the training stops.'] = 10


# ---------------------------------------------------------------------- BasicSR's own models and datasets
@dataclass(kw_only=True)
class SRTraining:
    """Keys of ``train`` of BasicSR's SRModel."""

    optim_g: Annotated[dict, "The generator's optimizer, by type."]
    scheduler: Annotated[dict, 'The schedule of all learning rates, by type.']
    ema_decay: Annotated[
        float,
        {'minimum': 0, 'exclusiveMaximum': 1},
        'Decay of the average of the weights that is evaluated and saved beside them; 0 for none.',
    ] = 0
    pixel_opt: Annotated[dict | None, 'A loss that compares pixels, by type.'] = None
    perceptual_opt: Annotated[dict | None, 'A loss that compares features, by type.'] = None


@dataclass(kw_only=True)
class GANTraining:
    """Keys of ``train`` of BasicSR's SRGANModel."""

    optim_d: Annotated[dict, "The discriminator's optimizer, by type."]
    gan_opt: Annotated[dict, 'The adversarial objective, by type.']
    ldl_opt: Annotated[dict | None, 'Locally discriminative learning, by type.'] = None
    net_d_iters: Annotated[int, COUNT, 'Train the generator in every Nth iteration only.'] = 1
    net_d_init_iters: Annotated[int, WHOLE, 'Iterations before the generator is trained at all.'] = 0


@dataclass(kw_only=True)
class WithDiscriminator:
    """Top-level keys of a GAN."""

    network_d: Annotated[dict, 'The discriminator, by type.']


@dataclass(kw_only=True)
class SingleKeys:
    """Keys of BasicSR's SingleImageDataset."""

    dataroot_lq: Annotated[str, 'Folder or LMDB of low-quality images.']
    io_backend: Annotated[dict, 'Where the images are: type: disk, or type: lmdb.']
    meta_info_file: Annotated[
        str | None, 'Text file whose lines begin with the names of the images to use. Not for LMDBs.'
    ] = None
    color: Annotated[Literal['y', 'rgb', None], 'y: luminance only.'] = None
    mean: Annotated[list[float] | None, 'Subtracted from each channel.'] = None
    std: Annotated[list[float] | None, 'Divides each channel.'] = None


@dataclass(kw_only=True)
class PairedKeys(SingleKeys):
    """Keys of BasicSR's PairedImageDataset, and of others that read pairs or single images."""

    dataroot_gt: Annotated[str, 'Folder or LMDB of ground truths.']
    scale: Annotated[int, 'Factor of super-resolution.']  # put in by the launcher
    filename_tmpl: Annotated[
        str | None,
        {'pattern': r'^[^{}]*\{[^{}]*\}[^{}]*$', 'title': "text with one {}, such as '{}x4'"},
        "How low-quality images are named after their ground truths: '{}' alike, '{}x4' with an ending.",
    ] = '{}'


@dataclass(kw_only=True)
class PairedTrainKeys:
    """Keys that PairedImageDataset reads in training."""

    gt_size: Annotated[int, COUNT, 'Side of the crops of the ground truth in pixels.']
    use_hflip: Annotated[bool, 'Flip crops at random.']
    use_rot: Annotated[bool, 'Turn crops by 90 degrees at random.']


def _open(keys: str, *bases: type) -> type:
    """A declaration of optional keys that take anything, beside those of ``bases``."""
    return make_dataclass('Keys', [(key, Any, None) for key in keys.split()], bases=bases, kw_only=True)


_DEGRADATION = (
    'gt_size queue_size high_order_degradation gaussian_noise_prob gaussian_noise_prob2 gray_noise_prob '
    'gray_noise_prob2 jpeg_range jpeg_range2 noise_range noise_range2 poisson_scale_range poisson_scale_range2 '
    'resize_prob resize_prob2 resize_range resize_range2 second_blur_prob'
)
STOCK: dict[str, dict[str, type]] = {
    'SRModel': {'TrainOptions': SRTraining},
    'SRGANModel': {'TrainOptions': GANTraining, 'FileOptions': WithDiscriminator},
    'HiFaceGANModel': {'TrainOptions': _open('feature_matching_opt', GANTraining), 'FileOptions': WithDiscriminator},
    'StyleGAN2Model': {
        'TrainOptions': _open(
            'r1_reg_weight path_batch_shrink path_reg_weight net_g_reg_every net_d_reg_every mixing_prob',
            SRTraining,
            GANTraining,
        ),
        'FileOptions': WithDiscriminator,
        'ValOptions': _open('num_val_samples'),
    },
    'EDVRModel': {'TrainOptions': _open('tsa_iter dcn_lr_mul')},
    'VideoRecurrentModel': {
        'TrainOptions': _open('fix_flow flow_lr_mul'),
        'ValOptions': _open('center_frame_only flip_seq'),
    },
    'VideoRecurrentGANModel': {'TrainOptions': _open('lr_flow', GANTraining), 'FileOptions': WithDiscriminator},
    'RealESRGANModel': {'FileOptions': _open(f'{_DEGRADATION} l1_gt_usm percep_gt_usm gan_gt_usm')},
    'RealESRNetModel': {'FileOptions': _open(f'{_DEGRADATION} gt_usm')},
    'PairedImageDataset': {'Options': PairedKeys, 'TrainOptions': PairedTrainKeys},
    'SingleImageDataset': {'Options': SingleKeys},
}
# keys of BasicSR's dataset sections; where one of its classes does not read one, that is worth a warning only
UNREAD_IN_DATASETS = frozenset(
    {'use_shuffle', *PairedKeys.__dataclass_fields__, *PairedTrainKeys.__dataclass_fields__}
) - {'io_backend', 'scale'}


def declared(owner: type | None, kind: str) -> dict[str, Parameter]:
    """The keys that a model or dataset declares, those of its bases too; the nearest declaration counts."""
    found: dict[str, Parameter] = {}
    for base in owner.__mro__ if owner else ():
        form = vars(base).get(kind) or (
            STOCK.get(base.__name__, {}).get(kind) if base.__module__.startswith('basicsr.') else None
        )
        for name, parameter in parameters_of(form).items() if form else ():
            found.setdefault(name, parameter)
    return found


def model_keys(model: type | None) -> dict[str, dict[str, Parameter]]:
    """The keys of each section of a file for this model: '' is the top level."""
    networks = [key for key in declared(model, 'FileOptions') if key.startswith('network_')]
    return {
        '': {**parameters_of(File), **declared(model, 'FileOptions')},
        'train': {**parameters_of(Train), **declared(model, 'TrainOptions')},
        'val': {**parameters_of(Val), **declared(model, 'ValOptions')},
        'logger': dict(parameters_of(Logger)),
        'path': {**parameters_of(Path), **dict(network_paths(['network_g', *networks]))},
        'dist_params': dict(parameters_of(DistParams)),
        'custom_imports': dict(parameters_of(CustomImports)),
        'logger:wandb': dict(parameters_of(Wandb)),
    }


def network_paths(networks: list[str]) -> Iterator[tuple[str, Parameter]]:
    """The keys of ``path`` for these ``network_*`` sections."""
    for network in networks:
        suffix = network.removeprefix('network')
        for name, parameter in parameters_of(NetworkPath).items():
            stem, marked, _ = name.partition('_except')
            yield f'{stem}{suffix}{marked}', parameter


def is_open(dataset: type) -> bool:
    """Whether a dataset may read keys that nobody declared: BasicSR's others, and classes that declare nothing."""
    closed = (PairedImageDataset, SingleImageDataset)
    if dataset.__module__.startswith('basicsr.'):
        return dataset not in closed
    return not any('Options' in vars(base) or base in closed for base in dataset.__mro__)


def is_undeclared(model: type | None) -> bool:
    """Whether somebody's own model says nothing about its keys, so that none can be called unknown."""
    if model is None or model.__module__.startswith('basicsr.'):
        return False
    return not {'TrainOptions', 'FileOptions', 'ValOptions'} & {name for base in model.__mro__ for name in vars(base)}


def dataset_keys(dataset: type, training: bool) -> tuple[dict[str, Parameter], dict[str, Parameter]]:
    """The keys of a dataset's section: those that this phase reads, and those that training alone reads."""
    always = {**parameters_of(Dataset), **declared(dataset, 'Options')}
    trained = {**parameters_of(TrainDataset), **declared(dataset, 'TrainOptions')}
    return ({**always, **trained}, {}) if training else (always, trained)
