"""What methods cost: parameters and multiply-adds, which belong to a network, and times, which belong to a machine."""

import json
import platform
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from ext_core.atomic import atomic_write_text
from ext_core.networks.complexity import multiply_adds, parameter_count
from ext_core.use.benchmark import Benchmark
from ext_core.use.evaluation import read
from ext_core.use.jobs import fingerprint
from ext_core.use.methods import Bicubic, Nearest, NetworkFile, hash_of
from ext_core.use.timing import alternate, ratio

HD = 1280 * 720  # pixels of the result for which papers count multiply-adds
_SIDE = 48  # px of the LR image on which they are counted; convolutions need the same for every pixel
Cost = dict[str, Any]


def costs(benchmark: Benchmark, rounds: int, say: Callable[[str], None] = print) -> dict[tuple[str, int], Cost]:
    """Costs by method and scale, of those that have any; kept in ``<output>/costs.json``.

    ``parameters``; ``multiply_adds``, for a result of 1280 x 720; ``seconds`` for an image, the median; ``megapixel``,
    seconds for a megapixel of the result; ``time_ratio``, to the first method of the command line, medians of
    neighbours in time. What cannot be counted or run is missing, and reported in ``benchmark.failures``.

    Args:
        benchmark (Benchmark): Its sets and methods.
        rounds (int): How often each method is timed, at least 2; 0 leaves the times out.
        say (Callable[[str], None]): Gets a line for each thing that goes wrong.
    """
    path = benchmark.output / 'costs.json'
    try:
        known = dict(json.loads(path.read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError):  # absent or damaged: counted anew
        known = {}
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
                        say(f'{upscaler.name}: multiply-adds unknown, {type(error).__name__}: {error}')
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
            if key not in known:
                low, variants = read(place.low), {}
                for name, upscaler in timed.items():
                    try:
                        upscaler.enlarge(low, scale)
                    except Exception as error:  # the others are still worth timing
                        benchmark.failures.append(f'{name}, {place.set_name}, {place.name}, time, seconds: {error}')
                        say(f'{name}: not timed, {type(error).__name__}: {error}')
                        continue
                    variants[name] = partial(upscaler.enlarge, low, scale)
                seconds = alternate(variants, rounds)
                first, pixels = next(iter(seconds.values())), place.size[0] * place.size[1]
                times = {}
                for name, values in seconds.items():
                    times[name] = {'seconds': statistics.median(values), 'time_ratio': ratio(values, first)['median']}
                    times[name]['megapixel'] = times[name]['seconds'] * 1e6 / pixels
            else:
                times = known[key]
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
