#!/usr/bin/env bash
# Leads of Wikipedia's articles at a context of 4,096 tokens, from the built-in model with its context made longer.
# ARTICLES and HELD_OUT are wikipedia-train.jsonl.xz and wikipedia-valid.jsonl.xz. Resumable: run it again.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${OUT:-recipes/out/wiki-lead}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out"

[ -s "$out/train.jsonl" ] || "$python" recipes/summarization/prepare.py "${ARTICLES:?the articles}" "$out/train.jsonl"
[ -s "$out/valid.jsonl" ] || "$python" recipes/summarization/prepare.py "${HELD_OUT:?those held out}" "$out/valid.jsonl"
[ -d "$out/base" ] || "$python" recipes/summarization/longer_context.py builtin 4096 "$out/base"
"$python" -m cutaway finetune --task wiki-lead --model "$out/base" --out "$out/run" \
    --data "$out/train.jsonl" --valid "$out/valid.jsonl" --epochs "${EPOCHS:-1}" --batch-size 8 \
    --dtype "${DTYPE:-bfloat16}" --threads "${THREADS:-1}" --seed 1
"$python" -m cutaway eval --task wiki-lead "$out/valid.jsonl" --model "$out/run/model"
