"""The names of everything that GPT-2 computes on the way from token ids to probabilities, and their shapes.

A number at the end is the layer's, from 0. T tokens, H heads of dh, d = n_embd, V = n_vocab; `cache.k` and `cache.v`
are what a KV cache holds after these tokens. A checkpoint's tensors have their own names ("h.0.attn.c_attn.weight").
"""

from cutaway.config import GPT2Config
from cutaway.errors import UsageError

Shape = tuple[int, ...]

# What a block computes, in its order, by the function of `reference.py` that computes it.
PROJECTED = ("ln1.mean", "ln1.rstd", "ln1", "qkv", "q", "k", "v")
ATTENDED = ("scores_raw", "scores", "masked", "attn", "z")
MERGED = ("zcat", "attn_out")
HIDDEN = ("ln2.mean", "ln2.rstd", "ln2", "mlp_pre", "mlp_act", "mlp_out")
BLOCK = ("resid.pre", *PROJECTED, *ATTENDED, *MERGED, "resid.mid", *HIDDEN, "resid.post")
FINAL = ("ln_f.mean", "ln_f.rstd", "ln_f", "logits", "probs")


def block_shapes(config: GPT2Config, tokens: int) -> dict[str, Shape]:
    """The shape of each of `BLOCK` after so many tokens."""
    d, heads = config.n_embd, (config.n_head, tokens, config.d_head)
    pattern = (config.n_head, tokens, tokens)
    special = {
        **dict.fromkeys(("ln1.mean", "ln1.rstd", "ln2.mean", "ln2.rstd"), (tokens, 1)),
        **dict.fromkeys(("q", "k", "v", "z"), heads),
        **dict.fromkeys(("scores_raw", "scores", "masked", "attn"), pattern),
        **dict.fromkeys(("mlp_pre", "mlp_act"), (tokens, config.n_inner)),
        "qkv": (tokens, 3 * d),
    }
    return {name: special.get(name, (tokens, d)) for name in BLOCK}


def trace_shapes(config: GPT2Config, tokens: int) -> dict[str, Shape]:
    """Every name of a trace of so many tokens, in the order of computing; a checkpoint's own tensors are not listed."""
    d = config.n_embd
    shapes: dict[str, Shape] = {"ids": (tokens,), "tok_emb": (tokens, d), "pos_emb": (tokens, d)}
    for layer in range(config.n_layer):
        shapes |= {f"{name}.{layer}": shape for name, shape in block_shapes(config, tokens).items()}
    shapes |= {"ln_f.mean": (tokens, 1), "ln_f.rstd": (tokens, 1), "ln_f": (tokens, d)}
    shapes |= dict.fromkeys(("logits", "probs"), (tokens, config.n_vocab))
    return shapes | dict.fromkeys(("cache.k", "cache.v"), (config.n_layer, config.n_head, tokens, config.d_head))


def split_name(config: GPT2Config, name: str) -> tuple[str, int]:
    """("attn", 5) of "attn.5"; raises UsageError unless that is a tensor of one of the model's blocks."""
    kind, _, number = name.rpartition(".")
    if kind in BLOCK and number in map(str, range(config.n_layer)):
        return kind, int(number)
    raise UsageError(
        f"{name!r:.60} is no tensor of a trace: it has ids, tok_emb, pos_emb, resid.pre.0 ... probs, cache.k and "
        f"cache.v, layers 0 to {config.n_layer - 1}, and the checkpoint's own"
    )
