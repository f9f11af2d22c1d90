"""The pieces that a benchmark shows as one PNG, for documents that hold no HTML."""

import textwrap
from collections.abc import Sequence
from io import BytesIO
from math import ceil

from ext_core.benchmark.pictures import Piece

_TILE = 2.3  # inches
_CAPTION_WIDTH = 34  # letters


def gallery(pieces: Sequence[Piece], columns: int = 7) -> bytes:
    """All pieces below one another, the methods of each side by side.

    Args:
        pieces (Sequence[Piece]): At least one.
        columns (int): Most methods in a row; the others follow below, in rows of about equal length. Default: 7.

    Returns:
        bytes: A PNG file.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    most = max(len(piece.images) for piece in pieces)
    columns = ceil(most / ceil(most / columns))
    lines = [ceil(len(piece.images) / columns) for piece in pieces]
    figure = plt.figure(figsize=(_TILE * columns, (_TILE + 0.5) * sum(lines) + 0.3 * len(pieces)), layout='constrained')
    blocks = figure.subfigures(len(pieces), 1, squeeze=False, height_ratios=lines)[:, 0]
    for block, piece, rows in zip(blocks, pieces, lines, strict=True):
        block.suptitle(piece.title, fontsize=10)
        axes = block.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes:
            axis.set_axis_off()
        for axis, (name, image) in zip(axes, piece.images.items(), strict=False):
            axis.imshow(image[..., ::-1], interpolation='nearest')
            axis.set_title('\n'.join([name, *textwrap.wrap(piece.captions[name], _CAPTION_WIDTH)]), fontsize=8)
    file = BytesIO()
    figure.savefig(file, format='png', dpi=100)
    plt.close(figure)
    return file.getvalue()
