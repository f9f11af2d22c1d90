"""Recipes name data that the documented commands write, and crops that fit into it."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from ext_core.options import loading as options
from ext_data.preparation import pairs as preparation_pairs
from ext_data.preparation import pipeline
from ext_data.preparation.layouts import LAYOUTS
from ext_data.preparation.pairs import Pair
from ext_data.roots import roots_of

PROJECT = Path(__file__).resolve().parents[1]
RECIPES = [
    path
    for folder in ('options', 'studies/options')
    for path in sorted((PROJECT / folder).rglob('*.yml'))
    if 'overlays' not in path.parts and not path.name.startswith('_')
]
PREPARE = 'python scripts/prepare_data.py '
SYNTHESIZE = 'python scripts/synthesize_lr.py '
KNOWN_SETS = [
    f'--layout {name} --root datasets/{name} --scale {scale} --lmdb' for name in LAYOUTS for scale in (2, 3, 4)
]
PHOTOGRAPHS = ('MultiScaleImageDataset',)  # reads folders of photographs as they are
ONE_COMMAND = {'hr': 'gt', 'val_gt': 'gt', 'val_hr': 'gt', 'real_lq': 'lq', 'val_lq': 'lq'}


def commands(text: str, start: str) -> list[str]:
    """Arguments of the documented commands of a script, lines continued by a backslash put together."""
    lines = re.sub(r'\\\n[# ]*', ' ', text).splitlines()
    found = [line.strip('# ').removeprefix(start) for line in lines if line.strip('# ').startswith(start)]
    return [command for command in found if '...' not in command and not command.startswith(('demo', '--list'))]


@pytest.fixture(scope='module')
def written():
    """What prepare_data.py writes for its arguments: path to HR or LR side of a sub-image in px, None if uncut."""
    spec = importlib.util.spec_from_file_location('prepare_data', PROJECT / 'scripts' / 'prepare_data.py')
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    plans = []
    pairs = [Pair('image', Path('image.png'), None)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            preparation_pairs, 'collect_layout', lambda root, layout, *_, **__: dict.fromkeys(layout.splits, pairs)
        )
        patch.setattr(preparation_pairs, 'collect_folders', lambda *_: pairs)
        patch.setattr(pipeline, 'prepare', lambda pairs, plan, *_: plans.append(plan) or pipeline.Prepared([], 0))
        patch.setattr(pipeline, 'pack', lambda *_: ())
        patch.setattr(preparation_pairs, 'passed_over', lambda *_: ())

        def run(arguments: str) -> dict[str, int | None]:
            plans.clear()
            args = script.build_parser().parse_args(shlex.split(arguments, comments=True))
            script.prepare_images(args)
            found = {}
            for plan in plans:
                size = plan.window.size if plan.window else None
                for folder, side in ((plan.hr_folder, size), (plan.lr_folder, size and size // plan.scale)):
                    found |= {f'{folder}{ending}': side for ending in ('', '.lmdb')[: 1 + args.lmdb]}
            return found

        yield run


@pytest.fixture(scope='module')
def documented(written) -> dict[str, int | None]:
    """What the commands of the documentation write, and those of the known sets."""
    texts = [path.read_text() for path in (PROJECT / 'README.md', *sorted((PROJECT / 'docs').glob('*.md')))]
    found = {}
    for arguments in KNOWN_SETS + [command for text in texts for command in commands(text, PREPARE)]:
        found |= written(arguments)
    return found


def texts_of(recipe: Path) -> list[str]:
    """The recipe, then its bases."""
    text = recipe.read_text()
    base = re.search(r'^_base_: *\[?([^#\]\n]*)', text, re.M)
    names = base[1].replace(',', ' ').split() if base else []
    return [text, *(above for name in names for above in texts_of(recipe.parent / name))]


def images_of(opt: dict) -> list[tuple[str, str, dict, str]]:
    """Key, path, section and kind (gt, lq) of all images that a recipe names below datasets/."""
    found = [(key, path, {}, kind) for key, kind in ONE_COMMAND.items() if opt.get(key) for path in roots_of(opt[key])]
    for phase, section in (opt.get('datasets') or {}).items():
        for key, kind in (('dataroot_gt', 'gt'), ('dataroot_lq', 'lq'), ('dataroot_real_lq', 'lq')):
            if section.get(key):
                found += [(f'datasets:{phase}:{key}', path, section, kind) for path in roots_of(section[key])]
    return [image for image in found if image[1].startswith('datasets/')]


@pytest.mark.parametrize('recipe', RECIPES, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_images_are_those_that_the_documented_commands_write_and_crops_fit(recipe, documented, written):
    opt, known = options.load(recipe), dict(documented)
    for text in texts_of(recipe):
        for arguments in commands(text, PREPARE):
            known |= written(arguments)
        for arguments in commands(text, SYNTHESIZE):
            named = dict(re.findall(r'--(hr|output) (\S+)', arguments))
            size = known[named['hr']]
            known[named['output']] = size and size // opt.get('scale', 4)
    for key, path, section, kind in images_of(opt):
        if section.get('type') in PHOTOGRAPHS and path not in known:
            assert path in (PROJECT / 'docs' / 'small_networks.md').read_text(), key
            continue
        of_a_study = [root for root in ('datasets/bounds/BSDS400', 'datasets/synthetic') if path.startswith(root)]
        if of_a_study:  # written by studies/adaptation_bounds.py and synthetic_camera.py
            assert f'--output {of_a_study[0]}' in (PROJECT / 'docs' / 'RESULTS.md').read_text(), key
            continue
        assert path in known, f'{key}: no documented command writes {path}'
        if 'io_backend' in section:
            assert path.endswith('.lmdb') == (section['io_backend']['type'] == 'lmdb'), key
        if section.get('gt_size') and known[path]:
            crop = section['gt_size'] if kind == 'gt' else section['gt_size'] // opt['scale']
            assert crop <= known[path], f'{key}: crops of {crop} px do not fit into sub-images of {known[path]} px'
