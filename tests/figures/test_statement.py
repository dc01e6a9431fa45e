"""The sentence under each figure: every number is the one that its tensor or formula gives, in both languages."""

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from cutaway.figures import Figure, Selection, all_figures, check_figure
from cutaway.figures.panels import LocalizedText, Number
from cutaway.figures.statement import Statement
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace import Trace
from tests.figures.drawing import WRONG_NUMBERS, falsify, make_trace
from tests.figures.formulas import value_of
from tests.tiny import tiny_weights

LIVE = [figure for figure in all_figures().values() if figure.verify]
SELECTIONS = {
    "tiny 7": (Selection(1, 2, 3), Selection(0, 0, 6)),
    "tiny 1": (Selection(),),
    "one head 7": (Selection(0, 0, 2),),
    "untied 7": (Selection(2, 0, 5), Selection(1, 0, 0)),
    "long 70": (Selection(1, 1, 40),),
    "appended 7": (Selection(1, 1, 5),),
    "one head 1": (Selection(),),
    "by layer 7": (Selection(2, 1, 4),),
    "unscaled 7": (Selection(1, 2, 3),),
    "by layer only 7": (Selection(1, 0, 5),),
    "relative 7": (Selection(1, 0, 6),),
    "tanh 7": (Selection(0, 1, 3),),
}
QUICK = ("tiny 7", "untied 7", "relative 7")  # the others take the same path with other settings of the model
NAMES = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in SELECTIONS]


def statement_of(figure: Figure, trace: Trace, selection: Selection) -> Statement:
    check = check_figure(figure, trace, selection)
    assert check is not None
    return check.statement


def wrong(statement: Statement, trace: Trace, selection: Selection) -> Iterator[str]:
    """A line for each number that is not the one that its tensor or formula gives."""
    for number in statement.numbers():
        expected = value_of(number, trace, selection)
        if not np.isclose(number.value, expected, rtol=1e-3, atol=2e-5):
            yield f"{number.tensor}{list(number.index)} is {expected}, and {number.value} is said"


def digits(text: str) -> Counter[str]:
    """The numbers of a sentence, as they are written."""
    return Counter(re.findall(r"\d[\d,.]*\d|\d", text))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("figure", LIVE, ids=lambda figure: figure.id)
def test_every_number_equals_its_tensor_or_its_formula_in_both_languages(figure: Figure, name: str) -> None:
    for selection in SELECTIONS[name]:
        statement = statement_of(figure, make_trace(name), selection)
        assert list(wrong(statement, make_trace(name), selection)) == []
        assert digits(statement.en) == digits(statement.zh)


@pytest.mark.parametrize(("name", "tensor"), WRONG_NUMBERS)
def test_measures_the_differences_of_a_wrong_tensor(name: str, tensor: str) -> None:
    """In a trace that is right all differences are nearly 0, whatever is compared."""
    trace = falsify(make_trace("tiny 7"), tensor)
    selection = Selection(0, 0, 3)
    assert list(wrong(statement_of(all_figures()[name], trace, selection), trace, selection)) == []


@pytest.mark.parametrize("name", ["T2", "T3", "F01"])
def test_numbers_of_a_model_with_a_tokenizer(name: str) -> None:
    weights = tiny_weights(n_vocab=50300, n_embd=4, n_head=1, n_layer=1, n_ctx=6)
    tensors = {tensor: weights.read(tensor) for tensor in weights.config.tensor_shapes()}
    trace = Trace(weights.config, tensors, Tokenizer.gpt2(), [50256, 464, 262])
    assert list(wrong(statement_of(all_figures()[name], trace, Selection()), trace, Selection())) == []


def test_nouns_agree_with_their_numbers() -> None:
    for count, text in ((0, "0 heads"), (1, "1 head"), (50_257, "50,257 heads")):
        assert Statement("{n:head}", "{n}", n=Number(count, "n", form=",")).en == text


def test_values_are_filled_in_in_each_language() -> None:
    inner = Statement("{n} of it", "其中 {n} 个", n=Number(0.5, "x", (1,), ".2f"))
    listed = [Number(1, "a", form=""), Number(2, "b", form="")]
    outer = Statement(
        "{x}; {l}; {t}; {s}", "{t}；{l}；{x}；{s}", x=inner, l=listed, t=LocalizedText("yes", "是"), s="q.0"
    )
    assert outer.en == "0.50 of it; 1, 2; yes; q.0"
    assert outer.zh == "是；1、2；其中 0.50 个；q.0"
    assert [number.tensor for number in outer.numbers()] == ["x", "a", "b"]


def test_a_masked_score_is_written_as_in_the_prose() -> None:
    assert Statement("{low}", "{low}", low=Number(-1e10, "min(masked.0)", form="g")).zh == "−1e10"
