#!/usr/bin/env bash
# The model inside the package, exactly as it was made: corpus, shards, training, int8, card.
# Hardware: 2 cores of an x86-64 CPU with AVX2, shared with other work. Time, curve and result: src/cutaway/builtin/README.md.
# Resumable: run it again and each step goes on where it was. `make test` installs all that it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-runs/out}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out"

[ -f "$out/corpus/wikipedia-valid.jsonl.xz" ] || "$python" runs/corpus.py --out "$out/corpus"

shard() { # NAME FILE...
    [ -f "$out/$1.npy" ] || "$python" -m cutaway.data.prepare "${@:2}" --out "$out/$1.npy"
}
shard books-train "$out"/corpus/books-train-{0,1,2}.jsonl.xz
shard wikipedia-train "$out/corpus/wikipedia-train.jsonl.xz"
shard books-valid "$out/corpus/books-valid.jsonl.xz"

"$python" -m cutaway.training.pretrain --out "$out/run" --save-every 100 \
    --train "$out/books-train.npy" "$out/wikipedia-train.npy" --valid "$out/books-valid.npy" \
    --n-layer 8 --n-head 6 --n-embd 192 --n-ctx 512 \
    --batch-size 4 --steps 2300 --warmup 100 --decay 400 --full 30 --lr 3e-3 --seed 1

"$python" -m cutaway convert "$out/run/checkpoint" src/cutaway/builtin --dtype int8 --overwrite
rm src/cutaway/builtin/{vocab.json,merges.txt,tokenizer_config.json} # the package has them already
"$python" runs/card.py --run "$out/run" --valid "$out/corpus/books-valid.jsonl.xz"
