#!/usr/bin/env bash
# What relative attention is worth: two models of the chorales of one shape, with and without it, three seeds each.
# CHORALES is as in chorales.sh. Resumable: run it again.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${OUT:-recipes/out/relative}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out"

[ -f "$out/shards/manifest.json" ] ||
    "$python" -m cutaway data prepare --codec satb16 "${CHORALES:?the file of chorales}" --out "$out/shards" --copies 12

for seed in 1 2 3; do
    for distances in 0 256; do
        [ -d "$out/$distances-$seed/model" ] ||
            "$python" -m cutaway train --out "$out/$distances-$seed" --data "$out/shards" \
                --relative-positions "$distances" --dtype "${DTYPE:-bfloat16}" --threads "${THREADS:-1}" \
                --max-steps "${STEPS:-300}" --n-layer 4 --n-head 4 --n-embd 96 --n-ctx 256 --batch-size 16 --dropout 0.1 \
                --matrix-lr 0.01 --lr 0.006 --hold 0.3 --eval-every 100 --eval-tokens 40000 --seed "$seed"
    done
done
for run in "$out"/*-*/; do echo "$(basename "$run") $(grep '"kind": "eval"' "$run/metrics.jsonl" | tail -n 1)"; done
