"""The public face: what `Model` says about text."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cutaway.checkpoints import ArrayWeights, Checkpoint, EffectiveWeights, Weights, save_checkpoint
from cutaway.checkpoints.metadata import Metadata
from cutaway.engines.cpu.engine import CpuEngine
from cutaway.engines.protocol import Engine
from cutaway.engines.pytorch.engine import PyTorchEngine
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import CheckpointError, NonFiniteError, UsageError
from cutaway.evaluation.benchmark import measure, measure_decode
from cutaway.formats import quantise
from cutaway.generation.config import GenerationConfig
from cutaway.generation.config_json import read_generation_config
from cutaway.loading import load
from cutaway.model import Model
from cutaway.numerics import FloatArray
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.reading import read_tokenizer
from tests.tasks.models import save_translator
from tests.tiny import assert_logits_close, peer_logits, peer_model, tiny_weights

WEIGHTS = tiny_weights(n_vocab=50257, n_ctx=32, n_embd=12)
MODEL = Model(ReferenceEngine(WEIGHTS), WEIGHTS, Tokenizer.gpt2(), "tiny")
MUTE = Model(ReferenceEngine(tiny_weights()), tiny_weights(), None, "mute")
ROBOT = "A robot must obey the orders given it"


def peer_nats(ids: list[int]) -> list[float]:
    losses = torch.nn.functional.cross_entropy(
        torch.from_numpy(peer_logits(peer_model(WEIGHTS), ids[:-1])), torch.tensor(ids[1:]), reduction="none"
    )
    return [float(loss) for loss in losses]


def test_stream_and_generate_give_the_same_text() -> None:
    chunks = list(MODEL.stream(ROBOT, max_new_tokens=20, seed=3))
    completion = MODEL.generate(ROBOT, max_new_tokens=20, seed=3)
    assert "".join(chunk.text for chunk in chunks) == completion.text
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].finish_reason == completion.finish_reason
    assert completion.engine == "reference float32"


def test_reports_a_random_seed_that_reproduces_the_text() -> None:
    completion = MODEL.generate(ROBOT, max_new_tokens=10)
    assert MODEL.generate(ROBOT, max_new_tokens=10, seed=completion.seed) == completion
    assert MODEL.generate(ROBOT, max_new_tokens=10).seed != completion.seed


def test_a_batch_equals_its_sequences_one_by_one() -> None:
    batch = MODEL.generate_batch([ROBOT, "Two"], GenerationConfig(top_k=5), max_new_tokens=6, samples=2, seed=7)
    again = [
        MODEL.generate(p, max_new_tokens=6, top_k=5, seed=7 + i) for i, p in enumerate([ROBOT, ROBOT, "Two", "Two"])
    ]
    assert batch == again


def test_samples_are_a_list_and_each_has_a_seed_of_its_own() -> None:
    samples = MODEL.generate(ROBOT, GenerationConfig(max_new_tokens=6, seed=4), samples=3)
    assert samples == [MODEL.generate(ROBOT, max_new_tokens=6, seed=seed) for seed in (4, 5, 6)]
    assert [sample.seed for sample in samples] == [4, 5, 6]
    assert len(MODEL.generate(ROBOT, max_new_tokens=6, samples=1)) == 1


def test_the_models_own_settings_are_the_defaults() -> None:
    model = Model(MODEL.engine, WEIGHTS, MODEL.tokenizer, "own", GenerationConfig(max_new_tokens=3, temperature=0))
    assert model.generate(ROBOT, seed=1) == MODEL.generate(ROBOT, max_new_tokens=3, temperature=0, seed=1)
    assert len(model.generate(ROBOT, max_new_tokens=5).ids) == 5
    assert len(model.generate(ROBOT, GenerationConfig(max_new_tokens=4)).ids) == 4


def test_an_empty_prompt_starts_a_new_text() -> None:
    assert MODEL.generate("", max_new_tokens=5, seed=1) == MODEL.generate([50256], max_new_tokens=5, seed=1)
    other = MODEL.generate("", bos_token_id=9, max_new_tokens=5, seed=1)
    assert other.ids == MODEL.generate([9], max_new_tokens=5, seed=1).ids


def test_an_empty_text_starts_a_piece_of_a_model_without_text() -> None:
    """An empty prompt is the start token alone, whatever the ids stand for."""
    pianist = load("builtin-piano", engine="reference")
    begin = pianist.prompt_ids([])
    assert pianist.generate(max_new_tokens=3, seed=1) == pianist.generate(begin, max_new_tokens=3, seed=1)
    assert pianist.trace("").ids == (pianist.bos,)
    assert MUTE.encode("") == []
    with pytest.raises(UsageError, match="no tokenizer files"):  # and no start token
        MUTE.generate("")


def test_special_text_in_a_prompt_is_plain_text() -> None:
    assert 50256 not in MODEL.prompt_ids("<|endoftext|>")


def test_logits_equal_the_peers() -> None:
    ids = [50256, *MODEL.encode(ROBOT)]
    logits = MODEL.logits(ROBOT)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, peer_logits(peer_model(WEIGHTS), ids), atol=1e-4)


@pytest.mark.slow
def test_next_tokens_are_the_most_likely_of_the_vocabulary() -> None:
    candidates = MODEL.next_tokens(ROBOT)
    probabilities = torch.softmax(torch.from_numpy(peer_logits(peer_model(WEIGHTS), MODEL.encode(ROBOT))[-1]), -1)
    best = probabilities.topk(10)
    assert [c.id for c in candidates] == best.indices.tolist()
    assert [c.probability for c in candidates] == pytest.approx(best.values.tolist(), rel=1e-3)
    assert candidates[0].text == Tokenizer.gpt2().decode([candidates[0].id])
    assert sum(c.probability for c in MODEL.next_tokens(ROBOT, k=50257)) == pytest.approx(1, abs=1e-12)


def test_a_text_is_read_after_end_of_text_and_ids_as_given() -> None:
    ids = MODEL.encode(ROBOT)
    assert MODEL.trace(ROBOT).ids == MODEL.trace(ids, prepend_bos=True).ids == (50256, *ids)
    assert MODEL.trace(ids).ids == MODEL.trace(ROBOT, prepend_bos=False).ids == tuple(ids)
    assert len(MODEL.logits(ROBOT)) == len(MODEL.logits(ids, prepend_bos=True)) == len(ids) + 1
    assert MODEL.score(ROBOT) == MODEL.score(ids, prepend_bos=True)
    assert MODEL.score(ids) == MODEL.score(ROBOT, prepend_bos=False)


def test_a_text_is_read_alone_where_there_is_no_start_token(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[UNK]\na\nrobot", encoding="utf-8")
    model = Model(ReferenceEngine(WEIGHTS), WEIGHTS, read_tokenizer(tmp_path), "bert")
    assert model.input_ids("a robot") == model.encode("a robot") == [1, 2]
    with pytest.raises(UsageError, match="bert has no start token"):
        model.input_ids("a robot", prepend_bos=True)


@pytest.mark.parametrize("prompt", ["", []])
@pytest.mark.parametrize("prepend_bos", [None, True, False])
def test_an_empty_prompt_is_the_start_token(prompt: str | list[int], prepend_bos: bool | None) -> None:
    assert MODEL.input_ids(prompt, prepend_bos) == [50256]
    assert MODEL.trace(prompt, prepend_bos=prepend_bos).ids == (50256,)
    np.testing.assert_array_equal(MODEL.logits(prompt, prepend_bos=prepend_bos), MODEL.logits([50256]))
    with pytest.raises(UsageError, match="nothing to score: the text is empty"):
        MODEL.score(prompt, prepend_bos=prepend_bos)


def test_repr_is_one_short_line() -> None:
    assert repr(MODEL) == "<Model tiny: 2 layers, 3 heads, 12 wide, float32 on reference>"


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
    expected = len(Tokenizer.gpt2().token_bytes(first_half[0]) or b"")
    assert MODEL.score(first_half, prepend_bos=True).bytes == expected


def test_a_model_without_tokenizer_takes_ids_and_says_so() -> None:
    assert MUTE.score([1, 2]).tokens == 1
    assert len(MUTE.generate([1, 2], max_new_tokens=3).ids) == 3
    for wrong in (
        lambda: MUTE.generate("text"),
        lambda: MUTE.generate([]),
        lambda: MUTE.score("text"),
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
    rounded = int8.engine.forward([int8.input_ids(ROBOT)], logits="all")
    assert np.abs(rounded - same.logits(ROBOT)).max() > 1e-3


def quantised(name: str, array: FloatArray) -> FloatArray:
    """Round a tensor to int8 and back."""
    spec = WEIGHTS.config.tensors[name]
    if not spec.quantisable:
        return array
    if spec.transposed:
        return np.ascontiguousarray(quantise(array.T).dequantise().T)
    return quantise(array).dequantise()


def test_stop_accepts_a_single_string() -> None:
    stop = MODEL.generate(ROBOT, max_new_tokens=20, seed=3).text[8:12]
    bare, listed = (MODEL.generate(ROBOT, max_new_tokens=20, seed=3, stop=s) for s in (stop, [stop]))
    assert bare == listed
    assert bare.finish_reason == "stop"


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda: MODEL.generate(b"text"), "text or token ids"),
        (lambda: MODEL.generate(5), "text or token ids"),  # type: ignore[call-overload]
        (lambda: MODEL.generate(["12"]), "one text or its token ids, not .'12'.; generate_batch"),  # type: ignore[list-item]
        (lambda: MODEL.trace([[1, 2], [3, 4]]), "one text or its token ids"),  # type: ignore[list-item]
        (lambda: MODEL.logits(np.array([[1, 2]])), "one text or its token ids"),  # type: ignore[arg-type]
        (lambda: MODEL.generate([1.0]), "a token id must be a whole number"),  # type: ignore[list-item]
        (lambda: MODEL.generate([True]), "a token id must be a whole number"),
        (lambda: MODEL.generate_batch("abc"), "list of prompts"),
        (lambda: MODEL.generate_batch([1, 2]), "text or token ids"),  # type: ignore[list-item]
        (lambda: MODEL.generate(ROBOT, seed=1.5), "seed"),
        (lambda: MODEL.generate(ROBOT, seed=-1), "seed"),
        (lambda: MODEL.generate_batch([]), "number of prompts must be from 1 to 4096"),
        (lambda: MODEL.generate_batch(5), "list of prompts"),  # type: ignore[arg-type]
        (lambda: MODEL.generate_batch([ROBOT], samples=0), "samples must be from 1 to 4096, not 0"),
        (lambda: MODEL.generate_batch([ROBOT], samples=1.5), "samples must be a whole"),  # type: ignore[arg-type]
        (lambda: MODEL.generate_batch([ROBOT] * 2, samples=2049), "samples must be from 1 to 2048, not 2049"),
        (lambda: MODEL.generate(ROBOT, stop=3), "stop must be non-empty strings"),
        (lambda: MODEL.stream("robot " * 40), "42 tokens long"),  # at once, and not when the first chunk is asked for
        (lambda: MODEL.stream(ROBOT, temperature=-1), "temperature"),
        (lambda: MODEL.generate(ROBOT, max_tokens=5), "unknown setting max_tokens; did you mean max_new_tokens?"),
        (lambda: MODEL.generate(ROBOT, do_sample=False), "unknown setting do_sample; known are max_new_tokens, temp"),
        (lambda: MODEL.generate(ROBOT, {"top_k": 5}), "must be a GenerationConfig, not {'top_k': 5}"),  # type: ignore[call-overload]
        (lambda: MODEL.next_tokens("robot " * 40), "42 tokens long"),
        (lambda: MODEL.next_tokens(ROBOT, k=0), "k must be"),
        (lambda: MODEL.score(""), "empty"),
        (lambda: MODEL.score([5]), "nothing to score"),
        (lambda: MODEL.logits([60000]), "a token id must be from 0 to 50256"),
    ],
)
def test_rejects_invalid_input_in_one_line(wrong: object, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        wrong()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [None, "float16", "int8"])
@pytest.mark.parametrize("make", [ReferenceEngine, lambda weights: CpuEngine(weights, "int8", threads=1)])
def test_a_saved_model_equals_the_model(
    tmp_path: Path, dtype: str | None, make: Callable[[ArrayWeights], ReferenceEngine | CpuEngine]
) -> None:
    engine = make(WEIGHTS)
    model = Model(engine, WEIGHTS, Tokenizer.gpt2(), "tiny", GenerationConfig(top_k=3, eos_token_id=7))
    model.save(tmp_path / "saved", dtype)
    saved = Checkpoint(tmp_path / "saved", "saved")
    assert saved.dtype == (dtype or engine.dtype)
    assert saved.special_tokens == {"bos_token_id": 50256, "eos_token_id": 50256}
    assert read_generation_config(tmp_path / "saved", 50257) == model.generation_config
    tokenizer = saved.tokenizer()
    assert tokenizer is not None
    assert tokenizer.encode(ROBOT) == model.encode(ROBOT)
    expected = EffectiveWeights(model.weights, saved.dtype)
    for name in WEIGHTS.config.tensors:
        np.testing.assert_array_equal(saved.read(name), expected[name])
    with pytest.raises(CheckpointError, match="holds config.json already"):
        model.save(tmp_path / "saved", dtype)
    model.save(tmp_path / "saved", dtype, overwrite=True)


def test_a_saved_model_keeps_the_special_tokens_of_its_config(tmp_path: Path) -> None:
    special = {"bos_token_id": 3, "eos_token_id": 4}
    Model(ReferenceEngine(WEIGHTS), WEIGHTS, None, "tiny", metadata=Metadata(special)).save(tmp_path / "saved")
    assert Checkpoint(tmp_path / "saved", "saved").special_tokens == special


def test_saves_the_weights_of_a_model(tmp_path: Path) -> None:
    int8 = Model(CpuEngine(WEIGHTS, "int8", threads=1), WEIGHTS, None, "int8")
    save_checkpoint(tmp_path / "saved", int8.weights)
    saved = Checkpoint(tmp_path / "saved", "saved")
    assert saved.dtype == int8.weights.dtype == "int8"
    assert int8.weights.config == saved.config
    np.testing.assert_array_equal(saved.read("wte.weight"), int8.weights.read("wte.weight"))
    np.testing.assert_array_equal(CpuEngine(saved, threads=1).forward([[1, 2, 3]]), int8.engine.forward([[1, 2, 3]]))


def test_read_returns_a_copy() -> None:
    weights = Model(ReferenceEngine(WEIGHTS), WEIGHTS, None, "tiny").weights
    weights.read("ln_f.bias")[:] = 7
    assert (weights.read("ln_f.bias") == WEIGHTS.arrays["ln_f.bias"]).all()


def overflowing(engine: str) -> Model:
    weights = tiny_weights()
    arrays = {name: weights.read(name) for name in weights.config.tensors}
    arrays["h.0.mlp.c_fc.weight"] *= 100 if engine == "float16" else 1e25
    arrays["h.0.mlp.c_proj.weight"] *= 1e4 if engine == "float16" else 1e25
    broken = ArrayWeights(weights.config, arrays)
    made: dict[str, Callable[[Weights], Engine]] = {
        "cpu": CpuEngine,
        "reference": ReferenceEngine,
        "float16": lambda weights: PyTorchEngine(weights, "float16"),
    }
    return Model(made[engine](broken), broken, None, "overflowing")


@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_every_reader_of_logits_rejects_numbers_that_are_not_finite(engine: str) -> None:
    model = overflowing(engine)
    readers: list[Callable[[], object]] = [
        lambda: model.generate([1, 2]),
        lambda: model.generate([1, 2], temperature=0),
        lambda: list(model.stream([1, 2])),
        lambda: model.next_tokens([1, 2]),
        lambda: model.logits([1, 2]),
        lambda: model.score([1, 2]),
        lambda: model.trace([1, 2]),
        lambda: measure(model.engine, prefill=2, depth=2, batch=1, new_tokens=1, repeats=1),
        lambda: measure_decode(model.engine, 1, 2, 1, 1),
    ]
    for read in readers:
        with pytest.raises(NonFiniteError, match="not finite"):
            read()


def test_activations_beyond_float16_are_an_error_where_it_computes() -> None:
    model = overflowing("float16")
    with pytest.raises(NonFiniteError, match="not finite"):
        model.generate([1, 2])
    assert np.isfinite(model.logits([1, 2])).all()


def special(config_ids: object, file_ids: object, codec: Tokenizer | None) -> Model:
    """A model whose config.json and generation_config.json name end tokens (and the first as start token)."""
    settings = GenerationConfig() if file_ids is None else GenerationConfig(eos_token_id=[7, 8], bos_token_id=7)
    return Model(
        ReferenceEngine(WEIGHTS),
        WEIGHTS,
        codec,
        "special",
        settings,
        Metadata({"eos_token_id": config_ids, "bos_token_id": config_ids}),
    )


@pytest.mark.parametrize(
    ("config_ids", "file_ids", "codec", "bos", "eos"),
    [
        (5, [7, 8], Tokenizer.gpt2(), 7, (7, 8)),
        ([5, 6], None, Tokenizer.gpt2(), 5, (5, 6)),
        (5, None, None, 5, (5,)),
        (None, None, Tokenizer.gpt2(), 50256, (50256,)),
        (60000, None, Tokenizer.gpt2(), 50256, (50256,)),
        (None, None, None, None, ()),
    ],
)
def test_start_and_end_tokens_come_from_generation_config_config_and_tokenizer(
    config_ids: object, file_ids: object, codec: Tokenizer | None, bos: int | None, eos: tuple[int, ...]
) -> None:
    model = special(config_ids, file_ids, codec)
    assert model.bos == bos
    assert model.settings().eos_token_id == eos
    assert model.settings(GenerationConfig(top_k=3)).eos_token_id == eos
    assert model.settings(eos_token_id=9).eos_token_id == (9,)
    if bos is not None:
        assert model.prompt_ids([]) == model.input_ids([]) == [bos]


def test_traces_of_a_task_are_what_the_model_computes(tmp_path: Path) -> None:
    model = load(save_translator(tmp_path / "translator"), engine="reference")
    fields = {"from": "en", "to": "de", "source": "a little night", "target": "kleine Nacht"}
    example = model.encoder().encode(fields)
    trace = model.trace_example(fields)
    ids = example.ids.tolist()
    assert (list(trace.ids), trace.n_prefix) == (ids, example.n_prefix)
    expected = model.engine.forward([ids], logits="all", n_prefix=[example.n_prefix], exact=True)
    np.testing.assert_allclose(trace["logits"], expected, atol=1e-4)
    assert model.trace(ids).n_prefix == example.n_prefix  # found by the task
    assert model.trace(ids, n_prefix=0).n_prefix == 0
    full = fields | {"source": "a", "target": "b" * 60}  # the context, and the end that comes after it
    ids_of_full = model.encoder().encode(full).ids.tolist()
    assert len(ids_of_full) == model.config.n_ctx + 1
    assert model.trace_example(full).ids == tuple(ids_of_full[:-1])
    written = model.trace_example({name: text for name, text in fields.items() if name != "target"})
    assert written.ids[: example.n_prefix] == tuple(ids[: example.n_prefix])
    assert written.n_prefix == example.n_prefix
