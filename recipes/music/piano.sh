#!/usr/bin/env bash
# A model of piano performances, trained on the 909 songs of POP909 (MIDI), melody and accompaniment on one piano.
# SONGS is the folder with the MIDI files. Resumable: run it again.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${OUT:-recipes/out/piano}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out"

[ -f "$out/shards/manifest.json" ] ||
    "$python" -m cutaway data prepare --codec perf388 "${SONGS:?the folder of MIDI files}" --out "$out/shards" \
        --valid 5% --copies 8

# bfloat16 is several times faster where the processor multiplies it (`grep -o avx512_bf16 /proc/cpuinfo`), and slower
# elsewhere: there DTYPE=float32.
"$python" -m cutaway train --out "$out/run" --data "$out/shards" \
    --dtype "${DTYPE:-bfloat16}" --threads "${THREADS:-1}" --max-steps "${STEPS:-1400}" \
    --n-layer 6 --n-head 8 --n-embd 256 --n-ctx 1024 --batch-size 16 --micro-batch-size 8 \
    --short-ctx 512 --short-steps "$((${STEPS:-1400} * 2 / 3))" \
    --hold 0.4 --eval-every 200 --eval-tokens 65536 --save-every 50 --seed "${SEED:-1}"
