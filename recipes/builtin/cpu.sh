#!/usr/bin/env bash
# A model like the one inside the package without a GPU: half the size, a twelfth of the text, one night of two cores.
# What came of it: docs/log.md (2026-11-27). Resumable: run it again, and each step continues where it was.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${OUT:-recipes/out}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out"

[ -f "$out/corpus/simple-valid.jsonl.xz" ] || "$python" -m recipes.corpus --out "$out/corpus"
[ -f "$out/corpus/simple-books.txt" ] || { echo "put simple-books.txt into $out/corpus (docs/corpus.md)" >&2; exit 1; }
"$python" -m recipes.builtin.prepare --corpus "$out/corpus" --out "$out/shards"

# bfloat16 is several times faster where the processor multiplies it (`grep -o avx512_bf16 /proc/cpuinfo`), and slower
# elsewhere: there DTYPE=float32. --compile needs a C++ compiler.
"$python" -m cutaway train --out "$out/run" \
    --data "$out"/shards/{stories,simple-books,dialogues,books,wikipedia} --weights 15 5 2 8 2 \
    --dtype "${DTYPE:-bfloat16}" --compile --threads 2 --max-steps 3906 --hold 0.6111 \
    --n-layer 8 --n-head 4 --n-embd 256 --n-ctx 512 --batch-size 32 --short-ctx 256 --short-steps 1220 \
    --matrix-lr 0.006 --lr 0.004 --sampled-vocab 8192 --full-softmax 0.05 --eval-every 500 --seed 1

cp recipes/builtin/generation_config.json "$out/run/model/"
"$python" -m cutaway convert "$out/run/model" "$out/model" --dtype int8 --overwrite
