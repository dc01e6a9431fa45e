"""Stop strings in text that arrives in parts."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cutaway.generation.stopping import StopMatcher


@given(
    text=st.text("ab"),
    cuts=st.lists(st.integers(0, 20)),
    stop=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_stop_matching_does_not_depend_on_how_the_text_is_cut(text: str, cuts: list[int], stop: list[str]) -> None:
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    matcher = StopMatcher(stop)
    shown = ""
    stopped = False
    for start, end in pairwise(edges):
        part, stopped = matcher.push(text[start:end])
        shown += part
        if stopped:
            break
    met = any(s in text for s in stop)
    assert stopped == met
    if met:
        assert text.startswith(shown)
        assert any(text.startswith(shown + s) for s in stop)
        assert not any(s in shown for s in stop)
    else:
        assert shown + matcher.finish() == text
