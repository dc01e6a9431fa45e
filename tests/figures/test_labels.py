"""Labels that fit their columns, and numbers in few characters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cutaway
from cutaway.figures.labels import characters, cut, number, token_labels
from cutaway.figures.panels import Scale
from cutaway.layout import width
from cutaway.music.codecs import CODECS
from cutaway.trace import Trace
from tests.tiny import tiny_weights


@pytest.mark.parametrize(
    ("value", "scale", "shown"),
    [
        (0.12345, "share", "12.3 %"),
        (0.99949, "share", "99.9 %"),
        (0.9995, "share", "100 %"),
        (-1.5, "signed", "−1.50"),
        (-1e10, "signed", "−1e10"),
        (-np.inf, "signed", "−∞"),
        (99_999, "size", "99999.00"),
    ],
)
def test_numbers_are_short(value: float, scale: Scale, shown: str) -> None:
    assert number(value, scale) == shown


@given(st.text("ab词…", max_size=30), st.integers(1, 20))
def test_cut_truncates_a_label_to_its_columns(label: str, columns: int) -> None:
    short = cut(label, columns)
    assert width(short) <= columns
    assert short == label or short.endswith("…")


TEXT = "机器 🤖 é😀 A"


def test_tokens_that_share_a_character_are_called_after_it() -> None:
    trace = cutaway.load().trace(TEXT)
    assert [label for label in token_labels(trace) if "\\x" in label] == []
    assert token_labels(trace)[1:3] == ["机·1", "机·2"]
    assert "".join(whole.strip() for _, whole in characters(trace, trace.ids)) == "机器🤖😀"


def test_bytes_that_make_no_character_keep_their_names() -> None:
    trace = cutaway.load().trace("A")
    broken = [17312, 32, 118]  # the beginning of a character, and the end of another
    assert list(characters(trace, broken)) == [([17312], ""), ([32], ""), ([118], "")]


def test_music_has_no_characters() -> None:
    codec = CODECS["perf388"]
    weights = tiny_weights(n_layer=1, n_head=1, n_vocab=codec.n_vocab, n_ctx=80)
    trace = Trace(weights.config, weights.arrays, codec, [codec.bos, *codec.example])
    assert token_labels(trace)[:2] == [codec.label(codec.bos), codec.label(codec.example[0])]
