"""The older names of RRDBNet's weights: those of the first ESRGAN, and those of ESRGAN, RealSR and BSRGAN after it."""

import re
from collections.abc import Mapping
from typing import Any

# Two enlargements by 2 stand between body and output, also at scale 2 and 1, where the input is folded first.
_FIRST = (
    (r'model\.0', 'conv_first'),
    (r'model\.1\.sub\.(\d+)\.RDB([123])\.conv([1-5])\.0', r'body.\1.rdb\2.conv\3'),
    (r'model\.1\.sub\.\d+', 'conv_body'),
    (r'model\.3', 'conv_up1'),
    (r'model\.6', 'conv_up2'),
    (r'model\.8', 'conv_hr'),
    (r'model\.10', 'conv_last'),
)
_SECOND = (
    (r'conv_first', 'conv_first'),
    (r'RRDB_trunk\.(\d+)\.RDB([123])\.conv([1-5])', r'body.\1.rdb\2.conv\3'),
    (r'trunk_conv', 'conv_body'),
    (r'upconv([12])', r'conv_up\1'),
    (r'HRconv', 'conv_hr'),
    (r'conv_last', 'conv_last'),
)


def to_basicsr(weights: Mapping[str, Any]) -> dict[str, Any] | None:
    """The weights under the names of BasicSR's RRDBNet.

    Args:
        weights (Mapping[str, Any]): State dict.

    Returns:
        dict[str, Any] | None: None where it has neither of the older layouts, or a network that BasicSR's RRDBNet
        cannot be: one with another number of enlargements, or with the 1 x 1 convolutions of ESRGAN+.
    """
    for layout in (_FIRST, _SECOND):
        renamed = {_renamed(str(name), layout): value for name, value in weights.items()}
        complete = None not in renamed and len(renamed) == len(weights)
        if complete and {'conv_up2.weight', 'conv_hr.weight'} <= renamed.keys():
            return {str(name): value for name, value in renamed.items()}
    return None


def _renamed(name: str, layout: tuple[tuple[str, str], ...]) -> str | None:
    module, _, kind = name.rpartition('.')
    for pattern, new in layout:
        match = re.fullmatch(pattern, module)
        if match and kind in ('weight', 'bias'):
            return f'{match.expand(new)}.{kind}'
    return None
