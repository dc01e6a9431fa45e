"""How a trace's tokens are written beside the numbers, and the words that several figures need."""

from cutaway.figures.panels import Words
from cutaway.trace import Trace

TOKEN, ID, PROBABILITY = Words("token", "词元"), Words("id", "编号"), Words("probability", "概率")
WHAT, HOW_MANY = Words("what", "项目"), Words("how many", "数目")
THIS_MODEL = Words("this model", "本模型")
QUERY_KEY_VALUE = {"q": Words("query", "查询"), "k": Words("key", "键"), "v": Words("value", "值")}
LOOKS = Words("query: the token that looks", "查询：在看的词元")
SEEN = Words("key: the token that is looked at", "键：被看的词元")


def token_label(trace: Trace, token: int) -> str:
    """A token as it can be read, a leading space as ␣; its id where no tokenizer knows it."""
    return trace.tokenizer.label(token) if trace.tokenizer else f"#{token}"


def token_labels(trace: Trace) -> list[str]:
    """All tokens of the text."""
    return [token_label(trace, token) for token in trace.ids]


def many(count: int, thing: str) -> str:
    """A number of things in English: 1 token, 1,024 tokens."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def place(position: int) -> Words:
    """A position as the article counts, from 1, and as arrays do, from 0."""
    return Words(f"position {position + 1} (index {position})", f"第 {position + 1} 个位置（下标 {position}）")
