"""Hyperparameters of a GPT-2 under OpenAI's names, and those of the four published models.

The defaults are those of the smallest published model. A field exists only if a model with another value is still a
GPT-2: its width, context or vocabulary, an untied head, and what transformers' GPT-2 can configure, under the same
names (`activation_function` and the scale of attention, which the models of Cerebras, CodeParrot and Stanford change).
One field goes beyond GPT-2: `relative_positions`, the attention of the Music Transformer. Nothing else is configurable.
Source: `hparams.json` and `src/model.py` of openai/gpt-2.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from cutaway.errors import UsageError
from cutaway.tensors import Shape, TensorSpec, gpt2_tensors

# Activations of the MLP by transformers' names: "gelu_new" is OpenAI's, GELU by a tanh; "gelu" is exact, by erf.
ACTIVATIONS = ("gelu_new", "gelu", "relu", "silu", "tanh")


class _DefaultWidth(int):
    """The default `n_inner`. Its type distinguishes it from an explicit width, so that `replace` recomputes it."""


@dataclass(frozen=True)
class GPT2Config:
    """Hyperparameters of a GPT-2. Raises UsageError if they are invalid.

    `n_inner` is the width of the MLP's hidden layer; the default, 0, stands for 4 * `n_embd`. `activation_function` is
    one of `ACTIVATIONS`. Attention scores are q · k divided by `attention_divisor`. `reorder_and_upcast_attn` asks for
    float32 scores, which all engines use anyway: it has no effect, and is kept for other programs that read the file.

    With `relative_positions` M, each head of each block has an embedding E (M, d_head) of the distances 0 to M - 1, and
    q_i · E[i - j] is added to q_i · k_j before the division; nothing is added for larger distances (relative attention:
    Shaw et al. 2018, arXiv:1803.02155; Huang et al. 2018, arXiv:1809.04281). 0 is GPT-2.

    >>> from dataclasses import replace
    >>> GPT2Config().n_inner, replace(GPT2Config(), n_embd=1024, n_head=16).n_inner
    (3072, 4096)
    """

    n_vocab: int = 50257
    n_ctx: int = 1024
    n_embd: int = 768
    n_head: int = 12
    n_layer: int = 12
    n_inner: int = 0
    layer_norm_epsilon: float = 1e-5
    tie_word_embeddings: bool = True
    activation_function: str = "gelu_new"
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    reorder_and_upcast_attn: bool = False
    relative_positions: int = 0

    def __post_init__(self) -> None:
        for name in ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer"):
            _check_size(name, getattr(self, name))
        if self.n_inner == 0 or isinstance(self.n_inner, _DefaultWidth):
            object.__setattr__(self, "n_inner", _DefaultWidth(4 * self.n_embd))
        _check_size("n_inner", self.n_inner)
        if self.relative_positions != 0:
            _check_size("relative_positions", self.relative_positions)
        if self.n_embd % self.n_head:
            raise UsageError(f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head})")
        if not (math.isfinite(self.layer_norm_epsilon) and self.layer_norm_epsilon > 0):
            raise UsageError(f"layer_norm_epsilon must be a positive number, not {self.layer_norm_epsilon!r}")
        if self.activation_function not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise UsageError(f"activation_function must be one of {known}, not {self.activation_function!r}")

    @property
    def d_head(self) -> int:
        """Width of one attention head."""
        return self.n_embd // self.n_head

    def attention_divisor(self, layer: int) -> float:
        """Compute the divisor of q · k in a layer: the root of the head's width, unless the config says otherwise.

        >>> GPT2Config().attention_divisor(2), GPT2Config(scale_attn_by_inverse_layer_idx=True).attention_divisor(2)
        (8.0, 24.0)
        """
        root = math.sqrt(self.d_head) if self.scale_attn_weights else 1.0
        return root * (layer + 1) if self.scale_attn_by_inverse_layer_idx else root

    @cached_property
    def tensors(self) -> Mapping[str, TensorSpec]:
        """Specs of all tensors in OpenAI's order, by their name in a checkpoint."""
        return gpt2_tensors(
            n_vocab=self.n_vocab,
            n_ctx=self.n_ctx,
            n_embd=self.n_embd,
            n_layer=self.n_layer,
            n_inner=self.n_inner,
            tied=self.tie_word_embeddings,
            relative=(self.n_head, self.relative_positions, self.d_head) if self.relative_positions else None,
        )

    def tensor_shapes(self) -> dict[str, Shape]:
        """List the shapes of all tensors in OpenAI's order, by name in a checkpoint; linear weights are (in, out).

        >>> GPT2Config().tensor_shapes()["h.0.attn.c_attn.weight"]
        (768, 2304)
        """
        return {name: spec.shape for name, spec in self.tensors.items()}

    @property
    def n_params(self) -> int:
        """Number of parameters; a tied head is counted once."""
        return sum(spec.size for spec in self.tensors.values())


def _check_size(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
        raise UsageError(f"{name} must be a positive integer below 2**31, not {value!r}")


@dataclass(frozen=True)
class PublishedModel:
    """One of OpenAI's four models: its hub name, its current name by size, and its first one, which miscounted."""

    name: str
    size: str
    first_size: str
    config: GPT2Config


PUBLISHED = (
    PublishedModel("gpt2", "124M", "117M", GPT2Config()),
    PublishedModel("gpt2-medium", "355M", "345M", GPT2Config(n_embd=1024, n_head=16, n_layer=24)),
    PublishedModel("gpt2-large", "774M", "762M", GPT2Config(n_embd=1280, n_head=20, n_layer=36)),
    PublishedModel("gpt2-xl", "1558M", "1542M", GPT2Config(n_embd=1600, n_head=25, n_layer=48)),
)


def published(name: str) -> PublishedModel | None:
    """Find a published model by a name ("gpt2-xl", "1558M" or "1542M"); None if there is none.

    >>> published("117M").name
    'gpt2'
    """
    return next((m for m in PUBLISHED if name in (m.name, m.size, m.first_size)), None)
