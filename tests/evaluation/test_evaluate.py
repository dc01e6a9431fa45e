"""Documents scored apart, by every engine and by transformers."""

import math
from collections.abc import Callable

import pytest
import torch
from transformers import GPT2LMHeadModel

import cutaway
from cutaway.checkpoints import Weights
from cutaway.engines.cpu.engine import CpuEngine
from cutaway.engines.protocol import Engine
from cutaway.engines.pytorch.engine import PyTorchEngine
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from cutaway.evaluation.evaluate import evaluate
from cutaway.evaluation.uncertainty import ratio_error
from cutaway.model import Model
from tests.evaluation.scored import MODEL, WEIGHTS, ids, peer_losses
from tests.tiny import peer_model

DOCUMENTS = ["A robot must obey the orders given it.", "", "Café 🤖", "So must I. " * 20]

ENGINES: dict[str, Callable[[Weights], Engine]] = {
    "reference": ReferenceEngine,
    "pytorch": lambda weights: PyTorchEngine(weights, "float32"),
    "cpu": lambda weights: CpuEngine(weights, "float32", threads=1),
}
every_engine = pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES)


def harness_nats(peer: GPT2LMHeadModel, tokens: list[int], n_ctx: int, stride: int) -> float:
    """Nats of a text by the loop of transformers' own guide to perplexity, which ignores labels of -100."""
    nats = 0.0
    for end in range(n_ctx + 1, len(tokens) + stride, stride):
        window = tokens[max(0, end - n_ctx - 1) : min(end, len(tokens))]
        new = len(window) - 1 if end == n_ctx + 1 else stride - (end - min(end, len(tokens)))
        with torch.no_grad():
            logits = peer(torch.tensor([window[:-1]])).logits[0]
        labels = torch.tensor(window[1:])
        labels[: len(labels) - new] = -100
        nats += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
    return nats


@pytest.mark.slow
@every_engine
@pytest.mark.parametrize("stride", [16, 32, 64])
def test_engines_and_transformers_give_equal_scores(make: Callable[[Weights], Engine], stride: int) -> None:
    model = Model(make(WEIGHTS), WEIGHTS, cutaway.Tokenizer.gpt2(), "tiny")
    text = DOCUMENTS[3] * 3
    score = evaluate(model, [text], stride).score
    expected = harness_nats(peer_model(WEIGHTS), [50256, *ids(text)], n_ctx=64, stride=stride)
    assert score.nats == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@every_engine
def test_engines_and_transformers_give_equal_scores_of_the_built_in_model(make: Callable[[Weights], Engine]) -> None:
    builtin = cutaway.load("builtin", engine="reference")
    model = Model(make(builtin.weights), builtin.weights, builtin.tokenizer, "builtin")
    peer = peer_model(builtin.weights)
    text = "Once upon a time there was a little girl who lived in a house by the wood. " * 4
    expected = harness_nats(peer, [50256, *ids(text)], n_ctx=512, stride=512)
    assert evaluate(model, [text]).score.nats == pytest.approx(expected, rel=1e-5)


def test_documents_are_scored_apart_after_the_start_token() -> None:
    evaluation = evaluate(MODEL, DOCUMENTS)
    assert len(evaluation.documents) == 3  # the empty one has no token
    for text, score in zip([DOCUMENTS[0], DOCUMENTS[2]], evaluation.documents[:2], strict=True):
        assert score.nats == pytest.approx(sum(peer_losses([50256, *ids(text)])), rel=1e-5)
        assert (score.tokens, score.bytes) == (len(ids(text)), len(text.encode()))
        assert score.nats == pytest.approx(MODEL.score(text).nats)
    assert evaluation.score.nats == pytest.approx(sum(score.nats for score in evaluation.documents))


def test_ids_are_scored_after_the_first() -> None:
    tokens = ids(DOCUMENTS[0])
    assert evaluate(MODEL, [tokens]).score == MODEL.score(tokens)


def test_errors_are_over_documents() -> None:
    evaluation = evaluate(MODEL, DOCUMENTS)
    scores = evaluation.documents
    assert evaluation.units_are_documents
    per_token = ratio_error([s.nats for s in scores], [s.tokens for s in scores])
    per_byte = ratio_error([s.nats for s in scores], [s.bytes for s in scores])
    assert per_token is not None
    assert per_byte is not None
    assert evaluation.nats_per_token_error == per_token
    assert evaluation.perplexity_error == pytest.approx(per_token * evaluation.score.perplexity)
    assert evaluation.bits_per_byte_error == pytest.approx(per_byte / math.log(2))


def test_errors_of_two_documents_are_over_them() -> None:
    evaluation = evaluate(MODEL, [DOCUMENTS[0], DOCUMENTS[3]], stride=64)
    assert len(evaluation.windows) > 2
    assert evaluation.units == evaluation.documents


def test_errors_of_one_document_are_over_its_windows_and_those_of_one_window_unknown() -> None:
    evaluation = evaluate(MODEL, [DOCUMENTS[3]], stride=64)
    assert not evaluation.units_are_documents
    assert [window.tokens for window in evaluation.windows] == [64, 17]
    assert sum(window.bytes for window in evaluation.windows) == len(DOCUMENTS[3])
    assert evaluation.nats_per_token_error == ratio_error([w.nats for w in evaluation.windows], [64, 17])
    alone = evaluate(MODEL, [DOCUMENTS[0]])
    assert (alone.nats_per_token_error, alone.perplexity_error, alone.bits_per_byte_error) == (None, None, None)


def test_progress_rises_to_the_whole() -> None:
    seen: list[tuple[int, int]] = []
    evaluate(MODEL, DOCUMENTS, progress=lambda done, total: seen.append((done, total)))
    size = sum(len(text.encode()) for text in DOCUMENTS)
    assert {total for _, total in seen} == {size}
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)
    assert len(seen) == 4  # the last document has two windows


def test_an_interruption_gets_out() -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(MODEL, DOCUMENTS, progress=stop)


@pytest.mark.parametrize("documents", [[], [""], [[5]]])
def test_refuses_documents_without_a_token_to_score(documents: list[str]) -> None:
    with pytest.raises(UsageError, match="nothing to score"):
        evaluate(MODEL, documents)
