#!/usr/bin/env bash
# Install the peers that `python -m bench.compare` measures, each in an environment of its own, and write the one model that
# all run in the format of each. Everything goes to .peers/: 4 GB, and half an hour on two cores, most of it to compile
# llama.cpp. What is there already is kept; a peer that cannot be installed is left out, and compare.py reports it.
#
#   bench/setup_peers.sh [NAME ...]     only these of transformers, ctranslate2, openvino, llama_cpp and nanogpt
#
# PYTHON=python3.12, TORCH_INDEX=... and JOBS=2 (to compile with) may be set.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
JOBS=${JOBS:-2}
PEERS=.peers
MODELS=$PEERS/models
LIBRARIES=" ${*:-transformers ctranslate2 openvino llama_cpp nanogpt} "
NANOGPT=3adf61e154c3fe3fca428ad6bc3818b27a3b8291
export PIP_DISABLE_PIP_VERSION_CHECK=1
mkdir -p "$MODELS"

wanted() { [[ $LIBRARIES == *" $1 "* ]]; }

# environment NAME ARGUMENTS...: a virtual environment with what `pip install ARGUMENTS` brings, made once.
environment() {
    local directory=$PEERS/$1
    shift
    [ -e "$directory/.installed" ] && return
    echo "Installing $directory ..."
    "$PYTHON" -m venv "$directory"
    "$directory/bin/python" -m pip install --quiet "$@" && touch "$directory/.installed"
}

# model NAME COMMAND...: a file or directory in .peers/models that the command, given its path last, writes once.
model() {
    local path=$MODELS/$1
    shift
    [ -e "$path" ] && return
    echo "Writing $path ..."
    rm -rf "$MODELS/part"
    "$@" "$MODELS/part" >"$PEERS/model.log" 2>&1 || { tail -n 3 "$PEERS/model.log"; return 1; }
    mv "$MODELS/part" "$path"
}

run() { "$PEERS/$1/bin/python" -m "${@:2}"; }

# llama.cpp's choice of "native" code dies where the processor has AMX and the kernel keeps it back, so the instruction
# sets are chosen here by what the kernel shows, AMX never. Elsewhere than on Linux and x86-64 the choice is its own.
llama_flags() {
    [ "$(uname -sm)" = "Linux x86_64" ] || return 0
    local flag feature
    echo -n "-DGGML_NATIVE=OFF"
    for flag in SSE42:sse4_2 AVX:avx AVX2:avx2 BMI2:bmi2 FMA:fma F16C:f16c AVX_VNNI:avx_vnni AVX512:avx512vl \
        AVX512_VNNI:avx512_vnni AVX512_VBMI:avx512_vbmi AVX512_BF16:avx512_bf16; do
        feature=$(grep -qw "${flag#*:}" /proc/cpuinfo && echo ON || echo OFF)
        echo -n " -DGGML_${flag%:*}=$feature"
    done
}

torch=(${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"})

if wanted nanogpt && [ ! -e "$PEERS/nanoGPT/model.py" ]; then # which `python -m bench.train` imports
    git clone --quiet https://github.com/karpathy/nanoGPT "$PEERS/nanoGPT" || true
    git -C "$PEERS/nanoGPT" checkout --quiet "$NANOGPT" || true
fi
[ "$LIBRARIES" = " nanogpt " ] && exit

environment cutaway --constraint constraints.txt --editable .
environment convert "${torch[@]}" --requirement bench/peers/convert.txt || true
model float16 run cutaway bench.models.checkpoints random
model float32 run cutaway bench.models.checkpoints float32 "$MODELS/float16"
model int8 run cutaway bench.models.checkpoints int8 "$MODELS/float16"

if wanted transformers; then
    environment transformers "${torch[@]}" --requirement bench/peers/transformers.txt || true
fi
if wanted ctranslate2; then
    environment ctranslate2 --requirement bench/peers/ctranslate2.txt || true
    convert=$PEERS/convert/bin/ct2-transformers-converter
    model ctranslate2-float32 "$convert" --model "$MODELS/float32" --output_dir || true
    model ctranslate2-int8 "$convert" --model "$MODELS/float32" --quantization int8 --output_dir || true
fi
if wanted openvino; then
    environment openvino --requirement bench/peers/openvino.txt || true
    model openvino-float16 run convert bench.models.openvino float16 "$MODELS/float32" || true
    model openvino-int8 run convert bench.models.openvino int8 "$MODELS/float32" || true
fi
if wanted llama_cpp; then # never what pip has kept of another build: it does not ask with which flags
    CMAKE_ARGS="$(llama_flags) -DGGML_LLAMAFILE=ON -DLLAVA_BUILD=OFF" CMAKE_BUILD_PARALLEL_LEVEL=$JOBS \
        environment llama_cpp --no-cache-dir --no-binary llama-cpp-python --requirement bench/peers/llama_cpp.txt || true
    model gpt2-F16.gguf run convert bench.models.gguf_f16 "$MODELS/float32" || true
    model gpt2-Q8_0.gguf run llama_cpp bench.models.gguf_q8_0 "$MODELS/gpt2-F16.gguf" || true
fi

cc -O3 -march=native -pthread -o "$PEERS/probe" bench/probe.c || true
echo "Ready: .venv/bin/python -m bench.compare"
