#!/usr/bin/env bash
# The model inside the package, exactly as it was made: corpus, shards, training, int8, card. What it cost and what came
# of it: src/cutaway/builtin/README.md. Resumable: run it again, and each step continues where it was.
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
"$python" -m cutaway.training.pretrain --data "$out/shards" --out "$out/run" \
    --mixture stories=15,simple-books=5,dialogues=2,books=8,wikipedia=2 \
    --dtype "${DTYPE:-bfloat16}" --compile --threads 2 --tokens 23e6 --hold 14e6 \
    --n-layer 8 --n-head 4 --n-embd 256 --n-ctx 512 --rows 32 --short 256 --short-tokens 10e6 \
    --matrix-lr 0.006 --table-lr 0.004 --vector-lr 0.01 --full 0.04 --seed 1

cp recipes/builtin/generation_config.json "$out/run/checkpoint/"
"$python" -m cutaway convert "$out/run/checkpoint" src/cutaway/builtin --dtype int8 --overwrite
rm -f src/cutaway/builtin/{vocab.json,merges.txt,tokenizer_config.json} # the package has them already
"$python" -m recipes.builtin.card --run "$out/run" --corpus "$out/corpus"
