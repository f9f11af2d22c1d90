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
from basicsr.utils import AvgTimer, MessageLogger

from ext_core.checkpoint import rng_state, set_rng_state
from ext_core.errors import UserError
from ext_core.loaders import TrainingBatches, evaluation_loaders
from ext_core.models import build_model, evaluate, explaining_first_step
from ext_core.progress import ProgressLine
from ext_core.stopping import StopSignal


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

    # ------------------------------------------------------------------ resuming
    def _extra_state(self) -> dict:
        """What BasicSR's training state lacks. Called on all ranks when a state is saved."""
        generators: list = [rng_state()]
        if self.opt['dist']:
            generators = [None] * self.opt['world_size']
            torch.distributed.all_gather_object(generators, rng_state())
        precision = getattr(self.model, 'precision', None)
        return {
            'manual_seed': self.opt['manual_seed'],
            'batches_in_epoch': self.batches.batches_in_epoch,
            'rng': generators,
            'scaler': precision.scaler.state_dict() if precision else {},
            'model': self.model.step_state() if hasattr(self.model, 'step_state') else {},
            'best': _plain(getattr(self.model, 'best_metric_results', {})),
        }

    def _resume(self, state: dict) -> None:
        extra = state.get('ext', {})  # absent in states that BasicSR itself saved: their epoch starts over
        try:
            self.model.resume_training(state)
            if extra.get('model'):
                self.model.load_step_state(extra['model'])
        except (AssertionError, KeyError, RuntimeError, ValueError) as error:
            raise UserError(
                f'the state of iteration {state["iter"]} does not fit these options: {error} Resume with the networks, '
                'optimizers and schedules that it was saved with, or start a run of another name from its weights.'
            ) from error
        self.iteration = state['iter']
        self.batches.set_position(state['epoch'], extra.get('batches_in_epoch', 0))
        if extra.get('scaler'):
            self.model.precision.scaler.load_state_dict(extra['scaler'])
        self._restore_best(extra.get('best', {}))
        if len(extra.get('rng', [])) == self.opt['world_size']:
            set_rng_state(extra['rng'][self.opt['rank']])
        self.saved_at = self.iteration
        self.logger.info(f'Resuming training from epoch: {state["epoch"]}, iter: {self.iteration}.')

    def _restore_best(self, best: dict) -> None:
        """Best metrics of a former part of the run, as far as the options still ask for them."""
        wanted = {*((self.opt.get('val') or {}).get('metrics') or {}), *getattr(self.model, 'VALIDATION_FIGURES', ())}
        for dataset, results in best.items():
            kept = {name: result for name, result in results.items() if name in wanted}
            if kept:
                self.model._initialize_best_metric_results(dataset)
                self.model.best_metric_results[dataset].update(kept)

    # ------------------------------------------------------------------ the loop
    def run(self) -> int:
        """Train to the end or until a signal asks to stop.

        Returns:
            int: Exit status: 0, or 128 + the signal's number.

        Raises:
            UserError: If a loss is no longer finite.
        """
        self.logger.info(f'Start training from epoch: {self.batches.epoch}, iter: {self.iteration}')
        started = time.time()
        with StopSignal() as stop, ProgressLine(self.opt, self.iteration) as progress:
            trained = self.iteration < self.total_iter
            with contextlib.closing(iter(self.batches)) as batches:  # ends the workers, whatever happens
                received = self._loop(batches, stop, progress) if trained else None
            if received is not None:
                return self._stopped_by(received)
        self.logger.info(f'End of training. Time consumed: {time.time() - started:.0f} s')
        if trained and self.saved_at != self.iteration:
            self.save()
        self.logger.info('Save the latest model.')
        self.model.save(epoch=-1, current_iter=-1)  # BasicSR's name for the final weights
        if self.opt.get('val') is not None and self.validated_at != self.iteration:
            self.validate()
        return 0

    def _loop(self, batches: Iterator[dict], stop: StopSignal, progress: ProgressLine) -> int | None:
        data_timer, iter_timer = AvgTimer(), AvgTimer()
        for batch in batches:
            data_timer.record()
            self.iteration += 1
            self.model.update_learning_rate(self.iteration, warmup_iter=self.opt['train'].get('warmup_iter', -1))
            with explaining_first_step(self.model, first=self.messages.start_iter + 1 == self.iteration):
                self.model.feed_data(batch)
                self.model.optimize_parameters(self.iteration)
            iter_timer.record()
            if self.messages.start_iter + 1 == self.iteration:
                self.messages.reset_start_time()  # the first iteration's warm-up would spoil the ETA
            progress.advance()
            self._periodic(data_timer, iter_timer)
            received = stop.agreed()
            if received is not None or self.iteration >= self.total_iter:
                return received
            data_timer.start()
            iter_timer.start()
        raise AssertionError('the stream of training batches is endless')

    def _periodic(self, data_timer: AvgTimer, iter_timer: AvgTimer) -> None:
        """Log, save and validate where this iteration is due."""
        if self.iteration % self.opt['logger']['print_freq'] == 0:
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
        validate = self.opt.get('val') is not None and self.iteration % int(self.opt['val']['val_freq']) == 0
        save = self.iteration % int(self.opt['logger']['save_checkpoint_freq']) == 0
        if validate:  # before saving, so that the state holds this iteration's best metrics
            self.validate()
        if save:
            self.save()

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
                f'already in {self.opt["path"]["models"]} are untouched. Lower train:optim_g:lr (and optim_d:lr), set '
                'train:grad_clip, use amp: bf16 instead of fp16, and check the data for extreme values; then continue '
                'with --auto_resume.'
            )
        return values

    def save(self) -> None:
        """Save weights and state of this iteration, unless a loss has gone bad."""
        self.check_losses()
        self.logger.info('Saving models and training states.')
        self.model.save(self.batches.epoch, self.iteration)
        self.saved_at = self.iteration

    def validate(self) -> None:
        """Run every validation set, and keep the network if it is the best so far."""
        for loader in self.evaluation:
            evaluate(self.model, loader, self.iteration, self.tb_logger, self.opt['val']['save_img'])
        self.validated_at = self.iteration
        self._save_best()

    def _save_best(self) -> None:
        """Save ``net_g_best.pth`` if this validation is the best so far by ``val:save_best``.

        The first validation set of the option file decides. Its best value is part of the training state, so a resumed
        run goes on comparing. As everywhere in BasicSR, equal is as good as better.
        """
        metric = self.opt['val'].get('save_best')
        if metric is None:
            return
        dataset = self.evaluation[0].dataset.opt['name']  # type: ignore[attr-defined]
        best = getattr(self.model, 'best_metric_results', {}).get(dataset, {}).get(metric)  # on rank 0 only
        if best is None or best['iter'] != self.iteration:
            return
        nets = {'params': self.model.net_g}
        if hasattr(self.model, 'net_g_ema'):
            nets['params_ema'] = self.model.net_g_ema
        self.model.save_network(list(nets.values()), 'net_g', 'best', list(nets))
        self.logger.info(f'Best {metric} on {dataset} so far, {best["val"]:.4f}: saved as net_g_best.pth.')

    def _stopped_by(self, number: int) -> int:
        if self.saved_at != self.iteration:
            self.save()
        name = signal.Signals(number).name
        state = Path(self.opt['path']['training_states']) / f'{self.iteration}.state'
        self.logger.info(
            f'Stopped by {name} after iteration {self.iteration}, which is saved in {state}. '
            'Continue with --auto_resume.'
        )
        return 128 + number


def _plain(results: dict) -> dict:
    """Best metrics without NumPy numbers, which a safe load of the state would refuse."""
    return {
        dataset: {
            metric: {'better': r['better'], 'val': float(r['val']), 'iter': int(r['iter'])}
            for metric, r in metrics.items()
        }
        for dataset, metrics in results.items()
    }
