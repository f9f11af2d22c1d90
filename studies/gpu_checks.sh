#!/bin/sh
# Everything that needs a GPU to be known, in at most 12 minutes: sh studies/gpu_checks.sh [OUTPUT] [TRAINNER_REDUX]
# Run scripts/get_weights.py vgg16 alexnet before. Without a GPU it tries what the processor can, and says what is left out.
set -eu
cd "$(dirname "$0")/.."
output=${1:-results/gpu_checks}
python=${PYTHON:-.venv/bin/python}
exec timeout --kill-after=30 720 "$python" studies/gpu_checks.py --output "$output" ${2:+--redux "$2"}
