"""Paired differences of a study's rows from one of them, with intervals: each seed and each image with its own partner.

Example:
    python studies/paired.py results/readings --baseline bsds400_compact_gan

After studies/mask_study.py: reads <output>/runs/*/result.json. The interval holds 95 % of the differences that drawing
seeds, and images of the set, again with replacement gives (percentiles of 10,000 bootstrap samples, fixed seed): the
scatter of trainings and that of photographs. `seeds` counts those whose difference has the sign of the mean.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ext_core.use.tables import table_text

SAMPLES = 10_000
Values = dict[tuple[str, str], dict[int, dict[str, float]]]  # of a recipe: (set, metric), then seed, then image


def read(output: Path) -> dict[str, Values]:
    """The values of all finished runs, by recipe."""
    recipes: dict[str, Values] = {}
    for file in sorted(output.glob('runs/*/result.json')):
        recipe, _, seed = file.parent.name.removeprefix(f'{output.name}_').rpartition('_seed')
        for name, metrics in json.loads(file.read_text()).items():
            for metric, images in metrics.items():
                recipes.setdefault(recipe, {}).setdefault((name, metric), {})[int(seed)] = images
    return recipes


def difference(row: dict[int, dict], base: dict[int, dict]) -> tuple[float, float, float, int, int]:
    """Mean, 2.5 and 97.5 % of the bootstrap, seeds with the mean's sign, seeds."""
    seeds = sorted(row.keys() & base.keys())
    images = [name for name, value in row[seeds[0]].items() if value is not None]
    table = np.array([[row[seed][name] - base[seed][name] for name in images] for seed in seeds])
    rng = np.random.default_rng(0)
    of_seeds = rng.integers(len(seeds), size=(SAMPLES, len(seeds)))
    of_images = rng.integers(len(images), size=(SAMPLES, len(images)))
    means = np.array([table[one][:, other].mean() for one, other in zip(of_seeds, of_images, strict=True)])
    low, high = np.percentile(means, [2.5, 97.5])
    agree = int((np.sign(table.mean(1)) == np.sign(table.mean())).sum())
    return float(table.mean()), low, high, agree, len(seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('output', type=Path, help='of the study')
    parser.add_argument('--baseline', required=True, metavar='RECIPE')
    args = parser.parse_args()
    recipes = read(args.output)
    if args.baseline not in recipes:
        parser.error(f'--baseline: {args.output} has {", ".join(recipes) or "no results"}.')
    base = recipes.pop(args.baseline)
    lines = [['set', 'recipe', 'metric', 'difference', '95 %', 'seeds']]
    for (name, metric), values in base.items():
        for recipe, others in recipes.items():
            mean, low, high, agree, count = difference(others[name, metric], values)
            interval = f'{low:+.4f} to {high:+.4f}'
            lines.append([name, recipe, metric, f'{mean:+.4f}', interval, f'{agree} of {count}'])
    print(table_text(lines))


if __name__ == '__main__':
    main()
