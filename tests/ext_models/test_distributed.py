"""Two processes on halves of each batch compute what one process does on the whole batch."""

import distributed_step
import pytest
import torch
from two_processes import run_on_two


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory) -> dict:
    """What two gloo processes computed, by scenario."""
    output = tmp_path_factory.mktemp('ddp') / 'results.pth'
    run_on_two(distributed_step, output)
    return torch.load(output, weights_only=True)


def of_networks(log: dict[str, float]) -> dict[str, float]:
    """A log without the views' statistics, which describe each process's own images."""
    return {name: value for name, value in log.items() if not name.startswith(('mask', 'highpass'))}


def test_adaptive_margin_follows_all_processes(two_processes):
    average = two_processes['energy, masked']['objective']
    logs = two_processes['energy, masked']['logs']
    weights = [0.01 * 0.99**age for age in (2, 1, 0)]
    expected = sum(weight * log['l_d_real'] for weight, log in zip(weights, logs, strict=True))
    assert average['real_sum'].item() == pytest.approx(expected, rel=1e-5)
    assert average['real_weight'].item() == pytest.approx(sum(weights), rel=1e-5)


@pytest.mark.parametrize('scenario', list(distributed_step.SCENARIOS))
def test_two_processes_equal_one(two_processes, scenario):
    """To rounding, float32's or bfloat16's: the sum over the batch is split differently."""
    coarse = 100 if distributed_step.SCENARIOS[scenario].get('amp') else 1
    got, expected = two_processes[scenario], distributed_step.train(scenario, world_size=1, rank=0)
    for log, expected_log in zip(got['logs'], expected['logs'], strict=True):
        assert of_networks(log) == pytest.approx(of_networks(expected_log), rel=1e-3 * coarse**0.5)
    for network in ('net_g', 'net_d', 'ema', 'objective'):
        for name, value in expected[network].items():
            torch.testing.assert_close(
                got[network][name], value, rtol=1e-4 * coarse, atol=5e-6 * coarse, msg=lambda m, n=name: f'{n}: {m}'
            )
