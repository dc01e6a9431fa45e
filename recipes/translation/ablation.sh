#!/usr/bin/env bash
# What the two switches of a task are worth: attention over the source (causal or prefix) times loss (on the target, or
# on all), four small translators on the same pairs. DATA is the directory of prepare.py, TOKENIZER its tokenizer.
# Resumable: run it again.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${OUT:-recipes/out/ablation}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out"

for attention in causal prefix; do
    for learn in completion all; do
        name=$attention-$learn
        sed -e "s/^attention = .*/attention = \"$attention\"/" -e "s/^learn = .*/learn = \"$learn\"/" \
            src/cutaway/tasks/builtin/translation.toml > "$out/$name.toml"
        [ -d "$out/$name/model" ] ||
            "$python" -m cutaway train --out "$out/$name" --task "$out/$name.toml" \
                --data "${DATA:?the directory of prepare.py}/train.jsonl" --valid "$DATA/valid.jsonl" \
                --tokenizer "${TOKENIZER:?its tokenizer}" --n-layer 4 --n-head 4 --n-embd 192 --n-ctx 128 --dropout 0.1 \
                --label-smoothing 0.1 --batch-size 64 --max-steps "${STEPS:-600}" --warmup-steps 50 \
                --dtype "${DTYPE:-bfloat16}" --threads "${THREADS:-1}" --eval-every 100 --eval-tokens 16384 --save-every 100
        [ -s "$out/$name.json" ] ||
            "$python" -m cutaway eval --task "$out/$name/model/task.toml" "$DATA/test.jsonl" --model "$out/$name/model" \
                --limit 1000 --json > "$out/$name.json.part"
        [ -s "$out/$name.json" ] || mv "$out/$name.json.part" "$out/$name.json"
    done
done
