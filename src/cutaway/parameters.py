"""Parameter count of a GPT-2, tensor by tensor, compared with the table of "The Illustrated GPT-2".

The article counts 124,410,624 parameters in the smallest model and wonders why OpenAI says 117M. Its tensors have
124,439,808; `notes` explains the difference and the origin of 117M.
"""

import math
from dataclasses import dataclass

from cutaway.config import PUBLISHED, GPT2Config, PublishedModel
from cutaway.tensors import Shape

# The figure "gpt2-117-parameters", as printed: one block's tensors under the names they have in a checkpoint.
ARTICLE = {
    "wte.weight": 38_597_376,
    "wpe.weight": 786_432,
    "ln_1.weight": 768,
    "ln_1.bias": 768,
    "attn.c_attn.weight": 1_769_472,
    "attn.c_attn.bias": 2_304,
    "attn.c_proj.weight": 589_824,
    "attn.c_proj.bias": 768,
    "ln_2.weight": 768,
    "ln_2.bias": 768,
    "mlp.c_fc.weight": 2_359_296,
    "mlp.c_fc.bias": 768,
    "mlp.c_proj.weight": 2_359_296,
    "mlp.c_proj.bias": 768,
}


@dataclass(frozen=True)
class Row:
    """Shape of a tensor, one of a block or outside the blocks, and the article's count for it; 0 if it has none."""

    tensor: str
    shape: Shape
    article: int

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)

    @property
    def difference(self) -> int:
        """Parameters missing from the article's count."""
        return self.parameters - self.article


@dataclass(frozen=True)
class ParameterTable:
    """Tensors of one configuration: those before the blocks, those of one block, and those after the blocks."""

    config: GPT2Config
    embeddings: tuple[Row, ...]
    block: tuple[Row, ...]
    final: tuple[Row, ...]

    @property
    def matches_article(self) -> bool:
        """True for the smallest GPT-2, the only model that the article's counts apply to."""
        return self.config.tensor_shapes() == GPT2Config().tensor_shapes()

    @property
    def block_parameters(self) -> int:
        return sum(row.parameters for row in self.block)

    @property
    def blocks_parameters(self) -> int:
        return self.config.n_layer * self.block_parameters

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in (*self.embeddings, *self.final)) + self.blocks_parameters

    @property
    def article_block(self) -> int:
        return sum(row.article for row in self.block)

    @property
    def article_blocks(self) -> int:
        return self.config.n_layer * self.article_block

    @property
    def article_parameters(self) -> int:
        """The article's grand total."""
        return sum(row.article for row in (*self.embeddings, *self.final)) + self.article_blocks

    @property
    def head_parameters(self) -> int:
        """Size of the output matrix, which is wte unless untied."""
        return self.config.n_vocab * self.config.n_embd


def parameter_table(config: GPT2Config) -> ParameterTable:
    """Count the parameters of a configuration from the shapes of its tensors.

    >>> parameter_table(GPT2Config()).parameters
    124439808
    """
    return ParameterTable(
        config,
        embeddings=_rows(config, "wte.", "wpe."),
        block=_rows(config, "h.0."),
        final=_rows(config, "ln_f.", "lm_head."),
    )


def _rows(config: GPT2Config, *prefixes: str) -> tuple[Row, ...]:
    """Select the tensors whose names begin with one of these prefixes, named within their block."""
    shapes = {
        name.removeprefix("h.0."): shape for name, shape in config.tensor_shapes().items() if name.startswith(prefixes)
    }
    return tuple(Row(name, shape, ARTICLE.get(name, 0)) for name, shape in shapes.items())


def published_as(config: GPT2Config) -> PublishedModel | None:
    """Find the model among OpenAI's four with these tensor shapes; None if there is none.

    >>> published_as(GPT2Config(n_embd=1600, n_head=25, n_layer=48)).name
    'gpt2-xl'
    """
    return next((model for model in PUBLISHED if model.config.tensor_shapes() == config.tensor_shapes()), None)


def notes(table: ParameterTable) -> list[str]:
    """Explain the total in paragraphs: the article's errors, OpenAI's two names, and the tied output matrix.

    >>> notes(parameter_table(GPT2Config(n_layer=1)))[-1][:60]
    'The output matrix is wte once more (a tied head), so it is c'
    """
    paragraphs = [_on_the_article(table)] if table.matches_article else []
    model = published_as(table.config)
    if model is not None:
        paragraphs.append(
            f"OpenAI called this model {model.first_size} at first and {model.size} later: "
            'as the README of openai/gpt-2 has it, "our original parameter counts were wrong due to an error".'
        )
    return [*paragraphs, _on_the_head(table)]


def _on_the_article(table: ParameterTable) -> str:
    missing = table.parameters - table.article_parameters
    wrong = [row for row in table.block if row.difference]
    left_out = sum(row.difference for row in table.final)
    slips = " and ".join(f"{row.tensor} {row.article:,} parameters where it has {row.parameters:,}" for row in wrong)
    per_block = sum(row.difference for row in wrong)
    return (
        f"The article's table comes to {table.article_parameters:,}, which is {missing:,} too few: in each of the "
        f"{table.config.n_layer} blocks it gives {slips}, and it leaves out ln_f. "
        f"{table.config.n_layer} × {per_block:,} + {left_out:,} = {missing:,}."
    )


def _on_the_head(table: ParameterTable) -> str:
    if table.config.tie_word_embeddings:
        return (
            "The output matrix is wte once more (a tied head), so it is counted once. "
            f"With a copy of its own the model would have {table.parameters + table.head_parameters:,} parameters."
        )
    return (
        "The output matrix lm_head is a matrix of its own (an untied head). "
        f"Tied to wte, as OpenAI's is, the model would have {table.parameters - table.head_parameters:,} parameters."
    )
