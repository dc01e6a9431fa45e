#!/usr/bin/env bash
# What the two switches of a task are worth: attention over the source (causal or prefix) and loss (on the target, or
# on all), three small translators on the same pairs; with a prefix each token of the source sees the next one, so that
# there is nothing to learn of it. DATA is the directory of prepare.py, TOKENIZER its tokenizer. Resumable: run it again.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${OUT:-recipes/out/ablation}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out"

for name in causal-all causal-completion prefix-completion; do
    attention=${name%-*}
    learn=${name#*-}
    sed -e "s/^attention = .*/attention = \"$attention\"/" -e "s/^learn = .*/learn = \"$learn\"/" \
        src/cutaway/tasks/builtin/translation.toml > "$out/$name.toml"
    [ -d "$out/$name/model" ] ||
        "$python" -m cutaway train --out "$out/$name" --task "$out/$name.toml" \
            --data "${DATA:?the directory of prepare.py}/train.jsonl" --valid "$DATA/valid.jsonl" \
            --tokenizer "${TOKENIZER:?its tokenizer}" --n-layer 4 --n-head 4 --n-embd 192 --n-ctx 128 --dropout 0.1 \
            --label-smoothing 0.1 --batch-size 64 --max-steps "${STEPS:-300}" --warmup-steps 50 \
            --dtype "${DTYPE:-bfloat16}" --threads "${THREADS:-1}" --eval-every 100 --eval-tokens 16384 --save-every 100
    if [ ! -s "$out/$name.json" ]; then
        "$python" -m cutaway eval --task "$out/$name/model/task.toml" "$DATA/test.jsonl" --model "$out/$name/model" \
            --limit 1000 --json > "$out/$name.json.part"
        mv "$out/$name.json.part" "$out/$name.json"
    fi
done
