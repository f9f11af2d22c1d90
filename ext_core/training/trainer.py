"""The training loop: it drives any model of BasicSR's registry and ours."""

import contextlib
import logging
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import AvgTimer, MessageLogger, set_random_seed

from ext_core.errors import UserError
from ext_core.saving import best_network
from ext_core.saving.checkpoint import remove_leftovers, rng_state, set_rng_state
from ext_core.saving.curves import forget_from
from ext_core.saving.resume import load_resume_state
from ext_core.saving.snapshots import rebuilt
from ext_core.saving.writer import CheckpointWriter
from ext_core.training.loaders import TrainingBatches, evaluation_loaders
from ext_core.training.models import build_model, evaluate, explaining_first_step
from ext_core.training.nonfinite import REMEDY, FiniteWatch
from ext_core.training.progress import ProgressLine
from ext_core.training.stopping import StopSignal


class Trainer:
    """One run, from its options to its last checkpoint.

    Args:
        opt (dict): Resolved options.
        logger (logging.Logger): BasicSR's root logger.
        tb_logger (SummaryWriter | None): TensorBoard, on rank 0.
        resume_state (dict | None): A training state to continue from.
    """

    def __init__(self, opt: dict, logger: logging.Logger, tb_logger: Any = None, resume_state: dict | None = None):
        self.opt = opt
        self.logger = logger
        self.tb_logger = tb_logger
        self.total_iter = int(opt['train']['total_iter'])
        self.iteration = 0
        self.saved_at = self.validated_at = -1
        self.batches = TrainingBatches(opt)
        self.evaluation = evaluation_loaders(opt)
        self.model = build_model(opt)
        self.model.extra_training_state = self._extra_state
        self.writer = self.model.checkpoint_writer = self._checkpoint_writer()
        self.finite = FiniteWatch(opt, logger)
        self._describe()
        if resume_state is not None:
            self._resume(resume_state)
        self.messages = MessageLogger(opt, self.iteration, tb_logger)
        self.messages.max_iters = self.total_iter + 1  # its ETA counts one iteration too few, and ends below zero

    def _describe(self) -> None:
        data_opt = self.opt['datasets']['train']
        self.logger.info(
            'Training statistics:'
            f'\n\tTraining images: {len(self.batches.loader.dataset)}'  # type: ignore[arg-type]
            f'\n\tDataset enlarge ratio: {data_opt.get("dataset_enlarge_ratio", 1)}'
            f'\n\tBatch: {self.batches.loader.batch_size} on each of {self.opt["world_size"]} processes'
            f'\n\tIterations per epoch: {self.batches.per_epoch}'
            f'\n\tIterations: {self.total_iter}, epochs: {math.ceil(self.total_iter / self.batches.per_epoch)}'
        )

    def _checkpoint_writer(self) -> CheckpointWriter:
        """What saves: beside the loop, unless ``logger:save_in_background`` is false. Only rank 0 gives it files.

        ``logger:keep_last`` removes older checkpoints, but none of which ``path`` names a file.
        """
        logger_opt, paths = self.opt['logger'], self.opt['path']
        writer = CheckpointWriter(
            Path(paths['training_states']),
            in_background=logger_opt.get('save_in_background', True),
            keep_last=logger_opt.get('keep_last'),
            in_use=[Path(value) for value in paths.values() if isinstance(value, str)],
            complain=self.logger.error,
        )
        writer.guard(self.model)
        if self.opt['rank'] == 0:
            for folder in (paths['models'], paths['training_states']):
                remove_leftovers(folder)
        return writer

    # ------------------------------------------------------------------ resuming
    def _extra_state(self) -> dict:
        """What BasicSR's training state lacks, as it is now. Called on all ranks when a state is saved."""
        own = rng_state(), self.batches.samples.bad
        ranks: list = [own]
        if self.opt['dist']:
            ranks = [None] * self.opt['world_size']
            torch.distributed.all_gather_object(ranks, own)
        bad = sorted({index for _, indices in ranks for index in indices})
        self.batches.samples.expect_bad(bad)  # one budget for all processes
        precision = getattr(self.model, 'precision', None)
        return {
            'manual_seed': self.opt['manual_seed'],
            'batches_in_epoch': self.batches.batches_in_epoch,
            'bad_samples': bad,
            'validated_at': self.validated_at,
            'nonfinite': self.finite.state_dict(),
            'rng': [generators for generators, _ in ranks],
            'scaler': precision.scaler.state_dict() if precision else {},
            'model': self._step_states() if hasattr(self.model, 'step_state') else [],
            'best': best_network.results_of(self.model),
        }

    def _resume(self, state: dict) -> None:
        extra = state.get('ext', {})  # absent in states that BasicSR itself saved: their epoch starts over
        try:
            self.model.resume_training(state)
            if extra.get('model'):
                self.model.load_step_state(self._own(extra['model']))
        except (AssertionError, KeyError, RuntimeError, ValueError) as error:
            raise UserError(
                f'the state of iteration {state["iter"]} does not fit these options: {error} Resume with the networks, '
                'optimizers and schedules that it was saved with, or start a run of another name from its weights.'
            ) from error
        self.iteration = state['iter']
        self.batches.set_position(state['epoch'], extra.get('batches_in_epoch', 0))
        if extra.get('scaler'):
            self.model.precision.scaler.load_state_dict(extra['scaler'])
        self.finite.load_state_dict(extra.get('nonfinite', {}))
        best_network.restore_results(self.model, self.opt, extra.get('best', {}))
        best_network.bring_along(self.opt)
        self.batches.samples.expect_bad(extra.get('bad_samples', []))
        if len(extra.get('rng', [])) == self.opt['world_size']:
            set_rng_state(extra['rng'][self.opt['rank']])
        elif extra:
            self.logger.warning(
                f'The state was saved by {len(extra["rng"])} processes, now there are {self.opt["world_size"]}: the '
                'training goes on, but not as it would have without the interruption.'
            )
        self.saved_at = self.iteration
        self.validated_at = extra.get('validated_at', -1)
        self.logger.info(
            f'Resuming training from epoch: {state["epoch"]}, iter: {self.iteration}. '
            'What earlier logs of this run say of later iterations is void.'
        )

    def _step_states(self) -> list:
        """What the next step depends on, on the CPU: of each process, on the first one."""
        own = rebuilt(self.model.step_state(), lambda tensor: tensor.detach().cpu().clone())
        states = [own]
        if self.opt['dist']:
            states = [None] * self.opt['world_size']
            # not to all, as the pool of a RealESRGANModel is large
            torch.distributed.gather_object(own, states if self.opt['rank'] == 0 else None)
        return states

    def _own(self, states: Any) -> dict:
        """This process's part; the first one's, where another number of processes saved."""
        states = [states] if isinstance(states, dict) else states  # as former versions saved that of the first process
        return states[self.opt['rank'] if len(states) == self.opt['world_size'] else 0]

    # ------------------------------------------------------------------ the loop
    def run(self) -> int:
        """Train to the end or until a signal asks to stop.

        Returns:
            int: Exit status: 0, or 128 + the signal's number.

        Raises:
            UserError: If a loss or gradient is not finite and ``train:nonfinite`` has no way on, or a checkpoint cannot
                be written.
        """
        self.logger.info(f'Start training from epoch: {self.batches.epoch}, iter: {self.iteration}')
        started = time.time()
        trained = self.iteration < self.total_iter
        self.finite.watch(self.model, self.iteration)
        with StopSignal() as stop, self.writer:  # the writer has ended before a signal can end the process
            with ProgressLine(self.opt, self.iteration) as progress, contextlib.closing(iter(self.batches)) as batches:
                # closing ends the workers, whatever happens
                received = self._loop(batches, stop, progress) if trained else None
            if received is not None:
                return self._stopped_by(received)
            self.logger.info(f'End of training. Time consumed: {time.time() - started:.0f} s')
            if trained and self.saved_at != self.iteration:
                self.save()
            self.logger.info('Save the latest model.')
            self.model.save(epoch=-1, current_iter=-1)  # BasicSR's name for the final weights
        with self.writer:
            if self.opt.get('val') is not None and self.validated_at != self.iteration:
                self.validate()
                if trained:
                    self.save()  # once more, now that the state can say that this is done and how good it was
        return 0

    def _loop(self, batches: Iterator[dict], stop: StopSignal, progress: ProgressLine) -> int | None:
        data_timer, iter_timer = AvgTimer(), AvgTimer()
        for batch in batches:
            data_timer.record()
            self._train_on(batch)
            iter_timer.record()
            if self.messages.start_iter + 1 == self.iteration:
                self.messages.reset_start_time()  # the first iteration's warm-up would spoil the ETA
            good = self._settle()
            progress.show(self.iteration)
            if good:  # else training has gone back to an iteration whose log line and checkpoint are there
                self._periodic(data_timer, iter_timer)
            received = stop.agreed()
            if good and (received is not None or self.iteration >= self.total_iter) and self._settle(now=True):
                return received
            data_timer.start()
            iter_timer.start()
        raise AssertionError('the stream of training batches is endless')

    def _train_on(self, batch: dict) -> None:
        """One iteration."""
        self.finite.start()
        self.iteration += 1
        self.model.update_learning_rate(self.iteration, warmup_iter=self.opt['train'].get('warmup_iter', -1))
        with explaining_first_step(self.model, first=self.messages.start_iter + 1 == self.iteration):
            self.model.feed_data(batch)
            self.model.optimize_parameters(self.iteration)
        self.finite.note(self.iteration, batch)

    def _settle(self, now: bool = False) -> bool:
        """Where it is time, see to it that no iteration so far was bad; False if one had to be undone."""
        if now or self.finite.due(self.iteration) or self.iteration >= self.total_iter or any(self._due()):
            return self.finite.settle(self._train_on, self._go_back)
        return True

    def _go_back(self, iteration: int) -> None:
        """To an iteration whose state is about to be restored, or, where none is kept, to the newest whole checkpoint.

        The stream of batches goes on from where it is: the checkpoint's own would lead to the same end again.
        """
        if self.finite.policy.action == 'skip':
            self.writer.settle()
            self.iteration = iteration
            return
        self.writer.drain()
        if self.opt['dist']:
            torch.distributed.barrier()  # the first rank's checkpoint is on the disk
        position = self.batches.epoch, self.batches.batches_in_epoch
        state = load_resume_state(self.opt | {'auto_resume': True}, say=self.logger.warning)
        if state is None:
            raise UserError(
                f'train:nonfinite: there is no checkpoint to go back to in {self.opt["path"]["training_states"]}. '
                'Lower logger:save_checkpoint_freq, or use action: skip.'
            )
        del self.model
        set_random_seed(self.opt['manual_seed'] + self.opt['rank'])  # as at the start, for what no checkpoint holds
        self.model = build_model(self.opt)
        self.model.extra_training_state = self._extra_state
        self.model.checkpoint_writer = self.writer
        self.writer.guard(self.model)
        self._resume(state)
        self.batches.set_position(*position)
        self.finite.watch(self.model, self.iteration)
        forget_from(self.tb_logger, self.iteration + 1)

    def _due(self) -> tuple[bool, bool, bool]:
        """Whether this iteration is logged, validated, saved."""
        frequencies = (
            self.opt['logger']['print_freq'],
            (self.opt.get('val') or {}).get('val_freq'),
            self.opt['logger']['save_checkpoint_freq'],
        )
        log, validate, save = (every is not None and self.iteration % int(every) == 0 for every in frequencies)
        return log, validate, save

    def _periodic(self, data_timer: AvgTimer, iter_timer: AvgTimer) -> None:
        """Log, save and validate where this iteration is due."""
        self.writer.raise_failure()
        log, validate, save = self._due()
        if log:
            values = self.check_losses()
            self.messages(
                {
                    'epoch': self.batches.epoch,
                    'iter': self.iteration,
                    'lrs': self.model.get_current_learning_rate(),
                    'time': iter_timer.get_avg_time(),
                    'data_time': data_timer.get_avg_time(),
                    **values,
                }
            )
        if validate:  # before saving, so that the state holds this iteration's best metrics
            self.validate()
        if save:
            self.save()
        self.writer.submit()

    def check_losses(self) -> dict[str, float]:
        """The current losses.

        Raises:
            UserError: If one is NaN or infinite. Nothing is saved then; earlier checkpoints are untouched.
        """
        values = dict(self.model.get_current_log())
        bad = sorted(name for name, value in values.items() if not math.isfinite(value))
        if bad:
            raise UserError(
                f'Iteration {self.iteration}: loss {", ".join(bad)} is not finite, so training stops here; checkpoints '
                f'already in {self.opt["path"]["models"]} are untouched. {REMEDY}'
            )
        return values

    def save(self) -> None:
        """Save weights and state of this iteration, unless a loss has gone bad; ``writer`` has still to be told."""
        self.check_losses()
        if self.tb_logger:
            self.tb_logger.flush()  # a run that is killed and continues here has no gap in its curves
        self.logger.info('Saving models and training states.')
        self.model.save(self.batches.epoch, self.iteration)
        self.saved_at = self.iteration

    def validate(self) -> None:
        """Run every validation set, and keep the network if it is the best so far."""
        for loader in self.evaluation:
            evaluate(self.model, loader, self.iteration, self.tb_logger, self.opt['val']['save_img'])
        self.validated_at = self.iteration
        dataset = self.evaluation[0].dataset.opt['name'] if self.evaluation else ''  # type: ignore[attr-defined]
        best_network.save(self.model, self.opt, dataset, self.iteration, self.writer)

    def _stopped_by(self, number: int) -> int:
        if self.saved_at != self.iteration:
            self.save()
        self.writer.finish()  # before saying that it is saved
        name = signal.Signals(number).name
        state = Path(self.opt['path']['training_states']) / f'{self.iteration}.state'
        self.logger.info(
            f'Stopped by {name} after iteration {self.iteration}, which is saved in {state}. '
            'Continue with --auto_resume.'
        )
        return 128 + number
