"""Numbers that the article prints in its pictures. They are illustrations, separate from the numbers of any model.

Source: "The Illustrated GPT-2" (Jay Alammar, 2019).
"""

from collections.abc import Mapping

import numpy as np

from cutaway.figures.panels import Cells, cells
from cutaway.numerics import FloatArray

_SCORES = np.array(
    [[0.11, 0.00, 0.81, 0.79], [0.19, 0.50, 0.30, 0.48], [0.53, 0.98, 0.95, 0.14], [0.81, 0.86, 0.38, 0.90]],
    np.float32,
)

NUMBERS: Mapping[str, FloatArray] = {
    # attention weights of the first of four tokens, without a mask
    "article.unmasked": np.array([0.2, 0.1, 0.5, 0.2], np.float32),
    # scores of "robot must obey orders" before the mask
    "article.scores": _SCORES,
    # the same scores after the mask
    "article.masked": np.where(np.tri(4, dtype=bool), _SCORES, np.float32(-np.inf)),
    # the attention weights after the softmax, as printed
    "article.softmax": np.array(
        [[1, 0, 0, 0], [0.48, 0.52, 0, 0], [0.31, 0.35, 0.34, 0], [0.25, 0.26, 0.23, 0.26]], np.float32
    ),
    # attention weights of "it" on the three words of ATTENDED, as given in the text
    "article.attention": np.array([0.5, 0.3, 0.19], np.float32),
}
WORDS = ("robot", "must", "obey", "orders")
ATTENDED = ("robot", "a", "it")


def article_cells(name: str) -> Cells:
    """Return one of the article's own tables."""
    return cells(name, NUMBERS[name])
