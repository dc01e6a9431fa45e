"""The tokens whose embeddings point the same way."""

import numpy as np
from numpy.typing import NDArray

from cutaway.numerics import FloatArray, top_k


def nearest(matrix: FloatArray, row: int, k: int) -> tuple[NDArray[np.intp], FloatArray]:
    """The k rows of a matrix (V, d) nearest to one of them by cosine, nearest first, itself left out; and the cosines.

    A row of zeros points nowhere: its cosine with any other is 0.
    """
    lengths = np.sqrt(np.einsum("vd,vd->v", matrix, matrix)) * np.linalg.norm(matrix[row])
    cosines: FloatArray = np.divide(matrix @ matrix[row], lengths, out=np.zeros_like(lengths), where=lengths > 0)
    order = top_k(cosines, k + 1)
    order = order[order != row][:k]
    return order, cosines[order]
