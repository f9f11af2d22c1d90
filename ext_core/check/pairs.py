"""Pairs of low-quality and ground-truth images: do they match in number, name and size?"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ext_core.check import crops, images
from ext_core.check.hints import examples, is_number, section


@dataclass
class Pair:
    """One pair: how messages call its images, and where their bytes are."""

    lq: str
    gt: str
    lq_source: Path | bytes
    gt_source: Path | bytes

    def __post_init__(self) -> None:
        """Read both headers: (width, height), None where that fails, and what is wrong with the pair, if anything."""
        self.lq_size, lq_fault = images.look(self.lq_source)
        self.gt_size, gt_fault = images.look(self.gt_source)
        faults = [f'{name}: {fault}' for name, fault in ((self.lq, lq_fault), (self.gt, gt_fault)) if fault]
        self.fault = ', '.join(faults) or None


def problems(opt: dict, where: str, data_opt: dict) -> Iterator[str]:
    """Check the pairs of a dataset section whose folders exist.

    Args:
        opt (dict): Options of the run.
        where (str): Colon path of the section.
        data_opt (dict): The section.
    """
    lq_root, gt_root = Path(data_opt['dataroot_lq']), Path(data_opt['dataroot_gt'])
    template = str(data_opt.get('filename_tmpl', '{}'))
    if section(data_opt, 'io_backend').get('type') == 'lmdb':
        lq_sizes, gt_sizes = images.lmdb_sizes(lq_root), images.lmdb_sizes(gt_root)
        count = len(gt_sizes)
        faults = _unmatched(where, {key: key for key in gt_sizes}, set(lq_sizes), lq_root, gt_root)
        keys = [] if faults else crops.spread(sorted(gt_sizes))
        contents = zip(images.lmdb_values(lq_root, keys), images.lmdb_values(gt_root, keys), strict=True)
        sample = [
            Pair(f'{key} in {lq_root}', f'{key} in {gt_root}', *found)
            for key, found in zip(keys, contents, strict=True)
        ]
    else:
        wanted = _wanted(data_opt, gt_root, template)
        count = len(wanted)
        if data_opt.get('meta_info_file') is None:
            faults = _unmatched(where, wanted, set(images.folder_names(lq_root)), lq_root, gt_root)
        else:
            files = [path for gt, lq in crops.spread(list(wanted.items())) for path in (gt_root / gt, lq_root / lq)]
            faults = crops.absent(where, files, 'Remove the key, or correct dataroot_gt, dataroot_lq or filename_tmpl.')
        chosen = [] if faults else crops.spread(list(wanted.items()))
        sample = [Pair(str(lq_root / lq), str(gt_root / gt), lq_root / lq, gt_root / gt) for gt, lq in chosen]
    yield from faults
    if faults:
        return
    if where == 'datasets:train':
        yield from crops.unusable(where, data_opt, [pair.fault for pair in sample])
    else:
        named = [item for pair in sample for item in ((pair.lq, pair.lq_source), (pair.gt, pair.gt_source))]
        yield from crops.damaged(where, named, 'Replace the file, or delete it and its partner.')
    scale = opt.get('scale')
    if is_number(scale) and scale >= 1:
        yield from _sizes(where, sample, int(scale))
    if where == 'datasets:train':
        yield from crops.divisible(data_opt.get('gt_size'), scale)
        yield from crops.fitting(data_opt.get('gt_size'), [(pair.gt, pair.gt_size) for pair in sample])
        yield from crops.filling(opt, data_opt, count)


# ---------------------------------------------------------------------- names
def _wanted(data_opt: dict, gt_root: Path, template: str) -> dict[str, str]:
    """Ground-truth name to the low-quality name that BasicSR looks for."""
    meta = data_opt.get('meta_info_file')
    names = images.folder_names(gt_root) if meta is None else crops.listed_names(meta)
    return {name: f'{template.format(Path(name).stem)}{Path(name).suffix}' for name in names}


def _unmatched(where: str, wanted: dict[str, str], present: set[str], lq_root: Path, gt_root: Path) -> list[str]:
    lonely = [gt for gt, lq in wanted.items() if lq not in present]
    extra = sorted(present - set(wanted.values()))
    if not lonely and not extra:
        return []
    parts = [f'{len(wanted)} images in {gt_root}, {len(present)} in {lq_root}']
    if lonely:
        parts.append(f'without a low-quality partner: {examples(lonely)}')
    if extra:
        parts.append(f'without a ground truth: {examples(extra)}')
    return [f'{where}: the pairs do not match: {"; ".join(parts)}.{_template_hint(lonely, extra)}']


def _template_hint(lonely: list[str], extra: list[str]) -> str:
    """The remedy: a filename_tmpl where the first names differ by something added, else correcting the files."""
    if lonely and extra:
        gt, lq = Path(lonely[0]), Path(extra[0])
        if gt.stem in lq.stem and gt.stem != lq.stem:
            return f" Set filename_tmpl: '{lq.stem.replace(gt.stem, '{}', 1)}'."
        if gt.stem == lq.stem:
            return f' Both need the same file name extension, but they have {gt.suffix} and {lq.suffix}.'
    return ' Add or remove files, or set filename_tmpl to how the low-quality files are named.'


# ---------------------------------------------------------------------- sizes
def _sizes(where: str, sample: list[Pair], scale: int) -> Iterator[str]:
    training = where == 'datasets:train'
    known = [(pair, pair.lq_size, pair.gt_size) for pair in sample if pair.lq_size and pair.gt_size]
    # in validation BasicSR crops a ground truth that is no multiple of the scale; in training it refuses it
    slack = 1 if training else scale
    bad = [
        (pair, lq, gt)
        for pair, lq, gt in known
        if any(not 0 <= g - n * scale < slack for n, g in zip(lq, gt, strict=True))
    ]
    if not bad:
        return
    pair, lq, gt = bad[0]
    ratios = {g / n for _, lq_size, gt_size in bad for n, g in zip(lq_size, gt_size, strict=True)}
    factor = ratios.pop() if len(ratios) == 1 and len(bad) == len(known) else None
    remedy = (
        f'Their ratio is {factor:.0f} throughout: set scale: {factor:.0f}, or correct dataroot_lq.'
        if factor and factor.is_integer()
        else 'Make the low-quality images anew, or correct dataroot_lq or scale.'
    )
    yield (
        f'{where}: {pair.gt} is {gt[0]} x {gt[1]}, which is not scale ({scale}) times {pair.lq}, {lq[0]} x {lq[1]} '
        f'(width x height); so are {len(bad)} of the {len(known)} pairs looked at. {remedy}'
    )
