"""The training loop: it drives any model of BasicSR's registry and ours."""

import contextlib
import copy
import json
import logging
import math
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import AvgTimer, MessageLogger, set_random_seed
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ext_core.atomic import Written, atomic_save, atomic_write_bytes, atomic_write_text, remove_leftovers
from ext_core.errors import UserError, refusal
from ext_core.networks.records import scalars
from ext_core.train.checkpoint import manifest_file, on_cpu, remove_older, write_manifest
from ext_core.train.loaders import TrainingBatches, evaluation_loaders
from ext_core.train.models import build_model, checkpoint_networks, evaluate, explaining_first_step
from ext_core.train.nonfinite import REMEDY, FiniteWatch
from ext_core.train.resume import forget_from, load_resume_state
from ext_core.train.stopping import StopSignal
from ext_data.samples import rng_state, set_rng_state

_BEST = 'net_g_best'


class Trainer:
    """One run, from its options to its last checkpoint.

    Args:
        opt (dict): Resolved options.
        logger (logging.Logger): BasicSR's root logger.
    """

    def __init__(self, opt: dict, logger: logging.Logger):
        self.opt = opt
        self.logger = logger
        self.tb_logger: Any = None
        self.total_iter = int(opt['train']['total_iter'])
        self.iteration = self.begun_at = 0
        self.saved_at = self.validated_at = -1
        self.reset_at: int | None = None  # --reset_optim: states up to here hold the former optimizers and schedules
        self.saved_networks: dict[Path, Written] = {}  # at that iteration
        self.validation_due = False
        self.batches = TrainingBatches(opt)
        self.evaluation = evaluation_loaders(opt)
        self.model = build_model(opt)
        self.finite = FiniteWatch(opt, logger)
        self.models, self.states = Path(opt['path']['models']), Path(opt['path']['training_states'])
        # what the options name, such as the state that is resumed, is not removed by logger:keep_last
        self.in_use = [Path(value) for value in opt['path'].values() if isinstance(value, str)]
        self.data_timer, self.iter_timer = AvgTimer(), AvgTimer()
        self._stream = iter(self.batches)
        logger.info(
            'Training statistics:'
            f'\n\tTraining images: {len(self.batches.loader.dataset)}'  # type: ignore[arg-type]
            f'\n\tDataset enlarge ratio: {opt["datasets"]["train"].get("dataset_enlarge_ratio", 1)}'
            f'\n\tBatch: {self.batches.loader.batch_size} on each of {opt["world_size"]} processes'
            f'\n\tIterations per epoch: {self.batches.per_epoch}'
            f'\n\tIterations: {self.total_iter}, epochs: {math.ceil(self.total_iter / self.batches.per_epoch)}'
        )

    def close(self) -> None:
        """End the workers that read the training images."""
        self._stream.close()

    # ------------------------------------------------------------------ the loop
    def first_step(self) -> None:
        """The first iteration of a new run. It writes nothing, so what does not fit is known before anything is made.

        Raises:
            UserError: If samples, networks and losses do not fit together.
        """
        self.finite.watch(self.model, self.iteration)
        self._step()

    def run(self, tb_logger: Any = None) -> int:
        """Train to the end or until a signal asks to stop, in the folders of the options, which are there.

        Args:
            tb_logger (SummaryWriter | None): TensorBoard, on rank 0.

        Returns:
            int: Exit status: 0, or 128 + the signal's number.

        Raises:
            UserError: If a loss or gradient is not finite and ``train:nonfinite`` has no way on, or a checkpoint cannot
                be written.
        """
        self.tb_logger = tb_logger
        self.messages = MessageLogger(self.opt, self.begun_at, tb_logger)
        self.messages.max_iters = self.total_iter + 1  # its ETA counts one iteration too few, and ends below zero
        if self.opt['rank'] == 0:
            for folder in (self.models, self.states):
                remove_leftovers(folder)
        self.logger.info(f'Start training from epoch: {self.batches.epoch}, iter: {self.begun_at}')
        started = time.time()
        trained = self.begun_at < self.total_iter
        if self.iteration == self.begun_at:
            self.finite.watch(self.model, self.iteration)
        with StopSignal() as stop:
            if self.validation_due:  # of the run that ended while it validated
                self.validate()
                self.save()
            # a progress line where a person is watching; in a pipe or a file BasicSR's log lines do
            shown = sys.stderr.isatty() and self.opt['rank'] == 0
            bar = tqdm(
                total=self.total_iter,
                initial=self.iteration,
                unit='it',
                dynamic_ncols=True,
                smoothing=0.05,
                desc=str(self.opt['name'])[:24],
                disable=not shown,
            )
            with logging_redirect_tqdm(loggers=[self.logger] if shown else []), bar, contextlib.closing(self):
                received = self._loop(stop, bar) if trained else None
            if received is not None:
                if self.saved_at != self.iteration:
                    self.save()
                self.logger.info(
                    f'Stopped by {signal.Signals(received).name} after iteration {self.iteration}, which is saved in '
                    f'{self.states / f"{self.iteration}.state"}. Continue with --auto_resume.'
                )
                if self.opt['dist']:
                    torch.distributed.barrier()  # once one has left with this status, torchrun ends those that save
                return 128 + received
            self.logger.info(f'End of training. Time consumed: {time.time() - started:.0f} s')
            if trained and self.saved_at != self.iteration:
                self.save()
            self.logger.info('Save the latest model.')
            self._write_networks('latest')
        if self.opt.get('val') is not None and self.validated_at != self.iteration:
            self.validate()
            if trained:
                self.save()  # once more, now that the state can say that this is done and how good it was
        return 0

    def _loop(self, stop: StopSignal, bar: tqdm) -> int | None:
        ahead = self.iteration > self.begun_at  # by first_step
        while True:
            if not ahead:
                self._step()
            ahead = False
            if self.iteration == self.begun_at + 1:
                self.messages.reset_start_time()  # the first iteration's warm-up would spoil the ETA
            good = self._settle()
            bar.update(self.iteration - bar.n)
            if good:  # else training has gone back to an iteration whose log line and checkpoint are there
                log, validate, save = self._due()
                if log:
                    values = {'epoch': self.batches.epoch, 'iter': self.iteration}
                    values |= {'lrs': self.model.get_current_learning_rate()}
                    times = {'time': self.iter_timer.get_avg_time(), 'data_time': self.data_timer.get_avg_time()}
                    self.messages(values | times | self.check_losses())
                if save:
                    self.save(validation_due=validate)
                if validate:
                    self.validate()
                    if save:
                        self.save()  # once more, now that the state can say that this is done and how good it was
            received = stop.agreed()
            if good and (received is not None or self.iteration >= self.total_iter) and self._settle(now=True):
                return received

    def _step(self) -> None:
        """One iteration on the next batch."""
        self.data_timer.start()
        self.iter_timer.start()
        with explaining_first_step(self.model, first=self.iteration == self.begun_at):
            batch = next(self._stream)
            self.data_timer.record()
            self._train_on(batch)
        self.iter_timer.record()
        if hasattr(self.model, 'gradient_report'):
            for number, line in enumerate(self.model.gradient_report()):
                self.logger.log(logging.WARNING if number else logging.INFO, line)

    def _train_on(self, batch: dict) -> None:
        """One iteration on this batch."""
        self.finite.start()
        self.iteration += 1
        self.model.update_learning_rate(self.iteration, warmup_iter=self.opt['train'].get('warmup_iter', -1))
        self.model.feed_data(batch)
        self.model.optimize_parameters(self.iteration)
        self.finite.note(self.iteration, batch)

    def _due(self) -> tuple[bool, bool, bool]:
        """Whether this iteration is logged, validated, saved."""
        frequencies = (
            self.opt['logger']['print_freq'],
            (self.opt.get('val') or {}).get('val_freq'),
            self.opt['logger']['save_checkpoint_freq'],
        )
        log, validate, save = (every is not None and self.iteration % int(every) == 0 for every in frequencies)
        return log, validate, save

    # ------------------------------------------------------------------ numbers that are not finite
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
                f'already in {self.models} are untouched. {REMEDY}'
            )
        return values

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
            self.iteration = iteration
            return
        if self.opt['dist']:
            torch.distributed.barrier()  # the first rank's checkpoint is on the disk
        position = self.batches.epoch, self.batches.batches_in_epoch
        state = load_resume_state(self.opt | {'auto_resume': True}, say=self.logger.warning)
        if state is None:
            raise UserError(
                f'train:nonfinite: there is no checkpoint to go back to in {self.states}. '
                'Lower logger:save_checkpoint_freq, or use action: skip.'
            )
        del self.model
        set_random_seed(self.opt['manual_seed'] + self.opt['rank'])  # as at the start, for what no checkpoint holds
        self.model = build_model(self.opt)
        self.resume(state)
        self.batches.set_position(*position)
        self.finite.watch(self.model, self.iteration)
        forget_from(self.tb_logger, self.iteration + 1)

    # ------------------------------------------------------------------ validating, saving, resuming
    def validate(self) -> None:
        """Run every validation set, and keep the network if it is the best so far by ``val:save_best``.

        Its best value is part of the training state, so a resumed run goes on comparing. As everywhere in BasicSR,
        equal is as good as better.
        """
        before = None if self.saved_at == self.iteration else self._state(validation_due=True)  # all ranks are asked
        curves = self.tb_logger
        if curves and self.iteration == self.begun_at:  # the run before may have written some of these figures
            curves.flush()
            shown = {(tag, step) for tag, points in scalars(Path(curves.log_dir)).items() for step, _ in points}
            add, curves = curves.add_scalar, copy.copy(curves)
            curves.add_scalar = lambda tag, value, step: None if (tag, step) in shown else add(tag, value, step)
        try:
            for loader in self.evaluation:
                evaluate(self.model, loader, self.iteration, curves, self.opt['val']['save_img'])
        except Exception as error:
            if before is not None:
                self._write(before)
            refused, file = refusal(error), self.states / f'{self.iteration}.state'
            way_on = (
                f'Iteration {self.iteration} is saved in {file}. Remove the cause, then continue with --auto_resume.'
            )
            if refused is None:
                self.logger.info(way_on)
                raise
            raise UserError(f'{refused}\n{way_on}') from error
        self.validated_at = self.iteration
        metric = self.opt['val'].get('save_best')
        if metric is None or not self.evaluation or self.opt['rank'] != 0:
            return
        dataset = self.evaluation[0].dataset.opt['name']  # type: ignore[attr-defined]
        results = getattr(self.model, 'best_metric_results', {}).get(dataset, {})
        if metric not in results or results[metric]['iter'] != self.iteration:
            return
        value = float(results[metric]['val'])
        ((file, written),) = self._write_networks('best', only='net_g').items()
        figures = {'file': file.name, 'iter': self.iteration, 'dataset': dataset, 'metric': metric, 'value': value}
        atomic_write_text(json.dumps(figures | written._asdict(), indent=1) + '\n', file.with_suffix('.json'))
        self.logger.info(f'Best {metric} on {dataset} so far, {value:.4f}: saved as {file.name}.')

    def save(self, validation_due: bool = False) -> None:
        """Save weights and state of this iteration, unless a loss has gone bad.

        Args:
            validation_due (bool): Whether a run that continues from here first has to validate. Default: False.

        Raises:
            UserError: If a loss is not finite, or a file cannot be written. What was saved before is complete.
        """
        self.check_losses()
        if self.tb_logger:
            self.tb_logger.flush()  # a run that is killed and continues here has no gap in its curves
        if self.saved_at != self.iteration:
            self.logger.info('Saving models and training states.')
        self._write(self._state(validation_due))

    def _state(self, validation_due: bool) -> dict:
        """What a training state holds, as it is now: BasicSR's entries, and what they lack in ``ext``. Called on all
        ranks."""
        own = rng_state(), self.batches.samples.bad
        ranks: list = [own]
        step_states: list = []  # what the next step depends on, on the CPU: of each process, on the first one
        if hasattr(self.model, 'step_state'):
            step_states = [on_cpu(self.model.step_state())]
        if self.opt['dist']:
            ranks = [None] * self.opt['world_size']
            torch.distributed.all_gather_object(ranks, own)
            if step_states:
                (mine,) = step_states
                step_states = [None] * self.opt['world_size']
                # not to all, as the pool of a RealESRGANModel is large
                torch.distributed.gather_object(mine, step_states if self.opt['rank'] == 0 else None)
        bad = sorted({index for _, indices in ranks for index in indices})
        self.batches.samples.expect_bad(bad)  # one budget for all processes
        precision = getattr(self.model, 'precision', None)
        best = {  # without NumPy's numbers, which a safe load of the state would refuse
            dataset: {
                metric: {'better': result['better'], 'val': float(result['val']), 'iter': int(result['iter'])}
                for metric, result in results.items()
            }
            for dataset, results in getattr(self.model, 'best_metric_results', {}).items()
        }
        extra = {
            'manual_seed': self.opt['manual_seed'],
            'batches_in_epoch': self.batches.batches_in_epoch,
            'bad_samples': bad,
            'validated_at': self.validated_at,
            'nonfinite': self.finite.state_dict(),
            'rng': [generators for generators, _ in ranks],
            'scaler': precision.scaler.state_dict() if precision else {},
            'model': step_states,
            'best': best,
        }
        return {
            'epoch': self.batches.epoch,
            'iter': self.iteration,
            'optimizers': [optimizer.state_dict() for optimizer in self.model.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.model.schedulers],
            'ext': extra | ({'validation_due': True} if validation_due else {}),
        }

    def _write(self, state: dict) -> None:
        """Write a state and this iteration's networks, these only once."""
        again = self.saved_at == self.iteration
        self.saved_at = self.iteration
        if self.opt['rank'] != 0:
            return
        # while the state is exchanged, the iteration passes without a manifest, and with the former one it would not
        manifest_file(self.states, self.iteration).unlink(missing_ok=True)
        if not again or not self.saved_networks:
            self.saved_networks = self._write_networks(self.iteration)
        file = self.states / f'{self.iteration}.state'
        write_manifest(self.states, self.iteration, self.saved_networks | {file: atomic_save(on_cpu(state), file)})
        if self.opt['logger'].get('keep_last') is not None:
            remove_older(self.states, self.opt['logger']['keep_last'], self.iteration, self.in_use)

    def _write_networks(self, name: int | str, only: str | None = None) -> dict[Path, Written]:
        """Write ``net_g_<name>.pth`` and its kin, on rank 0."""
        if self.opt['rank'] != 0:
            return {}
        written = {}
        for label, nets in checkpoint_networks(self.model).items():
            if only in (None, label):
                file = self.models / f'{label}_{name}.pth'
                written[file] = atomic_save({key: on_cpu(net.state_dict()) for key, net in nets.items()}, file)
        return written

    def resume(self, state: dict) -> None:
        """Continue from a training state.

        Args:
            state (dict): As :func:`ext_core.train.resume.load_resume_state` gives it.

        Raises:
            UserError: If it does not fit the options.
        """
        extra = state.get('ext', {})  # absent in states that BasicSR itself saved: their epoch starts over
        rank, world_size = self.opt['rank'], self.opt['world_size']
        if self.reset_at is None:
            self.reset_at = state['iter'] if self.opt.get('reset_optim') else -1
        try:
            if state['iter'] > self.reset_at:
                self.model.resume_training(state)
            else:  # new schedules, to where they would be by now
                for iteration in range(1, state['iter'] + 1):
                    self.model.update_learning_rate(iteration, self.opt['train'].get('warmup_iter', -1))
                self.logger.info('--reset_optim: optimizers and schedules are new.')
            if saved := extra.get('model'):
                saved = [saved] if isinstance(saved, dict) else saved  # former versions saved that of the first process
                # the first one's, where another number of processes saved
                self.model.load_step_state(saved[rank if len(saved) == world_size else 0])
        except (AssertionError, KeyError, RuntimeError, ValueError) as error:
            raise UserError(
                f'the state of iteration {state["iter"]} does not fit these options: {error} Resume with the networks, '
                'optimizers and schedules that it was saved with, or start a run of another name from its weights.'
            ) from error
        self.iteration = self.begun_at = self.saved_at = state['iter']
        self.saved_networks = {}
        self.validation_due = extra.get('validation_due', False) and self.opt.get('val') is not None
        self.validated_at = extra.get('validated_at', -1)
        self.batches.set_position(state['epoch'], extra.get('batches_in_epoch', 0))
        self.batches.samples.expect_bad(extra.get('bad_samples', []))
        if extra.get('scaler'):
            self.model.precision.scaler.load_state_dict(extra['scaler'])
        self.finite.load_state_dict(extra.get('nonfinite', {}))
        # the best metrics, as far as the options still ask for them
        val = self.opt.get('val') or {}
        wanted = {*(val.get('metrics') or {}), *getattr(self.model, 'VALIDATION_FIGURES', ())}
        for dataset, results in extra.get('best', {}).items():
            if kept := {name: result for name, result in results.items() if name in wanted}:
                self.model._initialize_best_metric_results(dataset)
                self.model.best_metric_results[dataset].update(kept)
        if rank == 0 and val.get('save_best') and not (self.models / f'{_BEST}.pth').is_file():
            # a run that continues from the state of another experiment brings its best network along
            for suffix in ('.pth', '.json'):
                file = Path(self.opt['path']['resume_state']).resolve().parents[1] / 'models' / f'{_BEST}{suffix}'
                if file.is_file():
                    atomic_write_bytes(file.read_bytes(), self.models / file.name)
        if len(extra.get('rng', [])) == world_size:
            set_rng_state(extra['rng'][rank])
        elif extra:
            self.logger.warning(
                f'The state was saved by {len(extra["rng"])} processes, now there are {world_size}: the training goes '
                'on, but not as it would have without the interruption.'
            )
        self.logger.info(
            f'Resuming training from epoch: {state["epoch"]}, iter: {self.iteration}. '
            'What earlier logs of this run say of later iterations is void.'
        )
