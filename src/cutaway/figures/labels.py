"""Labels of tokens, positions and numbers, and words that several figures share."""

from collections.abc import Iterator, Sequence

import numpy as np

from cutaway.figures.panels import LocalizedText, Scale, integer
from cutaway.figures.statement import Statement
from cutaway.layout import minus, percent, width
from cutaway.tokenizer.codec import Codec
from cutaway.trace import Trace

LABEL_COLUMNS = 14

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
LOOKS = LocalizedText("query: the token that looks", "查询（发出关注）")
SEEN = LocalizedText("key: the token that is looked at", "键（被关注）")


def token_label(trace: Trace, token: int) -> str:
    """Return a token in readable form, with spaces as ␣, or its id if the tokenizer does not know it.

    >>> import cutaway
    >>> token_label(cutaway.load().trace("A robot"), 9379)
    '␣robot'
    """
    return trace.tokenizer.label(token) if trace.tokenizer else f"#{token}"


def token_labels(trace: Trace) -> list[str]:
    """Label all tokens of the text; tokens that share a character are labelled with it, as on the page.

    >>> import cutaway
    >>> token_labels(cutaway.load().trace("A robot 机"))
    ['<|endoftext|>', 'A', '␣robot', '机·1', '机·2']
    """
    return [
        f"{whole.strip()}·{part}" if whole else token_label(trace, token)
        for tokens, whole in characters(trace, trace.ids)
        for part, token in enumerate(tokens, 1)
    ]


def characters(trace: Trace, ids: Sequence[int]) -> Iterator[tuple[list[int], str]]:
    """Group tokens that share characters, with the text of each group; for a single token, and for invalid UTF-8, it is
    empty.

    >>> import cutaway
    >>> list(characters(cutaway.load().trace("A"), [32, 17312, 118]))
    [([32], ''), ([17312, 118], '机')]
    """
    groups: list[tuple[list[int], bytes]] = []
    lacking = 0
    for token in ids:
        data = (trace.tokenizer.token_bytes(token) if isinstance(trace.tokenizer, Codec) else None) or b""
        if lacking and _follows(data[0] if data else 0):
            tokens, before = groups.pop()
            groups.append(([*tokens, token], before + data))
        else:
            groups.append(([token], data))
        for byte in data:
            lacking = max(0, lacking - 1) if _follows(byte) else (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
    for tokens, data in groups:
        text = data.decode(errors="replace")
        yield tokens, text if len(tokens) > 1 and text.strip() and "\ufffd" not in text else ""


def _follows(byte: int) -> bool:
    """Return True for a continuation byte of UTF-8."""
    return 0x80 <= byte < 0xC0


def plural(count: int, thing: str) -> str:
    """Count things in English: 1 token, 1,024 tokens.

    >>> plural(1, "token"), plural(1024, "token")
    ('1 token', '1,024 tokens')
    """
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def position_text(position: int) -> LocalizedText:
    """Name a position as the article counts, from 1, and as an index, from 0.

    >>> position_text(3).en
    'position 4 (index 3)'
    """
    return LocalizedText(f"position {position + 1} (index {position})", f"第 {position + 1} 个位置（下标 {position}）")


def position_statement(position: int, formula: str) -> Statement:
    """Name a position as `position_text` does, with numbers that know the formula of the index.

    >>> position_statement(3, "position").zh
    '第 4 个位置（下标 3）'
    """
    return Statement(
        "position {place} (index {index})",
        "第 {place} 个位置（下标 {index}）",
        place=integer(position + 1, f"{formula} + 1"),
        index=integer(position, formula),
    )


def number(value: float, scale: Scale) -> str:
    """Format a cell's number in few characters; a masked share is ×.

    >>> number(0.25, "share"), number(-np.inf, "share"), number(-1.5, "signed"), number(-1e10, "signed")
    ('25.0 %', '×', '−1.50', '−1e10')
    """
    if scale == "share" and value == -np.inf:
        return "×"
    if not np.isfinite(value) or abs(value) >= 1e5:
        return minus(f"{value:.0e}".replace("e+0", "e").replace("e+", "e").replace("inf", "∞"))
    if scale == "share":
        return percent(value, 1 if value < 0.9995 else 0)
    return minus(f"{value:.2f}")


def short(label: str) -> str:
    """Cut a label to `LABEL_COLUMNS`.

    >>> short("the orders given it")
    'the orders gi…'
    """
    return cut(label, LABEL_COLUMNS)


def cut(label: str, columns: int) -> str:
    """Cut a label to a width; a label that was cut ends with ….

    >>> cut("obey", 4), cut("robot", 4)
    ('obey', 'rob…')
    """
    if width(label) <= columns:
        return label
    return label[: next(n for n in range(len(label), -1, -1) if width(label[:n]) < columns)] + "…"
