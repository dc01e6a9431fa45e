"""Labels of tokens and positions, and words that several figures share."""

from cutaway.figures.panels import LocalizedText, integer
from cutaway.figures.statement import Statement
from cutaway.trace import Trace

TOKEN = LocalizedText("token", "词元")
ID = LocalizedText("id", "编号")
PROBABILITY = LocalizedText("probability", "概率")
WHAT = LocalizedText("what", "项目")
HOW_MANY = LocalizedText("how many", "数目")
THIS_MODEL = LocalizedText("this model", "本模型")
QUERY_KEY_VALUE = {
    "q": LocalizedText("query", "查询"),
    "k": LocalizedText("key", "键"),
    "v": LocalizedText("value", "值"),
}
LOOKS = LocalizedText("query: the token that looks", "查询：在看的词元")
SEEN = LocalizedText("key: the token that is looked at", "键：被看的词元")


def token_label(trace: Trace, token: int) -> str:
    """Return a token in readable form, with spaces as ␣, or its id if the tokenizer does not know it."""
    return trace.tokenizer.label(token) if trace.tokenizer else f"#{token}"


def token_labels(trace: Trace) -> list[str]:
    """Label all tokens of the text."""
    return [token_label(trace, token) for token in trace.ids]


def plural(count: int, thing: str) -> str:
    """Count things in English: 1 token, 1,024 tokens."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def position_text(position: int) -> LocalizedText:
    """Name a position as the article counts, from 1, and as an index, from 0."""
    return LocalizedText(f"position {position + 1} (index {position})", f"第 {position + 1} 个位置（下标 {position}）")


def position_statement(position: int, formula: str) -> Statement:
    """Name a position as `position_text` does, in numbers that know the formula of the index."""
    return Statement(
        "position {place} (index {index})",
        "第 {place} 个位置（下标 {index}）",
        place=integer(position + 1, f"{formula} + 1"),
        index=integer(position, formula),
    )
