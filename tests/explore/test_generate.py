import numpy as np
import pytest

import cutaway
from cutaway.errors import UsageError
from cutaway.explore.generate import generate, read_request
from cutaway.generation.config import GenerationConfig
from cutaway.model import Model
from cutaway.music.codecs import CODECS
from cutaway.music.grammar import count_illegal, mask_of
from cutaway.numerics import softmax
from cutaway.web.params import Params
from tests.explore.served import Json, musical, mute, talking


def generated(model: Model, **request: object) -> list[Json]:
    return list(generate(model, *read_request(model, Params(request))))


@pytest.mark.parametrize("settings", [{}, {"temperature": 0}, {"top_k": 5, "top_p": 0.7, "repetition_penalty": 1.5}])
def test_generates_what_the_model_generates(settings: dict[str, float]) -> None:
    model = talking()
    expected = model.generate([32, 9379], GenerationConfig(max_new_tokens=6, seed=3).replace(**settings))
    *tokens, last = generated(model, ids=[32, 9379], max_new_tokens=6, seed=3, **settings)
    assert tuple(token["id"] for token in tokens) == expected.ids
    assert last == {"finish_reason": expected.finish_reason, "seed": 3}


def test_each_token_has_its_candidates_and_the_cache_length() -> None:
    model = mute()
    *tokens, _ = generated(model, ids=[4, 5, 6], max_new_tokens=3, temperature=0)
    read = [4, 5, 6]
    for n, token in enumerate(tokens):
        probabilities = softmax(model.logits(read)[-1].astype(np.float64))
        top = token["top"]
        assert [each["id"] for each in top] == np.argsort(-probabilities, kind="stable")[:10].tolist()
        np.testing.assert_allclose([each["probability"] for each in top], np.sort(probabilities)[::-1][:10], rtol=1e-4)
        assert token["id"] == top[0]["id"]
        assert token["cache_length"] == 3 + n
        assert token["seconds"] > 0
        read.append(token["id"])


def test_a_prefix_is_read_as_its_trace_reads_it() -> None:
    model = cutaway.load("builtin-translation", engine="reference", dtype="float32")
    ids = model.encoder().prompt({"from": "en", "to": "de", "source": "Good morning!"})
    trace = model.trace(ids)
    first, _ = generated(model, ids=ids, max_new_tokens=1, temperature=0)
    likely = softmax(trace.logits_at(-1))
    assert trace.n_prefix == len(ids)
    assert first["top"][0]["probability"] == pytest.approx(float(likely.max()), rel=1e-4)


def test_ends_at_a_full_context() -> None:
    *tokens, last = generated(mute(n_ctx=5), ids=[1, 2], seed=0)
    assert len(tokens) == 4
    assert last == {"finish_reason": "context", "seed": 0}


def test_ends_where_the_model_ends_the_text() -> None:
    model = talking()
    first = generated(model, ids=[5], temperature=0, max_new_tokens=1)[0]["id"]
    last = {"finish_reason": "eos", "seed": 1}
    assert generated(model, ids=[5], temperature=0, seed=1, eos_token_id=first) == [last]
    model.generation_config = GenerationConfig(eos_token_id=[7, first])
    assert generated(model, ids=[5], temperature=0, seed=1) == [last]


def test_a_missing_seed_is_random() -> None:
    (*_, one), (*_, other) = (generated(mute(), ids=[1], max_new_tokens=1) for _ in range(2))
    assert one["seed"] != other["seed"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({}, "ids is missing"),
        ({"ids": []}, "mute has no tokenizer files"),
        ({"ids": [1] * 49}, "the text is 49 tokens long"),
        ({"ids": [1], "temperature": -1}, "temperature must be from 0"),
        ({"ids": [1], "temperature": "1"}, "temperature must be a number"),
        ({"ids": [1], "top_k": -1}, "top_k must be at least 0"),
        ({"ids": [1], "top_p": 0}, "top_p must be above 0"),
        ({"ids": [1], "repetition_penalty": 0}, "repetition_penalty must be from"),
        ({"ids": [1], "max_new_tokens": 0}, "max_new_tokens must be from 1 to 48"),
        ({"ids": [1], "max_new_tokens": 49}, "max_new_tokens must be from 1 to 48"),
        ({"ids": [1], "seed": -1}, "seed must be at least 0"),
        ({"ids": [1], "max_tokens": 1}, "unknown parameter 'max_tokens'; did you mean max_new_tokens?"),
    ],
)
def test_rejects_invalid_requests(request_: dict[str, object], error: str) -> None:
    with pytest.raises(UsageError) as refusal:
        generated(mute(), **request_)
    assert str(refusal.value).startswith(error)


@pytest.mark.parametrize("codec", ["perf388", "satb16"])
def test_a_piece_is_that_of_the_grammar_and_the_seed(codec: str) -> None:
    model = musical(codec)
    music = CODECS[codec]
    expected = model.generate([music.bos], GenerationConfig(max_new_tokens=40, seed=3, top_k=0), mask=mask_of(music))
    *tokens, _ = generated(model, ids=[music.bos], max_new_tokens=40, seed=3, top_k=0)
    ids = [token["id"] for token in tokens]
    assert tuple(ids) == expected.ids
    assert count_illegal(music, ids) == 0
    assert tokens[0]["text"] == music.label(ids[0])
