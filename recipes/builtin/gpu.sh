#!/usr/bin/env bash
# A larger built-in model on one GPU in ten minutes, from shards that were packed before (prepare.py --pack).
#
#   bash recipes/builtin/gpu.sh collect FOLDER   keep what came with this call: a folder of pieces, outside the checkout
#   bash recipes/builtin/gpu.sh train            unpack, train for --max-time seconds, leave the weights in $OUT
#   DRY=1 bash recipes/builtin/gpu.sh train      the same in miniature on a CPU, to see that every step works
#
# Needs PyTorch and NumPy, and the packages tokenizers and huggingface_hub in $PACKAGES where they are not installed. The schedule follows the clock, so that a slower card still finishes its cooldown.
set -euo pipefail
cd "$(dirname "$0")/../.."
kept=${KEPT:-/tmp/cutaway-packed}
python=${PYTHON:-python3}
export PYTHONPATH=src:.:${PACKAGES:-recipes/out/packages} PYTHONUNBUFFERED=1

case ${1:?collect FOLDER or train} in
collect)
    mkdir -p "$kept"
    cp -r "${2:?the folder of pieces}"/. "$kept"
    du -sh "$kept"
    ;;
train)
    out=${OUT:?a folder for the results}
    shards=${SHARDS:-/tmp/cutaway-shards}
    [ -f "$shards/books-0.npy" ] || "$python" -m recipes.builtin.prepare --unpack "$kept" --out "$shards"
    if [ -n "${DRY:-}" ]; then
        machine=(--device cpu --dtype float32 --max-time 20 --chunk 64)
        shape=(--n-layer 2 --n-head 2 --n-embd 64 --n-ctx 64 --rows 8 --short 64)
        mixture=stories=4,simple-books=1,dialogues=1,books=1,wikipedia=1
    else
        machine=(--device cuda --dtype bfloat16 --compile --max-time "${MAX_TIME:-520}" --chunk 8192)
        shape=(--n-layer 9 --n-head 6 --n-embd 384 --n-ctx 1024 --rows 128 --short 1024)
        mixture=stories=56,simple-books=20,dialogues=8,books=34,wikipedia=10
    fi
    "$python" -m cutaway.training.pretrain --data "$shards" --out /tmp/cutaway-run --mixture "$mixture" \
        "${machine[@]}" "${shape[@]}" --short-tokens 0 --tokens 2e9 --hold 0.6e9 --full 1 --validate 500 \
        --matrix-lr 0.008 --table-lr 0.006 --vector-lr 0.015 --save-minutes 30 --seed 1 | tail -n 3
    cp /tmp/cutaway-run/{log.jsonl,recipe.json} "$out"
    "$python" -m recipes.builtin.parts /tmp/cutaway-run/checkpoint "$out"
    ;;
*) echo "gpu.sh: collect FOLDER or train, not $1" >&2 && exit 2 ;;
esac
