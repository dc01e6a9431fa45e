"""Part 3 of the article: other applications of decoders, which are not built yet."""

from cutaway.figures.figure import Figure
from cutaway.figures.panels import LocalizedText


def _later(name: str, picture: int | None, en: str, zh: str) -> Figure:
    return Figure(name, LocalizedText(en, zh), part=3, picture=picture)


FIGURES = (
    _later("F60", 58, "Translation with a decoder alone", "只用解码器做翻译"),
    _later("F61", 59, "Summaries: the layout of the training data", "摘要：训练数据的排列"),
    _later("F62", 60, "Summaries: what the model writes", "摘要：模型写出的文字"),
    _later("T5", None, "Transfer learning: first general, then special", "迁移学习：先通用，后专门"),
    _later("F63", 61, "Music: a vocabulary of events", "音乐：事件词表"),
    _later("F64", 62, "Music: a sequence of events and its piano roll", "音乐：事件序列与钢琴卷帘"),
    _later("F65", 63, "Music: events as one-hot vectors", "音乐：事件的独热向量"),
    _later("F66", 64, "Music: attention drawn on the piano roll", "音乐：画在钢琴卷帘上的注意力"),
)
