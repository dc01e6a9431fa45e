"""Part 3 of the article: summaries, and what pre-training is worth for them."""

from cutaway.figures.figure import Figure
from cutaway.figures.panels import LocalizedText


def _later(name: str, picture: int | None, en: str, zh: str) -> Figure:
    return Figure(name, LocalizedText(en, zh), part=3, picture=picture)


FIGURES = (
    _later("F61", 59, "Summaries: the layout of the training data", "摘要：训练数据的排列"),
    _later("F62", 60, "Summaries: what the model writes", "摘要：模型写出的文字"),
    _later("T5", None, "Transfer learning: first general, then special", "迁移学习：先通用，后专门"),
)
