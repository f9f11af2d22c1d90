"""What methods cost: parameters and multiply-adds, which belong to a network, and times, which belong to a machine."""

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from ext_core.atomic import atomic_write_text
from ext_core.networks.complexity import multiply_adds, parameter_count
from ext_core.use.benchmark import Benchmark
from ext_core.use.evaluation import read
from ext_core.use.jobs import fingerprint, read_record
from ext_core.use.methods import Bicubic, Nearest, NetworkFile, hash_of

HD = 1280 * 720  # pixels of the result for which papers count multiply-adds
_SIDE = 48  # px of the LR image on which they are counted; convolutions need the same for every pixel
Cost = dict[str, Any]


def costs(benchmark: Benchmark, rounds: int) -> dict[tuple[str, int], Cost]:
    """Costs by method and scale, of those that have any; kept in ``<output>/costs.json``.

    ``parameters``; ``multiply_adds``, for a result of 1280 x 720; ``seconds`` for an image, the median; ``megapixel``,
    seconds for a megapixel of the result; ``time_ratio``, to the first method of the command line, medians of
    neighbours in time. What cannot be counted or run is missing, and reported in ``benchmark.failures``. Each method is
    timed in so many rounds, at least 2; 0 leaves the times out.
    """
    path = benchmark.output / 'costs.json'
    known = read_record(path)
    found: dict[tuple[str, int], Cost] = {}
    for scale in dict.fromkeys(test_set.scale for test_set in benchmark.sets):
        sets = [test_set for test_set in benchmark.sets if test_set.scale == scale]
        upscalers = [upscaler for upscaler in benchmark.upscalers if any(map(upscaler.takes, sets))]
        for upscaler in upscalers:
            if isinstance(upscaler, NetworkFile):
                key = fingerprint('complexity', upscaler.identity(), scale)
                if not known.get(key):
                    net = upscaler.opened().net
                    known[key] = {'parameters': parameter_count(net)}
                    try:
                        of_probe = multiply_adds(net, (3, _SIDE, _SIDE))
                        known[key]['multiply_adds'] = of_probe * HD / (_SIDE * scale) ** 2
                    except Exception as error:  # an operation that the counter does not know
                        print(f'{upscaler.name}: multiply-adds unknown, {type(error).__name__}: {error}')
                found[upscaler.name, scale] = known[key]
        if rounds:
            # the image of median size; interpolation last, since the first method is the others' measure
            places = [place for test_set in sets for place in test_set.places]
            places.sort(key=lambda place: (place.size[0] * place.size[1], str(place.low)))
            place = places[len(places) // 2]
            upscalers.sort(key=lambda upscaler: isinstance(upscaler, Bicubic | Nearest))
            timed = {upscaler.name: upscaler for upscaler in upscalers if upscaler.timed}
            methods = [(name, upscaler.identity()) for name, upscaler in timed.items()]
            key = fingerprint('times', rounds, machine(), hash_of(place.low), methods)
            times = known.get(key, {})
            if not times:
                low, variants = read(place.low), {}
                for name, upscaler in timed.items():
                    try:
                        upscaler.enlarge(low, scale)
                    except Exception as error:  # the others are still worth timing
                        benchmark.failures.append(f'{name}, {place.set_name}, {place.name}, time, seconds: {error}')
                        print(f'{name}: not timed, {type(error).__name__}: {error}')
                        continue
                    variants[name] = partial(upscaler.enlarge, low, scale)
                seconds = alternate(variants, rounds)
                first = next(iter(seconds.values()))
                for name, values in seconds.items():
                    median = statistics.median(values)
                    times[name] = {'seconds': median, 'time_ratio': ratio(values, first)['median']}
                    times[name]['megapixel'] = median * 1e6 / (place.size[0] * place.size[1])
            if len(times) == len(timed):  # else the next run tries again
                known[key] = times
            for name, cost in times.items():
                found[name, scale] = found.get((name, scale), {}) | cost
    atomic_write_text(json.dumps(known, indent=1) + '\n', path)
    return found


def machine() -> str:
    """What times depend on, in words."""
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f'{platform.machine()} CPU'
    return f'{where}, {torch.get_num_threads()} threads, torch {torch.__version__}'


# ---------------------------------------------------------------------- on a machine whose speed changes
def alternate(variants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each variant, by its name, in each round, in an order that rotates; the device is waited for. A first
    round, which allocates, is not counted. With 2 rounds or more there are quartiles."""
    names = list(variants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds + 1):
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            started = time.perf_counter()
            variants[name]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            taken = time.perf_counter() - started
            if round_ > 0:
                seconds[name].append(taken)
    return seconds


def ratio(above: Sequence[float], below: Sequence[float]) -> dict:
    """Median and quartiles of the ratio within a round."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(above, below, strict=True)], n=4)
    return {'median': middle, 'quartiles': [low, high]}
