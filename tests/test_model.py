"""The public face: what `Model` says about text."""

import math

import numpy as np
import pytest
import torch

from cutaway.checkpoints import ArrayWeights
from cutaway.engines.cpu.engine import CpuEngine
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from cutaway.formats import quantise
from cutaway.generation.batch import Limits
from cutaway.generation.sampling import Sampling
from cutaway.model import Model
from cutaway.numerics import FloatArray
from cutaway.tokenizer.fast import Tokenizer
from tests.tiny import assert_logits_close, peer_logits, peer_model, random_ids, tiny_weights

WEIGHTS = tiny_weights(n_vocab=50257, n_ctx=32, n_embd=12)
MODEL = Model(ReferenceEngine(WEIGHTS), WEIGHTS, Tokenizer.gpt2(), "tiny")
MUTE = Model(ReferenceEngine(tiny_weights()), tiny_weights(), None, "mute")
ROBOT = "A robot must obey the orders given it"


def peer_nats(ids: list[int]) -> list[float]:
    losses = torch.nn.functional.cross_entropy(
        torch.from_numpy(peer_logits(peer_model(WEIGHTS), ids[:-1])), torch.tensor(ids[1:]), reduction="none"
    )
    return [float(loss) for loss in losses]


def test_stream_and_generate_say_the_same() -> None:
    pieces = list(MODEL.stream(ROBOT, max_new_tokens=20, seed=3))
    completion = MODEL.generate(ROBOT, max_new_tokens=20, seed=3)
    assert "".join(piece.text for piece in pieces) == completion.text
    assert [piece.stop_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1].stop_reason == completion.stop_reason
    assert completion.engine == "reference float32"


def test_a_drawn_seed_is_told_and_writes_the_text_again() -> None:
    completion = MODEL.generate(ROBOT, max_new_tokens=10)
    assert MODEL.generate(ROBOT, max_new_tokens=10, seed=completion.seed) == completion
    assert MODEL.generate(ROBOT, max_new_tokens=10).seed != completion.seed


def test_a_batch_equals_its_sequences() -> None:
    batch = MODEL.generate_batch([ROBOT, "Two"], Sampling(top_k=5), Limits(6), samples=2, seed=7)
    again = [
        MODEL.generate(p, max_new_tokens=6, top_k=5, seed=7 + i) for i, p in enumerate([ROBOT, ROBOT, "Two", "Two"])
    ]
    assert batch == again


def test_an_empty_prompt_starts_a_new_text() -> None:
    assert MODEL.generate("", max_new_tokens=5, seed=1) == MODEL.generate([50256], max_new_tokens=5, seed=1)


def test_special_text_in_a_prompt_is_plain_text() -> None:
    assert 50256 not in MODEL.prompt_ids("<|endoftext|>")


def test_logits_equal_the_peers() -> None:
    ids = MODEL.encode(ROBOT)
    logits = MODEL.logits(ROBOT)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, peer_logits(peer_model(WEIGHTS), ids), atol=1e-4)


def test_next_tokens_are_the_likeliest_of_the_whole_vocabulary() -> None:
    candidates = MODEL.next_tokens(ROBOT)
    probabilities = torch.softmax(torch.from_numpy(peer_logits(peer_model(WEIGHTS), MODEL.encode(ROBOT))[-1]), -1)
    best = probabilities.topk(10)
    assert [c.id for c in candidates] == best.indices.tolist()
    assert [c.probability for c in candidates] == pytest.approx(best.values.tolist(), rel=1e-3)
    assert candidates[0].text == Tokenizer.gpt2().decode([candidates[0].id])
    assert sum(c.probability for c in MODEL.next_tokens(ROBOT, count=50257)) == pytest.approx(1)


def test_score_starts_from_end_of_text() -> None:
    ids = [50256, *MODEL.encode(ROBOT)]
    score = MODEL.score(ROBOT)
    assert (score.tokens, score.bytes) == (len(ids) - 1, len(ROBOT))
    assert score.nats == pytest.approx(sum(peer_nats(ids)), rel=1e-4)
    assert score.perplexity == pytest.approx(math.exp(score.nats / score.tokens))
    assert score.bits_per_byte == pytest.approx(score.nats / math.log(2) / len(ROBOT))


def test_score_without_a_start_reads_the_first_token_only() -> None:
    ids = MODEL.encode(ROBOT)
    score = MODEL.score(ROBOT, prepend_bos=False)
    assert score.nats == pytest.approx(sum(peer_nats(ids)), rel=1e-4)
    assert score.bytes == len(ROBOT) - len("A")


def test_score_counts_the_bytes_of_tokens_not_of_decoded_text() -> None:
    """Half a character is one byte, not the three of U+FFFD."""
    first_half = (
        Tokenizer.gpt2().encode("é")[:1]
        if len(Tokenizer.gpt2().encode("é")) > 1
        else Tokenizer.gpt2().encode("\U0001f916")[:1]
    )
    expected = len(Tokenizer.gpt2().token_bytes(first_half[0]))
    assert MODEL.score(first_half).bytes == expected


@pytest.mark.parametrize("length", [31, 32, 33, 48, 49, 64, 65, 100])
def test_a_long_text_is_scored_in_windows_that_overlap_by_half(length: int) -> None:
    ids = random_ids(WEIGHTS.config, length)
    expected = peer_nats([50256, *ids][:33])
    for first in range(16, length - 16, 16):
        expected += peer_nats([50256, *ids][first : first + 33])[16:]
    score = MODEL.score(ids)
    assert score.tokens == length == len(expected)
    assert score.nats == pytest.approx(sum(expected), rel=1e-4)


def test_a_model_without_tokenizer_takes_ids_and_says_so() -> None:
    assert len(MUTE.generate([1, 2], max_new_tokens=3).ids) == 3
    for wrong in (
        lambda: MUTE.generate("text"),
        lambda: MUTE.generate([]),
        lambda: MUTE.score([1, 2]),
        lambda: MUTE.generate([1], stop=["a"]),
    ):
        with pytest.raises(UsageError, match="no tokenizer files"):
            wrong()


def test_scores_and_logits_use_float32_activations_whatever_the_weights() -> None:
    """int8 weights, once de-quantised, are the model."""
    int8 = Model(CpuEngine(WEIGHTS, "int8", threads=1), WEIGHTS, Tokenizer.gpt2(), "int8")
    arrays = {name: quantised(name, WEIGHTS.read(name)) for name in WEIGHTS.config.tensor_shapes()}
    exact = ArrayWeights(WEIGHTS.config, arrays)
    same = Model(ReferenceEngine(exact), exact, Tokenizer.gpt2(), "de-quantised")
    assert_logits_close(int8.logits(ROBOT), same.logits(ROBOT))
    assert int8.score(ROBOT).nats == pytest.approx(same.score(ROBOT).nats, rel=1e-5)
    ours, theirs = (model.next_tokens(ROBOT) for model in (int8, same))
    assert [c.probability for c in ours] == pytest.approx([c.probability for c in theirs], rel=1e-4)
    rounded = int8.engine.forward([int8.encode(ROBOT)], logits="all")
    assert np.abs(rounded - same.logits(ROBOT)).max() > 1e-3


def quantised(name: str, array: FloatArray) -> FloatArray:
    """What is left of a tensor after int8."""
    spec = WEIGHTS.config.tensors[name]
    if not spec.quantisable:
        return array
    if spec.transposed:
        return np.ascontiguousarray(quantise(array.T).dequantise().T)
    return quantise(array).dequantise()


def test_a_stop_string_can_be_given_bare() -> None:
    stop = MODEL.generate(ROBOT, max_new_tokens=20, seed=3).text[8:12]
    bare, listed = (MODEL.generate(ROBOT, max_new_tokens=20, seed=3, stop=s) for s in (stop, [stop]))
    assert bare == listed
    assert bare.stop_reason == "stop"


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda: MODEL.generate(b"text"), "text or token ids"),
        (lambda: MODEL.generate(5), "text or token ids"),  # type: ignore[arg-type]
        (lambda: MODEL.generate(["12"]), "a token id must be a whole number"),  # type: ignore[list-item]
        (lambda: MODEL.generate([1.0]), "a token id must be a whole number"),  # type: ignore[list-item]
        (lambda: MODEL.generate([True]), "a token id must be a whole number"),
        (lambda: MODEL.generate_batch("abc"), "list of prompts"),
        (lambda: MODEL.generate_batch([1, 2]), "text or token ids"),  # type: ignore[list-item]
        (lambda: MODEL.generate(ROBOT, seed=1.5), "seed"),  # type: ignore[arg-type]
        (lambda: MODEL.generate(ROBOT, seed=-1), "seed"),
        (lambda: MODEL.generate_batch([]), "at least one prompt"),
        (lambda: MODEL.generate_batch(5), "list of prompts"),  # type: ignore[arg-type]
        (lambda: MODEL.generate_batch([ROBOT], samples=0), "samples must be at least 1"),
        (lambda: MODEL.generate_batch([ROBOT], samples=1.5), "samples must be a whole"),  # type: ignore[arg-type]
        (lambda: MODEL.generate_batch([ROBOT] * 2, samples=2049), "samples of all prompts together .* 4096, not 4098"),
        (lambda: MODEL.generate(ROBOT, stop=3), "stop must be texts"),  # type: ignore[arg-type]
        (lambda: MODEL.stream("robot " * 40), "42 tokens long"),  # at once, and not when the first piece is asked for
        (lambda: MODEL.stream(ROBOT, temperature=-1), "temperature"),
        (lambda: MODEL.next_tokens("robot " * 40), "42 tokens long"),
        (lambda: MODEL.next_tokens(ROBOT, count=0), "count"),
        (lambda: MODEL.score(""), "empty"),
        (lambda: MODEL.logits([60000]), "a token id must be from 0 to 50256"),
    ],
)
def test_bad_input_is_refused_in_one_line(wrong: object, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        wrong()  # type: ignore[operator]
    assert "\n" not in str(caught.value)
