"""The Triton kernels, compiled for GPUs that are not here: what launches them runs on a CPU, and is heard."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMPILE = """
import inspect
import torch
from triton import JITFunction
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from cutaway.config import GPT2Config
from cutaway.engines.pytorch import decoding, fused
from cutaway.engines.pytorch.model import GPT2

NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32", torch.int32: "i32", torch.int64: "i64"}
SHARED = 99 * 1024  # bytes of a block on the smallest of these GPUs
sources = {}


def listen(kernel, *arguments, grid, warmup, **named):
    given = inspect.signature(kernel.fn).bind(*arguments, **{n: x for n, x in named.items() if n in kernel.arg_names})
    signature, constants, attributes = {}, {}, {}
    for place, (name, value) in enumerate(given.arguments.items()):
        if value is None or name.isupper():
            signature[name] = "constexpr"
            constants[(place,)] = value
        elif isinstance(value, torch.Tensor):
            signature[name] = "*" + NAMES[value.dtype]
            attributes[(place,)] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32" if value < 2**31 else "i64"
            if value % 16 == 0:
                attributes[(place,)] = [["tt.divisibility", 16]]
    options = {name: value for name, value in named.items() if name in ("num_warps", "num_stages")}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    sources[kernel.fn.__name__, str(signature), str(constants)] = (source, options)


JITFunction.run = listen

config = GPT2Config(n_vocab=100, n_ctx=1024, n_embd=768, n_head=12, n_layer=2)
model = GPT2(config, compute_dtype=torch.bfloat16)
model.is_fused = True
model.hidden(torch.zeros(1, 16, dtype=torch.long)).float().sum().backward()
logits = torch.zeros(16, 50304, dtype=torch.bfloat16)
arguments = (logits, torch.zeros(50304), torch.zeros(16, dtype=torch.long))
for is_sampled in (False, True):
    fused.cross_entropy_slope(*arguments, n_vocab=50257, is_sampled=is_sampled, smoothing=0.1)
for dtype in (torch.bfloat16, torch.float16, torch.float32):
    qkv = torch.zeros(3, decoding.GRAPH_ROWS, 12, 1, 64, dtype=dtype)
    rows = torch.zeros(decoding.GRAPH_ROWS, dtype=torch.long)
    for offset in (0, 2**33):
        decoding.attend_next(*qkv, rows, rows, rows, torch.zeros(32, 12, dtype=torch.int32), 1024, offset)

for name, *_ in sources:
    print(name)
for source, options in sources.values():
    for capability in (80, 90):
        compiled = compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        assert "ld.global" in compiled.asm["ptx"]
        assert compiled.metadata.shared <= SHARED
"""

KERNELS = {
    "_attend_next",
    "add_norm_backward",
    "add_norm_forward",
    "cross_entropy",
    "gelu_backward",
    "gelu_forward",
    "join_heads",
}


@pytest.mark.slow
def test_every_kernel_compiles(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", COMPILE]
    found = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert set(found.stdout.split()) == KERNELS
