import numpy as np

from cutaway.explore.similarity import nearest_rows
from tests.tiny import tiny_weights


def test_ranks_every_other_row_by_cosine() -> None:
    matrix = tiny_weights().arrays["wte.weight"]
    wide = matrix.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    for row in (0, 17, 60):
        cosines = unit @ unit[row]
        others = [int(i) for i in np.argsort(-cosines) if i != row]
        ids, found = nearest_rows(matrix, row, 5)
        assert ids.tolist() == others[:5]
        np.testing.assert_allclose(found, cosines[others[:5]], atol=1e-6)


def test_returns_at_most_all_other_rows() -> None:
    ids, cosines = nearest_rows(np.eye(3, dtype=np.float32), 1, 10)
    assert (ids.tolist(), cosines.tolist()) == ([0, 2], [0, 0])


def test_a_row_of_zeros_has_cosine_0() -> None:
    matrix = np.array([[0, 0], [1, 0], [1, 1]], np.float32)
    assert nearest_rows(matrix, 0, 2)[1].tolist() == [0, 0]
    assert nearest_rows(matrix, 1, 2)[0].tolist() == [2, 0]
