"""Scaling of the attention scores, also where it differs from OpenAI's, as text, statements and formulas.

OpenAI's scores are q · k divided by √dh in every layer. Other models divide by more, or not at all. Relative attention
adds q times the embedding of the distance, which is the tensor `scores_rel`.
"""

from cutaway.config import GPT2Config
from cutaway.figures.panels import LocalizedText, integer
from cutaway.figures.statement import Statement


def divisor(config: GPT2Config, layer: int) -> str:
    """Format the divisor of a layer's scores.

    >>> divisor(GPT2Config(), 2), divisor(GPT2Config(scale_attn_by_inverse_layer_idx=True), 2)
    ('√64', '(3 · √64)')
    """
    return divisor_statement(config, layer).en


def divisor_statement(config: GPT2Config, layer: int) -> Statement:
    """Format the divisor with numbers that name their formulas; `layer` is the selected layer.

    >>> divisor_statement(GPT2Config(scale_attn_weights=False), 2).en
    '1'
    """
    width = integer(config.d_head, "config.d_head")
    number = integer(layer + 1, "layer + 1")
    if not config.scale_attn_by_inverse_layer_idx:
        return Statement("√{width}", "√{width}", width=width) if config.scale_attn_weights else Statement("1", "1")
    if not config.scale_attn_weights:
        return Statement("{number}", "{number}", number=number)
    return Statement("({number} · √{width})", "({number} · √{width})", number=number, width=width)


def product(config: GPT2Config) -> str:
    """Format the dividend of the scores.

    >>> product(GPT2Config()), product(GPT2Config(relative_positions=8))
    ('q · k', '(q · k + scores_rel)')
    """
    return "(q · k + scores_rel)" if config.relative_positions else "q · k"


def product_formula(config: GPT2Config, dot: str, layer: int | str, index: str = "") -> str:
    """Return the formula of the dividend: `dot`, the formula of q · k, plus the part of `scores_rel` at the same index.

    >>> product_formula(GPT2Config(), "q.3[0] @ transpose(k.3[0])", 3, "[0]")
    'q.3[0] @ transpose(k.3[0])'
    >>> product_formula(GPT2Config(relative_positions=8), "q.3[0] @ transpose(k.3[0])", 3, "[0]")
    '(q.3[0] @ transpose(k.3[0]) + scores_rel.3[0])'
    """
    return f"({dot} + scores_rel.{layer}{index})" if config.relative_positions else dot


def divisor_formula(config: GPT2Config, layer: int | str) -> str:
    """Return the formula of the divisor; `layer` is a number or the name of a variable.

    >>> divisor_formula(GPT2Config(), 2), divisor_formula(GPT2Config(scale_attn_by_inverse_layer_idx=True), "L")
    ('sqrt(config.d_head)', '(sqrt(config.d_head) * (L + 1))')
    """
    root = "sqrt(config.d_head)" if config.scale_attn_weights else "1"
    return f"({root} * ({layer} + 1))" if config.scale_attn_by_inverse_layer_idx else root


def divisor_meaning(config: GPT2Config, layer: int) -> LocalizedText:
    """Explain the divisor.

    >>> divisor_meaning(GPT2Config(), 2).en
    "√64, the square root of a head's width"
    """
    written = divisor(config, layer)
    if config.scale_attn_by_inverse_layer_idx and config.scale_attn_weights:
        return LocalizedText(
            f"{written}, the layer's number (from 1) times the square root of a head's width",
            f"{written}（从 1 数起的层号乘以头的维度 d_head 的平方根）",
        )
    if config.scale_attn_by_inverse_layer_idx:
        return LocalizedText(f"{written}, the layer's number (from 1)", f"{written}（从 1 数起的层号）")
    if config.scale_attn_weights:
        return LocalizedText(f"{written}, the square root of a head's width", f"{written}（头的维度 d_head 的平方根）")
    return LocalizedText("1, that is, not at all", "1，也就是不除")


def difference(config: GPT2Config) -> LocalizedText:
    """Describe how OpenAI's GPT-2 differs: what it does not add, what it divides by; empty if it does not differ.

    >>> difference(GPT2Config()).en, difference(GPT2Config(scale_attn_weights=False)).en
    ('', " OpenAI's GPT-2 divides by √64 in every layer.")
    """
    added = LocalizedText("", "")
    if config.relative_positions:
        added = LocalizedText(
            " To q · k this model adds scores_rel, q times an embedding of the distance, which OpenAI's GPT-2 has not.",
            "这个模型还给 q · k 加上 scores_rel，即 q 乘以距离的嵌入；OpenAI 的 GPT-2 没有这一项。",
        )
    if config.scale_attn_weights and not config.scale_attn_by_inverse_layer_idx:
        return added
    return LocalizedText(
        f"{added.en} OpenAI's GPT-2 divides by √{config.d_head} in every layer.",
        f"{added.zh}OpenAI 的 GPT-2 在每一层都除以 √{config.d_head}。",
    )
