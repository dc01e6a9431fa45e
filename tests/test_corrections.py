"""docs/corrections.md, item by item, measured: the article's words or numbers that are not GPT-2's."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

import cutaway
from cutaway.config import PUBLISHED, GPT2Config
from cutaway.engines.reference import MASKED, ReferenceEngine
from cutaway.figures.article.article_numbers import NUMBERS
from cutaway.figures.article.decoding import beginning
from cutaway.generation.batch import generate
from cutaway.generation.config import GenerationConfig
from cutaway.generation.stream import collect
from cutaway.numerics import FloatArray, softmax
from cutaway.parameters import parameter_table
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace import Intervention, Trace
from tests.tiny import random_ids, tiny_weights

GPT2 = Tokenizer.gpt2()


@cache
def builtin() -> Trace:
    return cutaway.load(engine="reference").trace("A robot must obey the orders given it", prepend_bos=True)


def heads(trace: Trace, kind: str = "attn") -> FloatArray:
    """(L, H, T, T): a tensor of every layer."""
    return np.stack([trace[f"{kind}.{layer}"] for layer in range(trace.config.n_layer)])


def later(attn: FloatArray) -> FloatArray:
    """(..., T): how much of its weight each token gives to those after it."""
    shares: FloatArray = np.triu(attn, 1).sum(axis=-1)
    return shares


def test_1_parameter_table() -> None:
    table = parameter_table(GPT2Config())
    wrong = {row.tensor: (row.article, row.parameters) for row in (*table.block, *table.final) if row.difference}
    assert wrong == {"mlp.c_fc.bias": (768, 3072), "ln_f.weight": (0, 768), "ln_f.bias": (0, 768)}
    assert (table.article_block, table.block_parameters) == (7_085_568, 7_087_872)
    assert (table.article_blocks, table.blocks_parameters) == (85_026_816, 85_054_464)
    assert (table.article_parameters, table.parameters) == (124_410_624, 124_439_808)
    assert table.parameters - table.article_parameters == 12 * (3072 - 768) + 1536 == 29_184


def test_2_names_of_the_sizes() -> None:
    assert [(m.first_size, m.size) for m in PUBLISHED] == [
        ("117M", "124M"),
        ("345M", "355M"),
        ("762M", "774M"),
        ("1542M", "1558M"),
    ]
    for model in PUBLISHED:
        assert f"{model.config.n_params / 1e6:.0f}M" == model.size
    assert GPT2Config(tie_word_embeddings=False).n_params == 163_037_184


@pytest.mark.slow
def test_3_scores_are_scaled() -> None:
    scores = np.where(np.tri(4, dtype=bool), NUMBERS["article.scores"], MASKED)

    def printed(width: int) -> NDArray[np.float64]:
        return np.round(softmax(scores / np.sqrt(width)), 2)

    np.testing.assert_allclose(printed(1)[1, :2], [0.42, 0.58], atol=1e-6)  # nothing is divided
    gives_the_table = [w for w in range(1, 200) if np.allclose(printed(w), NUMBERS["article.softmax"], atol=1e-6)]
    assert gives_the_table == [14, 15, 16, 17, 18, 19, 20]
    np.testing.assert_allclose(builtin()["scores.0"], builtin()["scores_raw.0"] / np.sqrt(64), rtol=1e-6)


@pytest.mark.slow
def test_4_a_score_of_zero_has_weight() -> None:
    zeroed = builtin().intervene(Intervention("mask_value", value=0))
    scores = zeroed["masked.0"]
    assert (scores[:, np.triu(np.ones((9, 9), bool), 1)] == 0).all()
    largest = scores.max(axis=-1, keepdims=True)
    share = np.exp(-largest[..., 0]) / np.exp(scores - largest).sum(axis=-1)  # exp(0) over the sum
    np.testing.assert_allclose(zeroed["attn.0"][:, 0, 1], share[:, 0], rtol=1e-5)
    assert later(heads(zeroed))[..., :-1].mean() == pytest.approx(0.155, abs=0.01)
    assert not later(heads(builtin())).any()


@pytest.mark.parametrize(("value", "leaks"), [(-1e4, True), (-1e9, False), (-1e10, False)])
def test_5_the_value_of_the_mask(value: float, leaks: bool) -> None:
    assert np.float32(-1e10) == MASKED
    low = low_scores()
    assert low["scores.0"].max() < -28_000
    masked = low.intervene(Intervention("mask_value", value=value))
    np.testing.assert_array_equal(later(masked["attn.0"])[:, :-1], np.full((3, 6), float(leaks)))


def low_scores() -> Trace:
    """A model whose scores are all far below zero: every query is (100, 100, ...) and every key the opposite."""
    weights = tiny_weights(n_layer=1)
    tensors = {name: weights.read(name) for name in weights.config.tensor_shapes()}
    width = weights.config.n_embd
    tensors["h.0.attn.c_attn.weight"][:, : 2 * width] = 0
    tensors["h.0.attn.c_attn.bias"][: 2 * width] = np.repeat([100, -100], width)
    return Trace(weights.config, tensors, None, random_ids(weights.config, 7))


@pytest.mark.slow
def test_6_blocks_add_and_ln_f_comes_before_the_output_matrix() -> None:
    trace = builtin()
    before, added, after = (trace[f"{name}.2"][8] for name in ("resid.mid", "mlp_out", "resid.post"))
    np.testing.assert_allclose(after, before + added, rtol=1e-6)
    assert [round(float(np.linalg.norm(x))) for x in (before, added)] == [138, 22]
    np.testing.assert_allclose(trace["ln_f"] @ trace["wte.weight"].T, trace["logits"], atol=1e-4)
    without = trace.intervene(Intervention("no_final_norm"))
    assert np.abs(without["logits"] - trace["logits"]).max() == pytest.approx(531, abs=1)
    assert softmax(without.logits_at(-1)).max() == pytest.approx(1, abs=1e-2)
    assert softmax(trace.logits_at(-1)).max() < 0.5


def test_7_logits_are_not_probabilities() -> None:
    logits = builtin().logits_at(-1)
    assert (round(float(logits.min()), 1), round(float(logits.max()), 1)) == (-12.7, 13.3)
    assert builtin()["probs"][-1].sum() == pytest.approx(1, abs=1e-4)


def test_8_tokens_are_not_words() -> None:
    assert GPT2.n_vocab == 256 + 50_000 + 1 == GPT2Config().n_vocab
    assert len(GPT2.encode("aardvark")) == len(GPT2.encode(" aardvark")) == 4
    assert (len(GPT2.encode("zyzzyva")), len(GPT2.encode(" zyzzyva"))) == (3, 4)
    tokens = [GPT2.token_bytes(i) or b"" for i in range(GPT2.n_vocab)]
    assert tokens[0] == b"!"
    assert tokens != sorted(tokens)


def test_9_one_example_is_counted_one_way() -> None:
    trace = builtin()
    assert [trace.ids.index(GPT2.encode(word)[0]) + 1 for word in ("A", " it")] == [2, 9]
    assert trace.ids[0] == GPT2.eos
    np.testing.assert_allclose(heads(trace)[:, :, 8].sum(axis=-1), 1, atol=1e-5)


def test_10_one_pass_computes_every_prefix() -> None:
    trace = builtin()
    for count in range(1, len(trace) + 1):
        np.testing.assert_allclose(beginning(trace, count).logits_at(-1), trace["logits"][count - 1], atol=1e-3)


@pytest.mark.parametrize("ignore_eos", [False, True])
def test_11_the_end_token_ends_a_text_only_on_request(ignore_eos: bool) -> None:
    class Ending(ReferenceEngine):
        def forward(self, *args: object, **more: object) -> FloatArray:
            logits = super().forward(*args, **more)  # type: ignore[arg-type]
            logits[:, GPT2.eos] = 1e9
            return logits

    engine = Ending(tiny_weights(n_vocab=GPT2.n_vocab))
    events = generate(engine, GPT2, [[1]], GenerationConfig(max_new_tokens=5, ignore_eos=ignore_eos), [0])
    written = collect(events, [0], "test")[0]
    assert (len(written.ids), written.finish_reason) == ((5, "length") if ignore_eos else (0, "eos"))


def test_12_number_of_music_events() -> None:
    note_on = note_off = 2**7  # a MIDI byte of data has seven bits: 0 to 127
    velocities = 32
    steps = 100
    assert note_on + note_off + velocities + steps == 388
    assert [velocity // 4 for velocity in (0, 127)] == [0, velocities - 1]


def test_13_the_cache_has_keys_and_values_and_no_queries() -> None:
    trace = builtin()
    assert [name for name in trace.shapes() if name.startswith("cache")] == ["cache.k", "cache.v"]
    engine = ReferenceEngine(tiny_weights())
    cached = engine.new_cache(1)
    engine.forward([[1, 2, 3]], cached)
    rows = cached.rows[0]
    assert rows is not None
    assert all(len(kept) == 2 for kept in rows)
    apart = np.abs(trace["cache.k"] - trace["cache.v"]).max(axis=(1, 2, 3))  # (L,)
    assert (apart >= 2).all()
    with_keys = trace.intervene(Intervention("values_are_keys"))
    assert with_keys.logits_at(-1).argmax() != trace.logits_at(-1).argmax()
