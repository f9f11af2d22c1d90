"""Images and weights that stand in for those that option files name, and a folder in which the files may be damaged."""

# ruff: noqa: E402  # BasicSR can be imported only after register_all()
import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import hypothesis.configuration
import lmdb
import numpy as np
import torch

from ext_core.errors import UserError
from ext_core.registration import register_all

register_all()  # what follows imports BasicSR

import torchvision
from basicsr.utils.registry import ARCH_REGISTRY

from ext_core.options import loading, yaml_safe
from ext_core.use import adaptation_options

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ('options', 'studies/options')
HR_SIZE, VAL_SIZE, IMAGES = 576, 288, 16  # px: a multiple of all scales; NIQE wants two blocks of 96; for one batch


def network_weights(options: dict) -> dict[str, torch.Tensor]:
    with torch.device('meta'):
        return ARCH_REGISTRY.get(options['type'])(**{k: v for k, v in options.items() if k != 'type'}).state_dict()


def save_weights(weights: dict[str, torch.Tensor], file: Path, with_key: bool = True) -> None:
    """Save weights of these shapes, small and equal: one number of each tensor is stored, whatever its size."""
    equal = {}
    for name, tensor in weights.items():
        fan_in = max(1, tensor[0].numel()) if tensor.dim() > 1 else 10
        equal[name] = torch.full((1,) * tensor.dim(), 0.5 / fan_in).to(tensor.dtype).expand(tensor.shape)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({'params': equal, 'params_ema': equal} if with_key else equal, file)


def stand_ins(root: Path, recipes: dict[str, dict], wanted: list[str]) -> None:
    """Make, below a folder, images and weights for the recipes of these names; what lies in a neighbouring folder is
    made beside it."""
    places: dict[Path, tuple[bool, int, int]] = {}  # is an LMDB, pixels of a side, images
    for opt in map(recipes.get, wanted):
        for phase, data_opt in opt['datasets'].items():  # type: ignore[index]
            side, count = (HR_SIZE, IMAGES) if phase == 'train' else (VAL_SIZE, 1)
            if phase == 'train':
                few = data_opt['batch_size_per_gpu'] / data_opt.get('dataset_enlarge_ratio', 1)
                count = max(count, math.ceil(few))
            for key, value in data_opt.items():
                if key.startswith('dataroot') and value is not None:
                    place = (root / value).resolve()
                    before = places.get(place, (False, 0, 0))
                    own = side if key == 'dataroot_gt' else side // opt['scale']  # type: ignore[index]
                    is_lmdb = data_opt['io_backend']['type'] == 'lmdb'
                    places[place] = is_lmdb, max(before[1], own), max(before[2], count)
    noise = np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)
    for place, (is_lmdb, side, count) in places.items():
        place.mkdir(parents=True)
        png = cv2.imencode('.png', cv2.resize(noise, (side, side)))[1].tobytes()
        names = [f'{number:04}' for number in range(count)]
        if is_lmdb:
            with lmdb.open(str(place), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
                for name in names:
                    transaction.put(name.encode(), png)
            (place / 'meta_info.txt').write_text(''.join(f'{name}.png ({side},{side},3) 1\n' for name in names))
        for name in () if is_lmdb else names:
            (place / f'{name}.png').write_bytes(png)
    for name in ('vgg16', 'vgg19', 'alexnet'):
        with torch.device('meta'):
            weights = getattr(torchvision.models, name)(weights=None).state_dict()
        file = root / 'experiments' / 'pretrained_models' / f'{name}_features.pth'
        save_weights({key: value for key, value in weights.items() if key.startswith('features')}, file, False)
    for opt in map(recipes.get, wanted):
        for key, value in (opt.get('path') or {}).items():  # type: ignore[union-attr]
            if key.startswith('pretrain_network') and isinstance(value, str):
                saved = f'network_{Path(value).stem.split("_")[1]}'  # net_g_latest.pth
                source = recipes.get(Path(value).parts[1], {}).get(saved)
                save_weights(network_weights(source or opt[key.removeprefix('pretrain_')]), root / value)  # type: ignore


def find_recipes(root: Path) -> dict[str, str]:
    """Option files, each with the one by which it is judged: itself or, of one that others inherit, the first of those.
    Others, such as overlays, are left out."""

    def bases(file: Path) -> Iterator[Path]:
        given = yaml_safe.read(file).get('_base_', [])
        for base in [given] if isinstance(given, str) else given:
            path = Path(os.path.normpath(file.parent / base))
            yield path
            yield from bases(path)

    heirs: dict[Path, Path] = {}
    for file in sorted(file for folder in FOLDERS for file in (root / folder).rglob('*.yml')):
        with contextlib.suppress(UserError):  # a file for something else
            opt = loading.load(file)
            if {'model_type', 'datasets', 'name'} <= set(opt) or isinstance(opt.get('stage1'), str):
                heirs[file] = file
    for file in list(heirs):
        for base in bases(file):
            heirs.setdefault(base, file)
    return {str(file.relative_to(root)): str(heir.relative_to(root)) for file, heir in sorted(heirs.items())}


@contextlib.contextmanager
def prepared(files: list[str]) -> Iterator[Path]:
    """A temporary folder with stand-ins for what these files name."""
    recipes: dict = {}
    heirs, wanted, before = find_recipes(ROOT), [], Path.cwd()
    with tempfile.TemporaryDirectory(prefix='option_damage_') as place:
        home = Path(place) / 'stand_ins' / 'main'
        home.mkdir(parents=True)
        os.chdir(ROOT)
        try:
            for heir in sorted(set(heirs.values())):
                opt = loading.load(Path(heir))
                stages = {}
                if 'stage1' in opt:
                    both = adaptation_options.load(Path(heir))
                    stages = {f'{opt["name"]}_{n}': adaptation_options.stage_options(both, n, False) for n in (1, 2)}
                recipes |= stages or {opt['name']: opt}
                wanted += list(stages or [opt['name']]) if heir in {heirs[file] for file in files} else []
            os.chdir(home)
            stand_ins(home, recipes, wanted)
        finally:
            os.chdir(before)
        yield home


@contextlib.contextmanager
def own_folder(home: Path) -> Iterator[None]:
    """A current folder with a copy of the option files, where relative paths lead to the stand-ins."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(dir=home.parents[1]) as place:
        own = Path(place) / 'main'
        own.mkdir()
        for entry in [*home.iterdir(), *home.parent.iterdir()]:
            if entry != home:
                (own if entry.parent == home else own.parent).joinpath(entry.name).symlink_to(entry)
        for folder in FOLDERS:
            if (ROOT / folder).is_dir():
                shutil.copytree(ROOT / folder, own / folder)
        hypothesis.configuration.set_hypothesis_home_dir(Path(place) / 'hypothesis')
        os.chdir(own)
        try:
            yield
        finally:
            os.chdir(before)
