"""The tensors of a GPT-2: the name, shape, kind and orientation of each. No other code derives these from a name.

Names are OpenAI's, as in a checkpoint. OpenAI's linear layers (`conv1d`) store their weight as (in, out); the
embeddings are (out, in), if `wte` is read as the output matrix of a tied head. Relative attention, which OpenAI's
models do not have, adds a table to each block.
"""

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["embedding", "positions", "relative", "linear", "bias", "gain"]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of the model: its name in a checkpoint, its shape there, and what it is for.

    >>> TensorSpec("h.0.mlp.c_fc.weight", (768, 3072), "linear").transposed
    True
    """

    name: str
    shape: Shape
    kind: Kind

    @property
    def transposed(self) -> bool:
        """True if the matrix is stored as (in, out), False for (out, in)."""
        return self.kind == "linear"

    @property
    def quantisable(self) -> bool:
        """True for matrices that multiply activations; positions, biases and LayerNorms stay floats."""
        return self.kind in ("embedding", "linear")

    @property
    def size(self) -> int:
        """Number of parameters."""
        return math.prod(self.shape)

    @property
    def inputs(self) -> int:
        """Number of inputs of a matrix."""
        return self.shape[0 if self.transposed else 1]


def gpt2_tensors(
    *,
    n_vocab: int,
    n_ctx: int,
    n_embd: int,
    n_layer: int,
    n_inner: int,
    tied: bool,
    relative: tuple[int, int, int] | None = None,
) -> dict[str, TensorSpec]:
    """Return the specs of all tensors in OpenAI's order, by name.

    `relative` is the shape of each block's table of relative positions, (heads, distances, d_head); None: no table.

    >>> specs = gpt2_tensors(n_vocab=50257, n_ctx=1024, n_embd=768, n_layer=12, n_inner=3072, tied=True)
    >>> len(specs), specs["h.0.attn.c_attn.weight"].shape
    (148, (768, 2304))
    """
    block: dict[str, tuple[Shape, Kind]] = {
        "ln_1.weight": ((n_embd,), "gain"),
        "ln_1.bias": ((n_embd,), "bias"),
        "attn.c_attn.weight": ((n_embd, 3 * n_embd), "linear"),
        "attn.c_attn.bias": ((3 * n_embd,), "bias"),
        "attn.c_proj.weight": ((n_embd, n_embd), "linear"),
        "attn.c_proj.bias": ((n_embd,), "bias"),
        "ln_2.weight": ((n_embd,), "gain"),
        "ln_2.bias": ((n_embd,), "bias"),
        "mlp.c_fc.weight": ((n_embd, n_inner), "linear"),
        "mlp.c_fc.bias": ((n_inner,), "bias"),
        "mlp.c_proj.weight": ((n_inner, n_embd), "linear"),
        "mlp.c_proj.bias": ((n_embd,), "bias"),
    }
    if relative is not None:
        block["attn.relative.weight"] = (relative, "relative")
    specs = [
        TensorSpec("wte.weight", (n_vocab, n_embd), "embedding"),
        TensorSpec("wpe.weight", (n_ctx, n_embd), "positions"),
        *(TensorSpec(f"h.{layer}.{name}", *block[name]) for layer in range(n_layer) for name in block),
        TensorSpec("ln_f.weight", (n_embd,), "gain"),
        TensorSpec("ln_f.bias", (n_embd,), "bias"),
    ]
    if not tied:
        specs.append(TensorSpec("lm_head.weight", (n_vocab, n_embd), "embedding"))
    return {spec.name: spec for spec in specs}
