"""Which curves are shown together, under which heading."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ext_core.saving.resume import Curve, Curves

_GROUPS = [  # the first pattern that a tag has counts
    ('Maximum mean discrepancy', r'mmd'),
    ('Validation', r'metrics/'),
    ('Gap to real images', r'gap/'),
    ('Losses of the generator', r'l_(?!d_)'),
    ('Losses of the discriminator', r'l_d_'),
    ("Discriminator's outputs", r'out_d_'),
    ('Energies', r'energy|margin'),
    ('Mask', r'mask_'),
    ('Norms of gradients', r'grad_'),
    ('Learning rate', r'lr(_\d+)?$'),
    ('Others', r''),
]
_ORDER = ['Validation', *(title for title, _ in _GROUPS if title != 'Validation')]
_ANYWHERE = ('Maximum mean discrepancy',)  # other patterns count at a tag's beginning


@dataclass(frozen=True)
class Plot:
    """One tag's curves, by the number of the experiment."""

    tag: str
    curves: dict[int, Curve]


def group_of(tag: str) -> str:
    """The heading that a tag comes under."""
    for title, pattern in _GROUPS:
        if (re.search if title in _ANYWHERE else re.match)(pattern, tag):
            return title
    raise AssertionError(tag)  # the last pattern matches everything


def groups(experiments: Sequence[Curves]) -> dict[str, list[Plot]]:
    """Plots by heading, in the order that a reader wants them; tags in the order in which they appear."""
    tags = dict.fromkeys(tag for curves in experiments for tag in curves)
    found: dict[str, list[Plot]] = {}
    for tag in tags:
        curves = {number: curves[tag] for number, curves in enumerate(experiments) if curves.get(tag)}
        if curves:
            found.setdefault(group_of(tag), []).append(Plot(tag, curves))
    return {title: found[title] for title in _ORDER if title in found}
