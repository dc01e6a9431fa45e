"""A checkpoint as GGUF with float16 matrices. llama.cpp's own converter does the same, but is not in its package.

python -m bench.models.gguf_f16 CHECKPOINT FILE
"""

import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, LlamaFileType, TokenType  # type: ignore[import-not-found]
from numpy.typing import NDArray
from safetensors.numpy import load_file

NAMES = {
    "wte": "token_embd",
    "wpe": "position_embd",
    "ln_f": "output_norm",
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


def main() -> None:
    """Write FILE."""
    checkpoint, file = map(Path, sys.argv[1:])
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    writer = GGUFWriter(file, "gpt2")
    _add_shape(writer, config)
    _add_vocabulary(writer, checkpoint)
    for name, tensor in load_file(checkpoint / "model.safetensors").items():
        writer.add_tensor(_renamed(name), _stored(name, tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: GGUFWriter, config: dict[str, int]) -> None:
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(config["n_inner"] or 4 * config["n_embd"])
    writer.add_block_count(config["n_layer"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    writer.add_file_type(LlamaFileType.MOSTLY_F16)


def _add_vocabulary(writer: GGUFWriter, checkpoint: Path) -> None:
    """llama.cpp loads no model without one, though the benchmark has no text."""
    vocabulary: dict[str, int] = json.loads((checkpoint / "vocab.json").read_text(encoding="utf-8"))
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    merges = (checkpoint / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]  # after its version
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.NORMAL] * (len(tokens) - 1) + [TokenType.CONTROL])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_eos_token_id(len(tokens) - 1)


def _renamed(name: str) -> str:
    """`transformer.h.3.attn.c_attn.weight` is `blk.3.attn_qkv.weight` there."""
    path, _, kind = name.removeprefix("transformer.").rpartition(".")
    if not path.startswith("h."):
        return f"{NAMES[path]}.{kind}"
    _, layer, part = path.split(".", 2)
    return f"blk.{layer}.{NAMES[part]}.{kind}"


def _stored(name: str, tensor: NDArray[np.float32]) -> NDArray[np.float32] | NDArray[np.float16]:
    """Matrices as float16 (out, in); everything else, and the positions, as float32."""
    if tensor.ndim == 1 or "wpe" in name:
        return tensor.astype(np.float32)
    return np.ascontiguousarray(tensor if "wte" in name else tensor.T).astype(np.float16)


if __name__ == "__main__":
    main()
