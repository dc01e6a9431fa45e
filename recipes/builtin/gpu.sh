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
    [ -f "$shards/books/manifest.json" ] || "$python" -m recipes.builtin.prepare --unpack "$kept" --out "$shards"
    if [ -n "${DRY:-}" ]; then
        machine=(--device cpu --dtype float32 --max-time 20s --sampled-vocab 4096)
        shape=(--n-layer 2 --n-head 2 --n-embd 64 --n-ctx 64 --batch-size 8)
        weights=(4 1 1 1 1)
    else
        machine=(--device cuda --dtype bfloat16 --compile --sampled-vocab 16384 --max-time "${MAX_TIME:-500}s")
        shape=(--n-layer 9 --n-head 6 --n-embd 384 --n-ctx 1024 --batch-size 128)
        weights=(38 14 8 58 10)
    fi
    "$python" -m cutaway train --out /tmp/cutaway-run "${machine[@]}" "${shape[@]}" \
        --data "$shards"/{stories,simple-books,dialogues,books,wikipedia} --weights "${weights[@]}" \
        --hold 0.3 --matrix-lr 0.008 --lr 0.006 --weight-decay 0.1 --eval-every 500 --save-every 0 --no-keep-best --seed 1
    cp /tmp/cutaway-run/{metrics.jsonl,config.json} "$out"
    "$python" -m recipes.builtin.parts split /tmp/cutaway-run/model "$out"
    ;;
*) echo "gpu.sh: collect FOLDER or train, not $1" >&2 && exit 2 ;;
esac
