"""Models that can be compared, and those that cannot."""

import re
from dataclasses import replace

import pytest

from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from cutaway.explore.compatibility import SHAPE_FIELDS, check_compatible
from cutaway.model import Model
from cutaway.tokenizer.fast import Tokenizer
from tests.explore.served import chinese, mute, talking
from tests.tiny import tiny_weights


def test_models_of_one_shape_are_compatible() -> None:
    check_compatible(mute(), mute(seed=1))
    check_compatible(mute(), mute(n_ctx=7, tie_word_embeddings=False))
    check_compatible(talking(), talking())


@pytest.mark.parametrize("name", SHAPE_FIELDS)
def test_rejects_another_shape(name: str) -> None:
    shape = {name: 2 * getattr(mute().config, name)}
    message = f"mute cannot be compared with mute: its {name} is {shape[name]}, not {shape[name] // 2}"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        check_compatible(mute(), mute(**shape))


def test_rejects_another_tokenizer() -> None:
    vocabulary = Tokenizer.gpt2().vocabulary
    swapped = dict(zip(vocabulary.ids, reversed(vocabulary.ids.values()), strict=True))
    weights = tiny_weights(n_vocab=50257, n_ctx=32, n_embd=12)
    other = Model(talking().engine, weights, Tokenizer(replace(vocabulary, ids=swapped)), "other")
    with pytest.raises(UsageError, match="^other cannot be compared with talking: it has another tokenizer$"):
        check_compatible(talking(), other)
    check_compatible(talking(), Model(talking().engine, weights, None, "nameless"))
    check_compatible(chinese(), chinese())
    weights = tiny_weights(n_vocab=chinese().config.n_vocab)  # of the same shape
    with pytest.raises(UsageError, match="^chinese cannot be compared with talking: it has another tokenizer$"):
        check_compatible(Model(ReferenceEngine(weights), weights, Tokenizer.gpt2(), "talking"), chinese())
