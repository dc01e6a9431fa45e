"""F23 to F25: query, key and value as folders."""

import pytest

from cutaway.figures import find_figure
from cutaway.figures.panels import LocalizedText, Number, Table
from tests.figures.drawing import draw, make_trace


def test_long_texts_tabulate_the_largest_weights_and_the_sum_of_the_others() -> None:
    trace = make_trace("long 70")
    table = draw(trace, find_figure("F25")).panels[1]
    assert isinstance(table, Table)
    *terms, others, total = table.rows
    assert len(terms) == 12
    assert others[0] == LocalizedText("58 others", "其余 58 个")
    for column in (2, 3):
        parts = [row[column] for row in (*terms, others)]
        whole = total[column]
        assert isinstance(whole, Number)
        assert sum(part.value for part in parts if isinstance(part, Number)) == pytest.approx(whole.value, abs=1e-5)
