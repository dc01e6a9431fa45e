#!/usr/bin/env bash
# The model inside the package, exactly as it was made: ten minutes of one GPU, on a machine that is reached by copying
# folders of at most 45 MB. What it cost and what came of it: src/cutaway/builtin/text/README.md.
#
#   bash recipes/builtin/gpu.sh pack             here: tokenize the corpus and compress it into $KEPT
#   bash recipes/builtin/gpu.sh collect FOLDER   there: keep what came with this call, a folder of pieces
#   bash recipes/builtin/gpu.sh train            there: unpack, train for $MAX_TIME seconds, leave the weights in $OUT
#   DRY=1 bash recipes/builtin/gpu.sh train      the same in miniature on a CPU, to see that every step works
#   bash recipes/builtin/gpu.sh finish FOLDER    here: join the weights, round them to int8, measure, write the card
#
# Needs PyTorch and NumPy, and the packages tokenizers and huggingface_hub in $PACKAGES where they are not installed. The
# schedule follows the clock, so that a slower card still finishes its cooldown.
set -euo pipefail
cd "$(dirname "$0")/../.."
kept=${KEPT:-/tmp/cutaway-packed}
python=${PYTHON:-python3}
export PYTHONPATH=src:.:${PACKAGES:-recipes/out/packages} PYTHONUNBUFFERED=1

corpus=${CORPUS:-recipes/out/corpus}

case ${1:?pack, collect FOLDER, train or finish FOLDER} in
pack)
    [ -f "$corpus/simple-valid.jsonl.xz" ] || "$python" -m recipes.corpus --out "$corpus"
    [ -f "$corpus/simple-books.txt" ] || { echo "put simple-books.txt into $corpus (docs/corpus.md)" >&2; exit 1; }
    "$python" -m recipes.builtin.prepare --corpus "$corpus" --out recipes/out/shards --pack "$kept"
    ;;
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
    mkdir -p "$out/run"
    cp /tmp/cutaway-run/{metrics.jsonl,config.json} "$out/run"
    "$python" -m recipes.builtin.parts split /tmp/cutaway-run/model "$out"
    ;;
finish)
    joined=$(mktemp -d)
    "$python" -m recipes.builtin.parts join "${2:?the folder of parts}" "$joined/model"
    cp recipes/builtin/generation_config.json "$joined/model"
    "$python" -m cutaway convert "$joined/model" src/cutaway/builtin/text --dtype int8 --overwrite
    rm -f src/cutaway/builtin/text/{vocab.json,merges.txt,tokenizer_config.json} # the package has them already
    "$python" -m recipes.builtin.card --run "$2/run" --corpus "$corpus"
    ;;
*) echo "gpu.sh: pack, collect FOLDER, train or finish FOLDER, not $1" >&2 && exit 2 ;;
esac
