"""Names and shapes of every tensor that GPT-2 computes from token ids to probabilities.

A number at the end is the layer, from 0. Shapes: T tokens, H heads of dh, d = n_embd, V = n_vocab. `cache.k` and
`cache.v` are the contents of a KV cache after these tokens. `scores_rel`, q times the embeddings of distances, exists
only in models with relative positions, and is included in `scores_raw`. A checkpoint's tensors keep their names
("h.0.attn.c_attn.weight").
"""

from functools import cache

from cutaway.checks import show
from cutaway.config import GPT2Config
from cutaway.errors import UsageError

Shape = tuple[int, ...]

# The tensors of a block in order of computation, grouped by the function of `reference.py` that computes them.
PROJECTED = ("ln1.mean", "ln1.rstd", "ln1", "qkv", "q", "k", "v")
ATTENDED = ("scores_raw", "scores", "masked", "attn", "z")
RELATIVE = "scores_rel"  # before ATTENDED, if the model has relative positions
MERGED = ("zcat", "attn_out")
HIDDEN = ("ln2.mean", "ln2.rstd", "ln2", "mlp_pre", "mlp_act", "mlp_out")
FINAL = ("ln_f.mean", "ln_f.rstd", "ln_f", "logits", "probs")


def attended(config: GPT2Config) -> tuple[str, ...]:
    """List the tensors that `reference.attention` computes in a block.

    >>> attended(GPT2Config(relative_positions=8))
    ('scores_rel', 'scores_raw', 'scores', 'masked', 'attn', 'z')
    """
    return (RELATIVE, *ATTENDED) if config.relative_positions else ATTENDED


def block_names(config: GPT2Config) -> tuple[str, ...]:
    """List the tensors of a block in order of computation.

    >>> block_names(GPT2Config())[:3]
    ('resid.pre', 'ln1.mean', 'ln1.rstd')
    """
    return ("resid.pre", *PROJECTED, *attended(config), *MERGED, "resid.mid", *HIDDEN, "resid.post")


def block_shapes(config: GPT2Config, tokens: int) -> dict[str, Shape]:
    """Return the shape of each tensor of `block_names` for a text of T `tokens`.

    >>> block_shapes(GPT2Config(), 8)["attn"]
    (12, 8, 8)
    """
    d = config.n_embd
    heads = (config.n_head, tokens, config.d_head)
    pattern = (config.n_head, tokens, tokens)
    special = {
        **dict.fromkeys(("ln1.mean", "ln1.rstd", "ln2.mean", "ln2.rstd"), (tokens, 1)),
        **dict.fromkeys(("q", "k", "v", "z"), heads),
        **dict.fromkeys((RELATIVE, "scores_raw", "scores", "masked", "attn"), pattern),
        **dict.fromkeys(("mlp_pre", "mlp_act"), (tokens, config.n_inner)),
        "qkv": (tokens, 3 * d),
    }
    return {name: special.get(name, (tokens, d)) for name in block_names(config)}


def trace_shapes(config: GPT2Config, tokens: int) -> dict[str, Shape]:
    """List name and shape of every tensor of a trace of T `tokens`, in order of computation, without the checkpoint's.

    >>> shapes = trace_shapes(GPT2Config(), 8)
    >>> shapes["resid.mid.11"], shapes["logits"]
    ((8, 768), (8, 50257))
    """
    d = config.n_embd
    shapes: dict[str, Shape] = {"ids": (tokens,), "tok_emb": (tokens, d), "pos_emb": (tokens, d)}
    for layer in range(config.n_layer):
        shapes |= {f"{name}.{layer}": shape for name, shape in block_shapes(config, tokens).items()}
    shapes |= {"ln_f.mean": (tokens, 1), "ln_f.rstd": (tokens, 1), "ln_f": (tokens, d)}
    shapes |= dict.fromkeys(("logits", "probs"), (tokens, config.n_vocab))
    return shapes | dict.fromkeys(("cache.k", "cache.v"), (config.n_layer, config.n_head, tokens, config.d_head))


@cache
def trace_names(config: GPT2Config) -> frozenset[str]:
    """Return the names of `trace_shapes`, which are the same for any number of tokens.

    >>> "attn.11" in trace_names(GPT2Config())
    True
    """
    return frozenset(trace_shapes(config, 1))


def split_name(config: GPT2Config, name: str) -> tuple[str, int]:
    """Split the name of a block's tensor into its kind and layer. Raises UsageError for an unknown name.

    >>> split_name(GPT2Config(), "attn.5")
    ('attn', 5)
    """
    kind, _, number = str(name).rpartition(".")  # str: a name may be 3 or ("attn", 3), which is unknown
    if kind in block_names(config) and number in map(str, range(config.n_layer)):
        return kind, int(number)
    raise UsageError(
        f"unknown tensor {show(name)}: a trace has ids, tok_emb, pos_emb, resid.pre.0 ... probs, cache.k and cache.v, "
        f"with layers 0 to {config.n_layer - 1}, and the checkpoint's tensors"
    )
