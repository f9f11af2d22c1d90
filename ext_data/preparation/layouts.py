"""How the common super-resolution sets are laid out once they are unpacked: data, and the text that describes it.

A template is a path without its extension, relative to the set's folder; ``{name}`` stands for the image's name and
``{scale}`` for the factor. So ``DIV2K_train_LR_bicubic/X{scale}/{name}x{scale}`` is the LR image of
``DIV2K_train_HR/{name}``, and both get the same name in the output.
"""

import difflib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Window:
    """How an HR image is cut, with the meaning of BasicSR's ``extract_subimages.py``.

    Args:
        size (int): Side of a square sub-image in HR pixels.
        step (int): Distance between neighbouring sub-images in HR pixels.
        thresh (int): At the right and bottom border one more sub-image, flush with the border, is cut if more than this
            many pixels would be left over. Default: 0.
    """

    size: int
    step: int
    thresh: int = 0


@dataclass(frozen=True)
class Split:
    """A part of a set that is prepared into its own output folders.

    Args:
        name (str): Prefix of the output folders; empty if the set is not divided.
        sources (tuple[tuple[str, str | None], ...]): Templates of HR and LR images, to be tried in this order: the
            first whose HR images are there counts. LR is None if the set has none here, so that bicubic LR is made.
        training (bool): Whether it is meant for training, so that it may be cut into sub-images. Default: False.
        window (Window | None): How it is cut unless the user says otherwise; None keeps whole images.
        numbers (range | None): Take only images whose name is a number in this range, where one folder holds all
            splits.
    """

    name: str
    sources: tuple[tuple[str, str | None], ...]
    training: bool = False
    window: Window | None = None
    numbers: range | None = None


@dataclass(frozen=True)
class Layout:
    """A published set.

    Args:
        name (str): As the papers call it.
        purpose (str): What it is for.
        published (str): Project that publishes it.
        url (str): Its public page.
        splits (tuple[Split, ...]): Its parts.
        lr_kind (str): ``bicubic``: LR is made where it is missing; ``real``: captured, so that it must be there.
        lr_at_hr_size (bool): The captured LR has the pixel size of HR and is reduced by bicubic to 1 / scale.
        note (str): What one should know before using it.
    """

    name: str
    purpose: str
    published: str
    url: str
    splits: tuple[Split, ...]
    lr_kind: str = 'bicubic'
    lr_at_hr_size: bool = False
    note: str = ''

    def describe(self, scale: int | str = '<scale>') -> str:
        """Several lines: purpose, publisher and the layouts that are understood."""
        lines = [f'{self.name}: {self.purpose}', f'  published by {self.published}, {self.url}']
        lines.append('  expected below --root:')
        for split in self.splits:
            for source in split.sources:
                hr, lr = (template and f'{template}.*'.format(name='<name>', scale=scale) for template in source)
                lines.append(f'    {split.name or "all"}: HR {hr}   LR {lr or "none, made by bicubic"}')
        if self.note:
            lines.append(f'  note: {self.note}')
        return '\n'.join(lines)


def _split(name: str, *sources: str, **more: Any) -> Split:
    """A part whose sources are written as 'HR | LR'."""
    return Split(name, tuple((hr, lr or None) for hr, _, lr in (source.partition(' | ') for source in sources)), **more)


_SUB_480: dict[str, Any] = {'training': True, 'window': Window(size=480, step=240)}
# the layouts in which the usual projects distribute test sets
_BENCHMARK = (
    _split(
        '',
        'X{scale}/HR/{name} | X{scale}/LR/{name}',
        'image_SRF_{scale}/{name}_SRF_{scale}_HR | image_SRF_{scale}/{name}_SRF_{scale}_LR',
        'GTmod12/{name} | LRbicx{scale}/{name}',
        'HR/{name} | LR_bicubic/X{scale}/{name}x{scale}',
        'original/{name}',
        '{name}',
    ),
)
_HR_FOLDER = 'HR/{name} | LR_bicubic/X{scale}/{name}x{scale}'
_CELEBA = ('img_align_celeba/{name}', 'Img/img_align_celeba/{name}')
_NTIRE = 'NTIRE 2017 challenge'
_SELFEXSR = ('SelfExSR (Huang et al., CVPR 2015)', 'https://github.com/jbhuang0604/SelfExSR')
_SMALL = 'images are small: choose gt_size accordingly'

_TABLE = (
    Layout(
        'DIV2K',
        'training (800) and validation (100), 2K photographs',
        _NTIRE,
        'https://data.vision.ee.ethz.ch/cvl/DIV2K/',
        tuple(
            _split(part, f'DIV2K_{part}_HR/{{name}} | DIV2K_{part}_LR_bicubic/X{{scale}}/{{name}}x{{scale}}', **options)
            for part, options in (('train', _SUB_480), ('valid', {}))
        ),
    ),
    Layout(
        'Flickr2K',
        'training, 2650 photographs; DIV2K and Flickr2K together are called DF2K',
        _NTIRE,
        'https://github.com/LimBee/NTIRE2017',
        (_split('train', 'Flickr2K_HR/{name} | Flickr2K_LR_bicubic/X{scale}/{name}x{scale}', **_SUB_480),),
    ),
    Layout(
        'T91',
        'training of small networks, 91 images',
        'Yang et al., TIP 2010; collected by the LapSRN project',
        'http://vllab.ucmerced.edu/wlai24/LapSRN/',
        (_split('train', _HR_FOLDER, 'T91/{name}', '{name}', training=True),),
        note=_SMALL,
    ),
    Layout(
        'General100',
        'training of small networks, 100 images',
        'FSRCNN (Dong et al., ECCV 2016)',
        'http://mmlab.ie.cuhk.edu.hk/projects/FSRCNN.html',
        (_split('train', _HR_FOLDER, 'General100/{name}', '{name}', training=True),),
        note=_SMALL,
    ),
    Layout(
        'BSDS500',
        'training, 500 photographs of 481 x 321',
        'Arbelaez et al., TPAMI 2011',
        'https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/resources.html',
        tuple(
            _split(
                name,
                *(f'{above}images/{part}/{{name}}' for above in ('BSR/BSDS500/data/', 'BSDS500/data/', 'data/', '')),
                training=True,
            )
            for name, part in (('train', 'train'), ('valid', 'val'), ('test', 'test'))
        ),
        note='its val folder contains the images of BSD100: do not train on it when you test on BSD100',
    ),
    Layout('Set5', 'testing, 5 images', *_SELFEXSR, _BENCHMARK),
    Layout('Set14', 'testing, 14 images', *_SELFEXSR, _BENCHMARK, note='one image is grey'),
    Layout('BSD100', 'testing, 100 photographs', *_SELFEXSR, _BENCHMARK),
    Layout('Urban100', 'testing, 100 photographs of buildings', *_SELFEXSR, _BENCHMARK),
    Layout(
        'Manga109',
        'testing, 109 manga covers',
        'Matsui et al., MTAP 2017',
        'http://www.manga109.org/en/',
        _BENCHMARK,
        note='its owners ask for an application',
    ),
    Layout(
        'PIRM',
        'validation and testing of perceptual quality, 100 images each; its own LR is for scale 4',
        'PIRM 2018 challenge',
        'https://github.com/roimehrez/PIRM2018',
        tuple(
            _split(name, *(f'{folder}/Original/{{name}} | {folder}/{{scale}}x_downsampled/{{name}}' for folder in two))
            for name, two in (('valid', ('Validation', 'PIRM_valset')), ('test', ('Test', 'PIRM_testset')))
        ),
    ),
    Layout(
        'CelebA',
        'faces, 202,599 aligned images of 178 x 218',
        'Liu et al., ICCV 2015',
        'https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html',
        (
            _split('train', *_CELEBA, training=True, numbers=range(1, 162771)),
            _split('valid', *_CELEBA, numbers=range(162771, 182638)),
            _split('test', *_CELEBA, numbers=range(182638, 202600)),
        ),
        note='the splits are those of its list_eval_partition.txt',
    ),
    Layout(
        'RealSR',
        'real pairs of two cameras at scales 2, 3 and 4',
        'Cai et al., ICCV 2019',
        'https://github.com/csjcai/RealSR',
        tuple(
            _split(
                f'{camera}_{part.lower()}',
                *(
                    f'{f}/{{scale}}/{{name}}_HR | {f}/{{scale}}/{{name}}_LR{{scale}}'
                    for f in (f'RealSR(V3)/{camera}/{part}', f'{camera}/{part}')
                ),
                **options,
            )
            for part, options in (('Train', _SUB_480), ('Test', {}))
            for camera in ('Nikon', 'Canon')
        ),
        lr_kind='real',
        note='version 3; LR of versions 1 and 2 has the size of HR: add --lr-at-hr-size',
    ),
    Layout(
        'City100',
        'real pairs of two cameras, 100 scenes',
        'CameraSR (Chen et al., CVPR 2019)',
        'https://github.com/ngchc/CameraSR',
        tuple(
            _split(
                camera,
                *(
                    f'{above}City100_{camera}/{{name}}H | {above}City100_{camera}/{{name}}L'
                    for above in ('City100/', '')
                ),
                training=True,
            )
            for camera in ('NikonD5500', 'iPhoneX')
        ),
        lr_kind='real',
        lr_at_hr_size=True,
        note='the captured LR has the size of HR; it is reduced by bicubic to 1 / scale',
    ),
)

LAYOUTS = {layout.name: layout for layout in _TABLE}


def get_layout(name: str) -> Layout:
    """Look a layout up by name, whatever the case.

    Args:
        name (str): For instance ``DIV2K``.

    Returns:
        Layout: Its description.

    Raises:
        ValueError: If the name is not known.
    """
    by_lower = {known.lower(): layout for known, layout in LAYOUTS.items()}
    if name.lower() in by_lower:
        return by_lower[name.lower()]
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    hint = f' Did you mean {by_lower[close[0]].name}?' if close else ''
    raise ValueError(
        f'--layout {name} is not known.{hint} Known: {", ".join(LAYOUTS)}.\n'
        'Any other set: give its folders with --hr and --lr.'
    )
