#!/usr/bin/env bash
# A model of J. S. Bach's chorales, four voices on a grid of sixteenths, trained in less than an hour on one core.
# CHORALES is a JSON file with lists of chorales under "train" and "valid". Resumable: run it again.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${OUT:-recipes/out/chorales}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out"

[ -f "$out/shards/manifest.json" ] ||
    "$python" -m cutaway data prepare --codec satb16 "${CHORALES:?the file of chorales}" --out "$out/shards" --copies 12

"$python" -m cutaway train --out "$out/run" --data "$out/shards" \
    --dtype "${DTYPE:-bfloat16}" --threads "${THREADS:-1}" --max-steps "${STEPS:-1000}" \
    --n-layer 5 --n-head 4 --n-embd 128 --n-ctx 384 --batch-size 16 --dropout 0.1 \
    --matrix-lr 0.01 --lr 0.006 --hold 0.3 --eval-every 100 --eval-tokens 40000 --seed "${SEED:-1}"
