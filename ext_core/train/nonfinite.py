"""NaN and Inf in losses and gradients: found without waiting for the device, written down, stopped or undone."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from basicsr.utils import get_root_logger, imwrite, tensor2img
from torch import Tensor

from ext_core.atomic import atomic_save, atomic_write_text
from ext_core.errors import UserError
from ext_core.options.declared import NonFinite
from ext_core.train.checkpoint import on_cpu
from ext_core.train.models import networks_of
from ext_core.train.undo import UndoCopy
from ext_models.precision import StepGradients

MOST_FOLDERS = 20  # of one rank: more do not tell more, and batches of large images fill disks

REMEDY = (
    'Lower train:optim_g:lr (and optim_d:lr), set train:grad_clip, use amp: bf16 instead of fp16, and check the data '
    'for extreme values; then continue with --auto_resume.'
)


@dataclass
class Iteration:
    """What is kept of an iteration until it is known to be good."""

    number: int
    batch: dict
    losses: dict[str, Tensor]
    rates: list[list[float]]  # of each optimizer's groups
    gradients: list[StepGradients]

    def flags(self, device: torch.device) -> Tensor:
        """(2,): 1 where a loss, where a gradient is bad; on the device."""
        values = torch.stack([loss.float().mean() for loss in self.losses.values()] or [torch.zeros((), device=device)])
        flags = [(~values.isfinite()).any()]
        bad = [(~step.norms.isfinite()).any() & step.count for step in self.gradients]
        flags.append(torch.stack(bad).any() if bad else torch.zeros_like(flags[0]))
        return torch.stack(flags).float()

    def findings(self, model: Any) -> dict[str, Any]:
        """The values themselves, with the names of what is bad. Waits for the device."""
        losses = {name: float(loss.float().mean()) for name, loss in self.losses.items()}
        names = {
            id(parameter): f'{label}.{name}'
            for label, net in networks_of(model).items()
            for name, parameter in net.named_parameters()
        }
        gradients = [
            names.get(id(parameter), 'a parameter')
            for step in self.gradients
            if bool(step.count)
            for parameter, finite in zip(step.parameters, step.norms.isfinite().tolist(), strict=True)
            if not finite
        ]
        rates = [[float(rate) for rate in group] for group in self.rates]
        return {'losses': losses, 'gradients': gradients, 'learning_rates': rates}


class FiniteWatch:
    """Looks after each few iterations whether their losses and gradients were finite, and undoes those that were not.

    **No synchronisation in the step.** A step only adds one fused reduction over its gradients
    (:class:`ext_models.precision.StepGradients`), whose results stay on the device beside the losses. Every ``every``
    iterations, and before whatever may not see a bad state (a log line, a checkpoint, a validation, the end), all of
    them are fetched at once. That wait costs the device the time in which the host starts the next step, once in
    ``every`` iterations. Until then the batches are held.

    **Why undo, and not prevent.** Fused optimizers can skip a step on a flag of the device; but not all optimizers, and
    neither schedules, EMA, BatchNorm's statistics and losses with a memory, all of which would have moved on. So for
    ``skip`` the state is copied where it is known to be good (:class:`UndoCopy`, one set of fused copies in
    ``every`` iterations). After a bad batch the copy is restored and the other batches since then run again: exactly
    the training that never drew this batch, iteration numbers included. ``stop`` and ``rollback`` need no copy: nothing
    is saved after a bad step, and the checkpoint on disk is the copy.

    **Several processes.** A NaN gradient reaches every rank, a NaN loss may be one rank's own. The flags are reduced
    over ranks before they are read, at the same iterations everywhere, so all decide alike; those whose own loss is bad
    write their batch.

    BasicSR's own models are not watched: theirs and the trainer's checks at log lines hold.

    Args:
        opt (dict): Options of the run.
        logger (logging.Logger): Gets a warning for each bad batch.
    """

    def __init__(self, opt: dict, logger: Any):
        self.opt = opt
        self.logger = logger
        self.policy = NonFinite(**(opt['train'].get('nonfinite') or {}))
        self.count = 0  # bad batches in the whole run
        self._iterations: list[Iteration] = []
        self._model: Any = None
        self._undo: UndoCopy | None = None
        self._to_copy = False
        self._good = 0  # the iteration after which the state is known to be good

    def state_dict(self) -> dict[str, int]:
        """What a resumed run goes on from."""
        return {'count': self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take up what :meth:`state_dict` gave, if anything; a checkpoint from before a rollback does not take its
        count back."""
        self.count = max(self.count, state.get('count', 0))

    # ------------------------------------------------------------------ in the step
    def watch(self, model: Any, iteration: int) -> None:
        """Watch this model from now on; ``iteration`` iterations are done, and its state is good."""
        self._iterations = []
        self._good = iteration
        if model is not self._model and hasattr(model, 'precision'):
            self._model = model
            self._undo = UndoCopy(model) if self.policy.action == 'skip' else None
        self._to_copy = self._undo is not None

    def start(self) -> None:
        """An iteration begins. Here, and not where the state was found good: a validation may lie between."""
        if self._to_copy and self._undo is not None:
            self._undo.take()
        self._to_copy = False

    def note(self, number: int, batch: dict) -> None:
        """An iteration has run on this batch."""
        if self._model is None:
            return
        rates = [[group['lr'] for group in optimizer.param_groups] for optimizer in self._model.optimizers]
        losses, gradients = dict(self._model.loss_dict), self._model.precision.gradients
        self._iterations.append(Iteration(number, batch, losses, rates, gradients))

    def due(self, number: int) -> bool:
        """Whether it is time to look. It depends on the iteration alone, so that a resumed run looks at the same."""
        return number % self.policy.every == 0

    # ------------------------------------------------------------------ now and then
    def settle(self, train_on: Callable[[dict], None], go_back: Callable[[int], None]) -> bool:
        """Look at what has run since the last look, and undo what was bad.

        Args:
            train_on (Callable[[dict], None]): Runs an iteration on a batch, with :meth:`start` and :meth:`note`.
            go_back (Callable[[int], None]): For ``skip``: told the iteration that training has returned to, before
                batches run again. For ``rollback``: goes to a checkpoint at or before it, and calls :meth:`watch`.

        Returns:
            bool: Whether all was well, and nothing had to be undone.

        Raises:
            UserError: If something was bad, and the options say stop, or too much was.
        """
        all_good = True
        while (bad := self._first_bad()) is not None:
            all_good = False
            self._report(bad)
            batches = [iteration.batch for number, iteration in enumerate(self._iterations) if number != bad]
            self._iterations = []
            if self._undo is None:  # rollback
                self._model = None  # its memory is the next one's
                go_back(self._good)
                return all_good
            go_back(self._good)
            self._undo.restore()
            for batch in batches:
                train_on(batch)
        if self._iterations:
            self.watch(self._model, self._iterations[-1].number)
        return all_good

    def _first_bad(self) -> int | None:
        """Index of the first iteration that was bad on any rank. The one place where the device is waited for."""
        if not self._iterations:
            return None
        flags = torch.stack([iteration.flags(self._model.device) for iteration in self._iterations])
        self._own = flags.clone()
        if self.opt['dist']:
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        self._common = flags.tolist()
        return next((index for index, pair in enumerate(self._common) if any(pair)), None)

    def _report(self, bad: int) -> None:
        """Write the batch, say it, and raise where this is the end."""
        iteration = self._iterations[bad]
        self.count += 1
        findings = iteration.findings(self._model)
        place = None
        if self._own[bad][0] or not self._common[bad][0]:  # without a bad loss any rank's images may be the cause
            folder = Path(self.opt['path']['experiments_root']) / 'nonfinite'
            place = write_batch(folder, self.opt['rank'], iteration.number, iteration.batch, findings)
        everyone: list[Any] = [(findings, place)]
        if self.opt['dist']:
            everyone = [None] * self.opt['world_size']
            dist.all_gather_object(everyone, (findings, place))
        what = f'Iteration {iteration.number}: {describe(found for found, _ in everyone)} is not finite'
        places = ', '.join(str(place) for _, place in everyone if place)
        written = f'Its batch is in {places}.' if places else 'Its batch is not written.'
        stop = self.policy.action == 'stop'
        if stop or self.count > self.policy.max:
            why = '' if stop else f' after {self.policy.max} others (train:nonfinite:max)'
            raise UserError(
                f'{what}, so training stops here{why}; checkpoints already in {self.opt["path"]["models"]} are '
                f'untouched. {written} {REMEDY}'
            )
        then = 'The batch is skipped' if self.policy.action == 'skip' else 'Training goes back to its newest checkpoint'
        self.logger.warning(f'{what}. {written} {then} ({self.count} of at most {self.policy.max}).')


def describe(findings: Iterable[Mapping[str, Any]]) -> str:
    """What was bad, from all ranks' findings: the losses, or, where they were finite, the gradients."""
    findings = list(findings)
    losses = {name for found in findings for name, value in found['losses'].items() if not math.isfinite(value)}
    if losses:
        return f'loss {", ".join(sorted(losses))}'
    gradients = list(dict.fromkeys(name for found in findings for name in found['gradients']))
    others = f' and of {len(gradients) - 2} more' if len(gradients) > 2 else ''
    return f'gradient of {", ".join(gradients[:2])}{others}'


def write_batch(root: Path, rank: int, number: int, batch: Mapping[str, Any], report: Mapping[str, Any]) -> Path | None:
    """Write ``iter_<number>_rank<rank>/`` below ``root``.

    It holds ``report.json`` (iteration, losses, names of bad gradients, learning rates, files of the samples),
    ``batch.pt`` (``batch`` as the model got it and ``report``, to be loaded with ``weights_only=True``) and a PNG of
    each image with 1 or 3 channels, [0, 1] to 8 bits; NaN is black, an infinite value black or white. A second batch
    of the same iteration (the first was passed over) gets ``_2``.

    Args:
        root (Path): Made where it is missing.
        rank (int): This process.
        number (int): The iteration.
        batch (Mapping): Tensors, and lists of names.
        report (Mapping): ``losses``, ``gradients``, ``learning_rates``.

    Returns:
        Path | None: The folder; None where it could not be written, for which there is a warning, or where
            ``MOST_FOLDERS`` of this rank are there.
    """
    label = f'rank{rank}'
    if sum(label in folder.name.split('_') for folder in root.glob('iter_*')) >= MOST_FOLDERS:
        return None
    name = f'iter_{number}_{label}'
    names = [name, *(f'{name}_{count}' for count in range(2, MOST_FOLDERS + 2))]
    folder = next(root / name for name in names if not (root / name).exists())
    report = {
        'iteration': number,
        **report,
        'samples': {key: list(value) for key, value in batch.items() if key.endswith('_path')},
    }
    try:
        folder.mkdir(parents=True)
        atomic_write_text(json.dumps(_readable(report), indent=1), folder / 'report.json')
        atomic_save(on_cpu({'batch': batch, 'report': report}), folder / 'batch.pt')
        for key, images in batch.items():
            if isinstance(images, Tensor) and images.ndim == 4 and images.shape[1] in (1, 3):
                for index, image in enumerate(images.detach().float().cpu().nan_to_num(0.0, 1.0, 0.0)):
                    imwrite(tensor2img(image), str(folder / f'{key}_{index:02}.png'))
    except (OSError, UserError) as error:
        get_root_logger().warning(f'The batch of iteration {number} could not be written: {error}')
        return None
    return folder


def _readable(value: Any) -> Any:
    """JSON has no NaN: as text."""
    if isinstance(value, Mapping):
        return {key: _readable(item) for key, item in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
