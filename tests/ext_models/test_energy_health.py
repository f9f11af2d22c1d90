"""When the watch on the energies speaks, what it says, and how often."""

import pytest

from ext_models.energy_health import EnergyHealth


def said(lines: list[tuple[float, float]]) -> list[str]:
    """The first words of what is said at each line of (U(real), U(fake)), '' for nothing."""
    health = EnergyHealth()
    result = []
    for iteration, (real, fake) in enumerate(lines):
        sentences = health.advice(iteration, {'out_d_real': real, 'out_d_fake': fake, 'l_d_fake': 1.0})
        assert len(sentences) <= 1
        result.append(sentences[0].split(':')[0] if sentences else '')
    return result


WELL = (0.01, 0.02)
EXPLODES, COPIES, BLIND = 'The energy explodes', 'The energies collapse to zero', 'The energy collapses'


@pytest.mark.parametrize(
    ('lines', 'expected'),
    [
        ([WELL, (0.005, 0.006), (0.004, 0.008)], ['', '', '']),
        ([WELL, (0.02, 0.21)], ['', EXPLODES]),
        ([WELL, (0.11, 0.12)], ['', EXPLODES]),
        ([WELL, (0.09, 0.19)], ['', '']),
        ([(0.007, 0.2), (0.007, 0.3)], ['', '']),  # of an untrained generator
        ([(float('nan'), 0.1)], [EXPLODES]),
        ([(float('nan'), 0.1), WELL, (0.02, 0.21)], [EXPLODES, '', EXPLODES]),  # as against the first that is finite
        ([WELL, (0.1, float('inf')), (1.0, 5.0), WELL, (1.0, 5.0)], ['', EXPLODES, '', '', EXPLODES]),
        ([WELL, (1e-7, 2e-7), (1e-7, 2e-7), (1e-7, 2e-7), (1e-7, 2e-7)], ['', '', '', COPIES, '']),
        ([(0.01, 0.009), (0.01, 0.01), (0.01, 0.008), (0.01, 0.007)], ['', '', BLIND, '']),
        (
            [(0.01, 0.009), (0.01, 0.009), WELL, (0.01, 0.009), (0.01, 0.009), (0.01, 0.009)],
            ['', '', '', '', '', BLIND],
        ),
    ],
)
def test_says_it_once_when_it_begins(lines, expected):
    assert said(lines) == expected


def test_silent_while_one_network_trains_alone():
    assert EnergyHealth().advice(1, {'l_g_pretrain': 1.0}) == []
    alone = EnergyHealth()
    assert [alone.advice(iteration, {'out_d_real': 1.0, 'out_d_fake': 0.5}) for iteration in range(5)] == [[]] * 5


def test_says_the_energies_and_a_remedy():
    health = EnergyHealth()
    health.advice(1, {'out_d_real': 0.01, 'out_d_fake': 0.02, 'l_d_fake': 0.0})
    (sentence,) = health.advice(2, {'out_d_real': 5.0, 'out_d_fake': 1e12, 'l_d_fake': -1e12})
    assert 'margin: adaptive' in sentence
    assert 'U(real) = 5, U(fake) = 1e+12' in sentence


BLIND_LINE = {'out_d_real': 0.01, 'out_d_fake': 0.009, 'l_d_fake': 0.0}


def test_goes_on_after_resuming():
    before, after = EnergyHealth(), EnergyHealth()
    assert [before.advice(iteration, BLIND_LINE) for iteration in (10, 20)] == [[], []]
    after.load_state_dict(before.state_dict())
    assert after.advice(20, BLIND_LINE) == []
    (sentence,) = after.advice(30, BLIND_LINE)
    assert sentence.startswith(BLIND)
    assert after.advice(40, {'out_d_real': 0.11, 'out_d_fake': 0.12, 'l_d_fake': 0.0})[0].startswith(EXPLODES)
