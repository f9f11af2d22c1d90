"""How the common super-resolution sets are laid out once they are unpacked: data, and the text that describes it.

A template is a path without its extension, relative to the set's folder; ``{name}`` stands for the image's name and
``{scale}`` for the factor. So ``DIV2K_train_LR_bicubic/X{scale}/{name}x{scale}`` is the LR image of
``DIV2K_train_HR/{name}``, and both get the same name in the output.
"""

import difflib
from dataclasses import dataclass

from ext_data.preparation.sub_images import Window


@dataclass(frozen=True)
class Source:
    """Where a pair lies.

    Args:
        hr (str): Template of the HR images.
        lr (str | None): Template of the LR images; None if the set has none here, so that bicubic LR is made.
    """

    hr: str
    lr: str | None = None


@dataclass(frozen=True)
class Split:
    """A part of a set that is prepared into its own output folders.

    Args:
        name (str): Prefix of the output folders; empty if the set is not divided.
        sources (tuple[Source, ...]): Layouts to try in this order; the first whose HR images are there is used.
        training (bool): Whether it is meant for training, so that it may be cut into sub-images. Default: False.
        window (Window | None): How it is cut unless the user says otherwise; None keeps whole images.
        numbers (range | None): Take only images whose name is a number in this range, where one folder holds all
            splits.
    """

    name: str
    sources: tuple[Source, ...]
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
                hr = source.hr.format(name='<name>', scale=scale)
                lr = source.lr.format(name='<name>', scale=scale) if source.lr else 'none, made by bicubic'
                lines.append(f'    {split.name or "all"}: HR {hr}.*   LR {lr}{".*" if source.lr else ""}')
        if self.note:
            lines.append(f'  note: {self.note}')
        return '\n'.join(lines)


SUB_480 = Window(size=480, step=240)


def _benchmark() -> tuple[Split, ...]:
    """A test set, in the layouts in which the usual projects distribute it."""
    return (
        Split(
            '',
            (
                Source('X{scale}/HR/{name}', 'X{scale}/LR/{name}'),
                Source('image_SRF_{scale}/{name}_SRF_{scale}_HR', 'image_SRF_{scale}/{name}_SRF_{scale}_LR'),
                Source('GTmod12/{name}', 'LRbicx{scale}/{name}'),
                Source('HR/{name}', 'LR_bicubic/X{scale}/{name}x{scale}'),
                Source('original/{name}'),
                Source('{name}'),
            ),
        ),
    )


def _photographs(name: str) -> tuple[Split, ...]:
    """A training set that is one folder of HR photographs."""
    sources = (Source('HR/{name}', 'LR_bicubic/X{scale}/{name}x{scale}'), Source(f'{name}/{{name}}'), Source('{name}'))
    return (Split('train', sources, training=True),)


def _div2k() -> tuple[Split, ...]:
    def sources(part: str) -> tuple[Source, ...]:
        return (Source(f'DIV2K_{part}_HR/{{name}}', f'DIV2K_{part}_LR_bicubic/X{{scale}}/{{name}}x{{scale}}'),)

    return Split('train', sources('train'), training=True, window=SUB_480), Split('valid', sources('valid'))


def _flickr2k() -> tuple[Split, ...]:
    source = Source('Flickr2K_HR/{name}', 'Flickr2K_LR_bicubic/X{scale}/{name}x{scale}')
    return (Split('train', (source,), training=True, window=SUB_480),)


def _bsds() -> tuple[Split, ...]:
    parents = ('BSR/BSDS500/data/images', 'BSDS500/data/images', 'data/images', 'images')
    folders = {'train': 'train', 'valid': 'val', 'test': 'test'}
    return tuple(
        Split(name, tuple(Source(f'{parent}/{folder}/{{name}}') for parent in parents), training=True)
        for name, folder in folders.items()
    )


def _pirm() -> tuple[Split, ...]:
    folders = {'valid': ('Validation', 'PIRM_valset'), 'test': ('Test', 'PIRM_testset')}
    return tuple(
        Split(
            name,
            tuple(Source(f'{folder}/Original/{{name}}', f'{folder}/{{scale}}x_downsampled/{{name}}') for folder in f),
        )
        for name, f in folders.items()
    )


def _celeba() -> tuple[Split, ...]:
    sources = (Source('img_align_celeba/{name}'), Source('Img/img_align_celeba/{name}'))
    return (
        Split('train', sources, training=True, numbers=range(1, 162771)),
        Split('valid', sources, numbers=range(162771, 182638)),
        Split('test', sources, numbers=range(182638, 202600)),
    )


def _realsr() -> tuple[Split, ...]:
    def sources(camera: str, part: str) -> tuple[Source, ...]:
        tail = f'{camera}/{part}/{{scale}}/{{name}}'
        return tuple(Source(f'{parent}{tail}_HR', f'{parent}{tail}_LR{{scale}}') for parent in ('RealSR(V3)/', ''))

    cameras = ('Nikon', 'Canon')
    train = [Split(f'{name}_train', sources(name, 'Train'), training=True, window=SUB_480) for name in cameras]
    return (*train, *(Split(f'{name}_test', sources(name, 'Test')) for name in cameras))


def _city100() -> tuple[Split, ...]:
    def sources(camera: str) -> tuple[Source, ...]:
        folders = (f'City100/City100_{camera}', f'City100_{camera}')
        return tuple(Source(f'{folder}/{{name}}H', f'{folder}/{{name}}L') for folder in folders)

    return tuple(Split(camera, sources(camera), training=True) for camera in ('NikonD5500', 'iPhoneX'))


_NTIRE = 'NTIRE 2017 challenge'
_SELFEXSR = ('SelfExSR (Huang et al., CVPR 2015)', 'https://github.com/jbhuang0604/SelfExSR')
_SMALL = 'images are small: choose gt_size accordingly'

_TABLE = (
    Layout(
        name='DIV2K',
        purpose='training (800) and validation (100), 2K photographs',
        published=_NTIRE,
        url='https://data.vision.ee.ethz.ch/cvl/DIV2K/',
        splits=_div2k(),
    ),
    Layout(
        name='Flickr2K',
        purpose='training, 2650 photographs; DIV2K and Flickr2K together are called DF2K',
        published=_NTIRE,
        url='https://github.com/LimBee/NTIRE2017',
        splits=_flickr2k(),
    ),
    Layout(
        name='T91',
        purpose='training of small networks, 91 images',
        published='Yang et al., TIP 2010; collected by the LapSRN project',
        url='http://vllab.ucmerced.edu/wlai24/LapSRN/',
        splits=_photographs('T91'),
        note=_SMALL,
    ),
    Layout(
        name='General100',
        purpose='training of small networks, 100 images',
        published='FSRCNN (Dong et al., ECCV 2016)',
        url='http://mmlab.ie.cuhk.edu.hk/projects/FSRCNN.html',
        splits=_photographs('General100'),
        note=_SMALL,
    ),
    Layout(
        name='BSDS500',
        purpose='training, 500 photographs of 481 x 321',
        published='Arbelaez et al., TPAMI 2011',
        url='https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/resources.html',
        splits=_bsds(),
        note='its val folder contains the images of BSD100: do not train on it when you test on BSD100',
    ),
    Layout('Set5', 'testing, 5 images', *_SELFEXSR, splits=_benchmark()),
    Layout('Set14', 'testing, 14 images', *_SELFEXSR, splits=_benchmark(), note='one image is grey'),
    Layout('BSD100', 'testing, 100 photographs', *_SELFEXSR, splits=_benchmark()),
    Layout('Urban100', 'testing, 100 photographs of buildings', *_SELFEXSR, splits=_benchmark()),
    Layout(
        name='Manga109',
        purpose='testing, 109 manga covers',
        published='Matsui et al., MTAP 2017',
        url='http://www.manga109.org/en/',
        splits=_benchmark(),
        note='its owners ask for an application',
    ),
    Layout(
        name='PIRM',
        purpose='validation and testing of perceptual quality, 100 images each; its own LR is for scale 4',
        published='PIRM 2018 challenge',
        url='https://github.com/roimehrez/PIRM2018',
        splits=_pirm(),
    ),
    Layout(
        name='CelebA',
        purpose='faces, 202,599 aligned images of 178 x 218',
        published='Liu et al., ICCV 2015',
        url='https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html',
        splits=_celeba(),
        note='the splits are those of its list_eval_partition.txt',
    ),
    Layout(
        name='RealSR',
        purpose='real pairs of two cameras at scales 2, 3 and 4',
        published='Cai et al., ICCV 2019',
        url='https://github.com/csjcai/RealSR',
        splits=_realsr(),
        lr_kind='real',
        note='version 3; LR of versions 1 and 2 has the size of HR: add --lr-at-hr-size',
    ),
    Layout(
        name='City100',
        purpose='real pairs of two cameras, 100 scenes',
        published='CameraSR (Chen et al., CVPR 2019)',
        url='https://github.com/ngchc/CameraSR',
        splits=_city100(),
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
