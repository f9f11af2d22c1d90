"""Warnings about a training, from the energies of an energy GAN."""

import math
from collections.abc import Mapping
from typing import Any

EXPLOSION = 10.0  # times what the energy of real images was at first
VANISHING = 1e-6  # mean squared error of images in [-1, 1], a tenth of a grey level
PATIENCE = 3  # log lines in a row


class EnergyHealth:
    """Looks at the energies whenever they are logged, and says what is wrong, once each time that it begins.

    Explosion: an energy is not finite, or more than 10 times what it was at first. Collapse: both energies vanish
    (the autoencoder copies whatever it gets), or U(fake) is not above U(real) (it does not tell them apart, or the
    wrong way round), for three log lines in a row.
    """

    def __init__(self) -> None:
        self._iteration: int | None = None
        self._first: tuple[float, float] | None = None
        self._lines: dict[str, int] = {}  # in a row with this finding

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training goes on from."""
        return {'iteration': self._iteration, 'first': self._first, 'lines': dict(self._lines)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state_dict` gave."""
        self._iteration, self._first, self._lines = state['iteration'], state['first'], dict(state['lines'])

    def advice(self, iteration: int, log: Mapping[str, float]) -> list[str]:
        """Sentences for the log, none where all is well, nor where this iteration was looked at before.

        Args:
            iteration (int): The present one; it may be asked about for a log line and again for a checkpoint.
            log (Mapping[str, float]): With ``out_d_real`` and ``out_d_fake``, U(real) and U(fake) in mean units, and
                ``l_d_fake``; nothing is said without these, when one of both networks trains alone.
        """
        if iteration == self._iteration or not {'out_d_real', 'out_d_fake', 'l_d_fake'} <= log.keys():
            return []
        self._iteration = iteration
        real, fake = log['out_d_real'], log['out_d_fake']
        if self._first is None and math.isfinite(real + fake):
            self._first = real, fake
        found = self._finding(real, fake)
        self._lines = {found: self._lines.get(found, 0) + 1} if found else {}
        patience = 1 if found == 'explosion' else PATIENCE
        if not found or self._lines[found] != patience:
            return []
        energies = f'U(real) = {real:.3g}, U(fake) = {fake:.3g}'
        return [f'{_ADVICE[found]} ({energies})']

    def _finding(self, real: float, fake: float) -> str | None:
        finite = math.isfinite(real) and math.isfinite(fake)
        limits = [EXPLOSION * max(energy, VANISHING) for energy in self._first or ()]
        if not finite or any(energy > limit for energy, limit in zip((real, fake), limits, strict=False)):
            return 'explosion'
        if max(real, fake) < VANISHING:
            return 'copying'
        return 'blindness' if fake <= real else None


_ADVICE = {
    'explosion': (
        'The energy explodes: the discriminator raises the energy of generated images without bound, and the generator '
        'follows a meaningless gradient. Set gan_opt:margin: adaptive; without a margin give gp_opt a loss_weight of '
        '100 or more; lower the learning rate of optim_d; set grad_clip.'
    ),
    'copying': (
        'The energies collapse to zero: the autoencoder copies whatever it gets, so the generator has no gradient. '
        'Take the first level out of network_d:skips, or use one convolution less (num_conv).'
    ),
    'blindness': (
        'The energy collapses: generated images do not get more energy than real ones, so the generator is taught to '
        'blur or nothing at all. At the start this passes within some hundred iterations; else raise the learning rate '
        'of optim_d, gan_opt:margin_ratio, or lower the loss_weight of gp_opt.'
    ),
}
