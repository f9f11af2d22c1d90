"""``python -m ext_core.doctor``: what is installed, what was patched, what is missing, and what to do about it."""

import argparse
import importlib.metadata
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from ext_core.compat import imports
from ext_core.errors import UserError
from ext_core.project import INSTALLED, PROJECT, as_called, by_console

LIBRARIES = ('basicsr', 'torch', 'torchvision', 'numpy', 'scipy', 'opencv-python', 'lmdb', 'mmengine', 'scikit-image',
             'lpips', 'spandrel', 'pyiqa')  # fmt: skip
REGISTRIES = ('ARCH', 'LOSS', 'DATASET', 'METRIC', 'MODEL')
WEIGHTS = ('vgg19', 'vgg16', 'alexnet')
FREE_SPACE = 2e9  # bytes; a few checkpoints of a large network with its optimizer


@dataclass
class Problem:
    """What is wrong, what to do, and whether training is impossible until then."""

    text: str
    remedy: str
    fatal: bool = False


@dataclass
class Section:
    """Part of the report."""

    title: str
    lines: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, name: object, value: object) -> None:
        """Append a line with a name in a column of its own."""
        self.lines.append(f'{name!s:<28} {value}')

    def complain(self, text: str, remedy: str, fatal: bool = False) -> None:
        """Append a problem."""
        self.problems.append(Problem(text, remedy, fatal))


def examine(root: Path) -> list[Section]:
    """All sections of the report on the folder that gets ``experiments/`` and holds ``datasets/``."""
    toolbox = _toolbox()  # first: torchvision, which the environment lists, may not import without our patches
    sections = [_environment(), toolbox]
    if not any(problem.fatal for problem in toolbox.problems):
        sections += [_components(), _weights(), _devices(), _logging()]
    return [*sections, _data(root), _folder(root)]


def _toolbox() -> Section:
    """Import BasicSR and our packages; list the patches."""
    section = Section('Patches')
    patches = imports.PATCHES
    try:
        from ext_core import compat
        from ext_core.registration import register_all

        register_all()
        patches = compat.patches()
    except UserError as error:
        section.complain('BasicSR cannot be used', str(error), fatal=True)
    except ModuleNotFoundError as error:
        section.complain(f'{error.name} is not installed', f'pip install -c constraints.txt {error.name}', fatal=True)
    except Exception as error:  # whatever it is, the doctor's task is to report it
        remedy = 'Install the versions of constraints.txt: make install. With these it works.'
        text = f'importing BasicSR and the plugin fails: {type(error).__name__}: {error}'
        section.complain(text, remedy, fatal=True)
    for patch in patches:
        section.add(patch.name, f'{patch.state:<10}  {patch.cause}')
        if patch.name == 'torchvision_ops' and patch.state == 'applied':
            _name_mismatch(section)
    return section


def _name_mismatch(section: Section) -> None:
    """Tell which torchvision belongs to this torch; training works without its compiled operators."""
    import torch

    release = torch.__version__.split('+')[0]
    major, minor, *_ = release.split('.')
    fitting = f'torchvision==0.{int(minor) + 15}.*' if major == '2' else 'torchvision'  # 2.0 came with 0.15
    section.complain(
        f'torchvision {importlib.metadata.version("torchvision")} was not built for torch {torch.__version__}: the '
        'patch torchvision_ops makes it work, without its compiled operators, such as nms',
        f'Install both from one package index, CPU or CUDA: pip install torch=={release} {fitting}',
    )


def _environment() -> Section:
    section = Section('Environment')
    for library in LIBRARIES:
        try:
            section.add(library, importlib.metadata.version(library))
        except importlib.metadata.PackageNotFoundError:
            section.add(library, 'not installed')
    try:
        from mmengine.utils.dl_utils import collect_env

        details = collect_env()
    except Exception as error:
        section.add('Python', sys.version.split()[0])
        section.lines.append(f'mmengine cannot describe the rest: {error}')
        return section
    from ext_models.precision import processor_has_bf16

    if not details.get('CUDA available'):
        advice = {
            True: 'in hardware: train:amp: bf16 with channels_last: true takes about half the time',
            False: 'not in hardware: leave train:amp out',
            None: 'unknown: try train:amp: bf16 with --dry-run',
        }
        section.add('bfloat16 on the CPU', advice[processor_has_bf16()])
    for name, value in details.items():
        if name not in ('PyTorch compiling details', 'numpy_random_seed'):
            section.add(name, str(value).strip().replace('\n', ' '))
    return section


def _components() -> Section:
    from basicsr.utils import registry

    section = Section('Registered components')
    for kind in REGISTRIES:
        entries = list(getattr(registry, f'{kind}_REGISTRY'))
        ours = sorted(name for name, entry in entries if entry.__module__.startswith('ext_'))
        section.add(kind.lower(), f'{len(entries)}, of these {len(ours)} ours ({", ".join(ours)})')
    others = [name for name, entry in registry.ARCH_REGISTRY if entry.__module__.startswith('spandrel.')]
    spandrels = sorted(name.removesuffix('_basicsr') for name in others)
    missing = 'none: pip install spandrel (docs/networks.md)'
    section.add("arch of spandrel's", f'{len(spandrels)} ({", ".join(spandrels)})' if spandrels else missing)
    return section


def _weights() -> Section:
    from ext_arch.pretrained import HOW_TO_GET, find_weights

    section = Section('Weights of feature networks')
    found = {name: find_weights(name) for name in WEIGHTS}
    for name, path in found.items():
        section.add(name, path or 'not found')
    missing = [name for name, path in found.items() if path is None]
    if missing:
        text = f'no local weights for {", ".join(missing)}; losses and metrics that use them try to download'
        section.complain(text, HOW_TO_GET)
    return section


def _devices() -> Section:
    import torch
    import torch.distributed as dist

    section = Section('Devices')
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        section.add(f'cuda:{index}', torch.cuda.get_device_name(index))
    if not count:
        section.add('CUDA', 'not available: training runs on the CPU, num_gpu counts as 0')
    if torch.version.cuda and not count:
        remedy = 'Check the driver with nvidia-smi, and CUDA_VISIBLE_DEVICES.'
        section.complain(f'torch is built for CUDA {torch.version.cuda} but sees no device', remedy)
    available = dist.is_available()
    nccl, gloo = available and dist.is_nccl_available(), available and dist.is_gloo_available()
    section.add('distributed', ', '.join(f'{n} {"yes" if v else "no"}' for n, v in (('nccl', nccl), ('gloo', gloo))))
    if not (nccl if count else gloo):
        remedy = 'Train without --launcher, or install another build of torch.'
        section.complain('torch has no backend for several processes', remedy)
    return section


def _logging() -> Section:
    section = Section('Logging')
    try:
        import torch.utils.tensorboard  # noqa: F401

        section.add('tensorboard', 'yes')
    except Exception as error:
        section.add('tensorboard', f'no ({error})')
        remedy = 'pip install tensorboard, or set logger:use_tb_logger: false in the option file.'
        section.complain('tensorboard cannot be imported', remedy)
    return section


def _data(root: Path) -> Section:
    section = Section('Data')
    datasets = root / 'datasets'
    sets = {}
    for folder, subfolders, files in os.walk(datasets):
        subfolders[:] = [name for name in subfolders if not name.startswith('.')]  # notes of the preparation
        if files and not subfolders:
            content = 'LMDB' if 'data.mdb' in files else f'{len(files)} files'
            sets[str(Path(folder).relative_to(datasets))] = content
    for name, content in sorted(sets.items()):
        section.add(name, content)
    if not (datasets / 'demo').is_dir():
        section.add('demo', 'not made yet: basicsr/train.py --demo makes it from embedded photographs')
    if all(name.startswith('demo') for name in sets):
        section.lines.append('no set of your own: scripts/prepare_data.py --help makes one from your photographs')
    return section


def _folder(root: Path) -> Section:
    section = Section('Project folder')
    section.add('folder', root)
    try:
        with tempfile.NamedTemporaryFile(dir=root, prefix='.doctor-'):
            free = shutil.disk_usage(root).free
    except OSError as error:
        remedy = 'Experiments are written there: create it, make it writable, or work in a copy of the project.'
        section.complain(f'{root} is not writable: {error.strerror}', remedy, fatal=True)
        return section
    section.add('writable', f'yes, {free / 1e9:.1f} GB free')
    if free < FREE_SPACE:
        remedy = 'Remove old experiments, or raise logger:save_checkpoint_freq in the option file.'
        section.complain(f'{free / 1e9:.1f} GB are left on the disk of {root}', remedy)
    return section


def render(sections: list[Section]) -> str:
    """The report as text, the problems last."""
    out = []
    for section in sections:
        out += [section.title, *(f'  {line}' for line in section.lines), '']
    problems = [problem for section in sections for problem in section.problems]
    out.append(f'Problems: {len(problems)}' if problems else 'No problems.')
    for problem in problems:
        kind = 'must be mended' if problem.fatal else 'may be mended'
        out += [f'- {problem.text} ({kind})', *(f'    {line}' for line in problem.remedy.splitlines())]
    return '\n'.join(out)


def main(argv: list[str] | None = None) -> int:
    """Print the report; returns 1 where training cannot work, else 0."""
    parser = argparse.ArgumentParser(
        prog='python -m ext_core.doctor',
        description='Say what is installed, what was patched, what is missing, and what to do about it.',
        epilog='example: python -m ext_core.doctor. Exit status 1: training cannot work; 0: it can.',
    )
    here = INSTALLED or by_console()
    parser.add_argument('--root', type=Path, default=Path.cwd() if here else PROJECT, metavar='FOLDER',
                        help='folder for experiments and data; default: the project, of which without a clone the '
                        'present folder takes the place')  # fmt: skip
    sections = examine(parser.parse_args(argv).root)
    print(as_called(render(sections)))
    return int(any(problem.fatal for section in sections for problem in section.problems))


if __name__ == '__main__':
    sys.exit(main())
