"""Nearest neighbours of a token embedding by cosine similarity."""

import numpy as np
from numpy.typing import NDArray

from cutaway.numerics import FloatArray, top_k


def nearest_rows(matrix: FloatArray, row: int, k: int) -> tuple[NDArray[np.intp], FloatArray]:
    """Return the k rows of a matrix (V, d) most similar to one of them, itself excluded: their indices and cosines.

    The cosine of a row of zeros with any other is 0.

    >>> nearest_rows(np.array([[1, 0], [0, 2], [3, 0]], np.float32), row=0, k=1)
    (array([2]), array([1.], dtype=float32))
    """
    norms = np.sqrt(np.einsum("vd,vd->v", matrix, matrix)) * np.linalg.norm(matrix[row])
    cosines: FloatArray = np.divide(matrix @ matrix[row], norms, out=np.zeros_like(norms), where=norms > 0)
    order = top_k(cosines, k + 1)
    order = order[order != row][:k]
    return order, cosines[order]
