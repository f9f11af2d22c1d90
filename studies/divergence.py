"""What the curves of a GAN training tell: whether and where it diverged, and how much its figures scatter."""

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ext_core.networks.records import Curve, Curves

_VALIDATION = ('metrics/', 'gap/')  # tags that validations write; all others are of training steps
_STOPPED = re.compile(r'error: Iteration (\d+): (?:loss|gradient of) (.+?) is not finite')  # what training ends with


@dataclass(frozen=True)
class Course:
    """What a run's curves are read by.

    Args:
        total_iter (int): Iterations that the training should take.
        alone_iters (int): Those before the adversarial phase.
        gradients_every (int): ``train:log_gradient_norms``; a norm is logged again until the next is measured.
        psnr (str | None): Name of the PSNR among ``val:metrics``.
        tail (float): Share of the training, at its end, over which spreads are taken, in (0, 1].
        drop (float): dB of validation PSNR below the best so far that count as divergence, > 0.
    """

    total_iter: int
    alone_iters: int = 0
    gradients_every: int = 1
    psnr: str | None = 'psnr'
    tail: float = 0.5
    drop: float = 3.0

    @classmethod
    def of(cls, opt: Mapping[str, Any], tail: float, drop: float) -> 'Course':
        """From an option file's content. The first PSNR of ``val:metrics`` counts."""
        train, metrics = opt['train'], (opt.get('val') or {}).get('metrics') or {}
        first = sum(int(train.get(key) or 0) for key in ('pretrain_iters', 'autoencoder_iters'))
        psnr = [name for name, options in metrics.items() if str(options.get('type')).startswith('calculate_psnr')]
        return cls(
            total_iter=int(train['total_iter']),
            alone_iters=max(first, int(train.get('net_d_init_iters') or 0)),
            gradients_every=int(train.get('log_gradient_norms') or 1),
            psnr=psnr[0] if psnr else None,
            tail=tail,
            drop=drop,
        )

    def adversarial(self, curve: Curve) -> Curve:
        """The adversarial phase of a curve, without what is not finite."""
        return {step: value for step, value in curve.items() if step > self.alone_iters and math.isfinite(value)}

    def in_tail(self, curve: Curve) -> list[float]:
        """Values of the adversarial phase in the last ``tail`` of the training."""
        start = self.total_iter * (1 - self.tail)
        return [value for step, value in self.adversarial(curve).items() if step > start]

    def quarters(self, curve: Curve) -> tuple[list[float], list[float]]:
        """Values of the first and of the last quarter of the adversarial phase."""
        quarter = (self.total_iter - self.alone_iters) / 4
        values = self.adversarial(curve).items()
        first = [value for step, value in values if step <= self.alone_iters + quarter]
        return first, [value for step, value in values if step > self.total_iter - quarter]


@dataclass(frozen=True)
class Divergence:
    """Where a run diverged, and how it shows."""

    iteration: int
    reason: str


# ---------------------------------------------------------------------- curves
def psnr_curves(curves: Curves, course: Course) -> Curves:
    """Validation PSNR, by the name of the set."""
    suffix = f'/{course.psnr}'
    names = [tag for tag in curves if tag.startswith('metrics/') and tag.endswith(suffix)]
    return {tag.removeprefix('metrics/').removesuffix(suffix): curves[tag] for tag in names}


def gradient_curves(curves: Curves, course: Course) -> Curves:
    """``grad_gan``, the norm of the adversarial loss's gradient at the generated images, and ``gan_share``: that over
    the sum of the other losses' norms (pixel, perceptual, ...), at the iterations where they were measured."""
    norm = curves.get('grad_gan', {})
    others = [curve for tag, curve in curves.items() if tag.startswith('grad_') and tag != 'grad_gan']
    content = {step: math.fsum(curve.get(step, 0.0) for curve in others) for step in norm}
    share = {step: norm[step] / total for step, total in content.items() if total > 0}
    every = course.gradients_every
    return {
        name: {step // every * every: value for step, value in curve.items()}
        for name, curve in (('grad_gan', norm), ('gan_share', share))
    }


def output_gap(curves: Curves) -> Curve:
    """The discriminator's mean output on real images minus that on generated ones."""
    real, fake = curves.get('out_d_real', {}), curves.get('out_d_fake', {})
    return {step: real[step] - fake[step] for step in real if step in fake}


# ---------------------------------------------------------------------- divergence
def stopped_by(log: str) -> Divergence | None:
    """What a training's output says if a loss that is not finite ended it."""
    found = _STOPPED.findall(log)
    return Divergence(int(found[-1][0]), f'{found[-1][1]} not finite') if found else None


def divergence(curves: Curves, course: Course, stopped: Divergence | None = None) -> Divergence | None:
    """The first sign that a run diverged, or None. Signs are:

    * training ended because a loss was not finite (``stopped``);
    * a scalar logged of a training step (loss, energy, output, gradient norm) is NaN or infinite;
    * a validation PSNR is NaN or more than ``drop`` below the best on the same set so far. Validations before the
      adversarial phase do not count, since a GAN is meant to give up some of the PSNR that it starts with. A run whose
      PSNR recovers has diverged all the same.
    """
    signs = [stopped] if stopped else []
    for tag, curve in curves.items():
        if not tag.startswith(_VALIDATION):
            bad = [step for step, value in curve.items() if not math.isfinite(value)]
            signs += [Divergence(step, f'{tag} not finite') for step in bad[:1]]
    for name, curve in psnr_curves(curves, course).items():
        best = -math.inf
        for step, value in curve.items():
            if step <= course.alone_iters:
                continue
            if math.isnan(value) or best - value > course.drop:
                after = f' after {best:.2f} dB' if best > -math.inf else ''
                signs.append(Divergence(step, f'PSNR on {name} {value:.2f} dB{after}'))
                break
            best = max(best, value)
    return min(signs, key=lambda sign: sign.iteration, default=None)


# ---------------------------------------------------------------------- figures
def figures(curves: Curves, course: Course, stopped: Divergence | None = None) -> dict[str, Any]:
    """One run's figures; None where the curves do not tell.

    ``diverged`` ('yes', 'no'), ``diverged_at`` (iteration) and ``reason``: :func:`divergence`. For each validation set,
    in dB: ``psnr_last:<set>``, ``psnr_std:<set>`` (standard deviation over the validations in the tail, n - 1) and
    ``psnr_best_minus_last:<set>`` (the best is of the adversarial phase). For the adversarial gradient, ``grad_gan``,
    and its ``gan_share``: ``_first`` and ``_last`` (medians over the first and last quarter of the adversarial phase),
    ``_ratio`` (last over first) and ``_cv`` (coefficient of variation in the tail: standard deviation over mean).
    """
    sign = divergence(curves, course, stopped)
    result: dict[str, Any] = {
        'diverged': 'yes' if sign else 'no',
        'diverged_at': sign.iteration if sign else None,
        'reason': sign.reason if sign else None,
    }
    for name, curve in psnr_curves(curves, course).items():
        adversarial = list(course.adversarial(curve).values())
        last = adversarial[-1] if adversarial else None
        result[f'psnr_last:{name}'] = last
        result[f'psnr_std:{name}'] = _std(course.in_tail(curve))
        result[f'psnr_best_minus_last:{name}'] = None if last is None else max(adversarial) - last
    for key, curve in gradient_curves(curves, course).items():
        first, final = (statistics.median(values) if values else None for values in course.quarters(curve))
        tail = course.in_tail(curve)
        std, mean = _std(tail), statistics.fmean(tail) if tail else 0.0
        result[f'{key}_first'], result[f'{key}_last'] = first, final
        result[f'{key}_ratio'] = final / first if first and final is not None else None
        result[f'{key}_cv'] = std / mean if std is not None and mean > 0 else None
    return result


def _std(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None
