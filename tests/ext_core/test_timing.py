"""Alternating timings: the order, what is counted, and the ratios."""

from ext_core.use import cost as timing


def test_order_rotates_and_the_first_round_is_not_counted(monkeypatch):
    clock = iter(float(tick * tick) for tick in range(100))
    monkeypatch.setattr(timing.time, 'perf_counter', lambda: next(clock))
    called: list[str] = []
    seconds = timing.alternate({name: lambda name=name: called.append(name) for name in 'abc'}, rounds=2)
    assert ''.join(called) == 'abcbcacab'
    # the k-th call lasts from (2 k)^2 to (2 k + 1)^2
    assert seconds == {'a': [21.0, 29.0], 'b': [13.0, 33.0], 'c': [17.0, 25.0]}


def test_ratio_is_that_of_neighbours():
    result = timing.ratio([2.0, 4.0, 12.0], [1.0, 2.0, 3.0])
    assert result == {'median': 2.0, 'quartiles': [2.0, 4.0]}
