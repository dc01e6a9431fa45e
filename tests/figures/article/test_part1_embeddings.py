"""F18 to F29: vectors, what words look at, and the choice of the next token."""

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from cutaway.config import GPT2Config
from cutaway.figures import Figure, Selection
from cutaway.figures.article import (
    part1_embeddings,
    part1_model_output,
    part1_query_key_value,
    part1_sampling,
    part1_self_attention,
)
from cutaway.figures.panels import Arcs, Grid, LocalizedText, Number, Table
from cutaway.generation.config import GenerationConfig
from cutaway.generation.sampling import distribution
from cutaway.numerics import softmax
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace import Intervention, Trace
from tests.figures.drawing import TRACES, assert_drawn, draw, falsify, is_ok, make_trace

FIGURES = (
    *part1_embeddings.FIGURES,
    *part1_self_attention.FIGURES,
    *part1_query_key_value.FIGURES,
    *part1_model_output.FIGURES,
    *part1_sampling.FIGURES,
)
BY_ID = {figure.id: figure for figure in FIGURES}


def figure(name: str) -> Figure:
    return BY_ID[name]


def test_these_are_all() -> None:
    assert sorted(BY_ID) == [f"F{number}" for number in range(18, 30)]
    assert all(each.part == 1 and each.status == "live" for each in FIGURES)
    assert [BY_ID[name].picture for name in sorted(BY_ID)] == list(range(16, 28))


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("each", FIGURES, ids=lambda each: each.id)
def test_holds_and_can_be_drawn(each: Figure, name: str) -> None:
    trace = make_trace(name)
    assert_drawn(trace, each)
    assert_drawn(trace, each, Selection(trace.config.n_layer - 1, trace.config.n_head - 1, 0))


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("F18", "tok_emb"),
        ("F19", "pos_emb"),
        ("F20", "resid.pre.0"),
        ("F21", "mlp_out.1"),
        ("F22", "q.0"),
        ("F23", "v.0"),
        ("F24", "attn.0"),
        ("F25", "z.0"),
        ("F26", "tok_emb"),
        ("F26", "wte.weight"),
    ],
)
def test_a_wrong_number_is_found(name: str, tensor: str) -> None:
    trace = make_trace("tiny 7")
    assert is_ok(trace, figure(name))
    assert not is_ok(falsify(trace, tensor), figure(name))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("F19", "no_positions"),
        ("F21", "no_residual_mlp"),
        ("F22", "no_scale"),
        ("F23", "values_are_keys"),
        ("F24", "no_mask"),
        ("F26", "no_final_norm"),
    ],
)
def test_a_changed_model_is_no_gpt2(name: str, kind: str) -> None:
    changed = make_trace("tiny 7").intervene(Intervention(kind))
    assert not is_ok(changed, figure(name), Selection(position=3))


@pytest.mark.parametrize(
    ("name", "room", "function", "wrong"),
    [
        ("F27", part1_model_output, "softmax", lambda x: x / x.sum()),
        ("F28", part1_sampling, "distribution", lambda logits, sampling: (np.arange(len(logits)), softmax(logits))),
        (
            "F28",
            part1_sampling,
            "distribution",
            lambda logits, each: distribution(logits, replace(each, temperature=1.0)),
        ),
        ("F28", part1_sampling, "distribution", lambda logits, each: distribution(logits, replace(each, top_p=1.0))),
    ],
)
def test_a_wrong_choice_is_found(
    name: str, room: ModuleType, function: str, wrong: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = make_trace("tiny 7")
    assert is_ok(trace, figure(name))
    monkeypatch.setattr(room, function, wrong)
    assert not is_ok(trace, figure(name))


@pytest.mark.parametrize("name", ["ln_f.mean", "ln_f.rstd", "ln_f"])
def test_a_wrong_last_norm_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = part1_model_output.read_out
    monkeypatch.setattr(
        part1_model_output, "read_out", lambda *where: right(*where) | {name: right(*where)[name] + 0.01}
    )
    assert not is_ok(make_trace("tiny 7"), figure("F26"))


def test_a_head_that_is_not_the_best_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    trace, looks = make_trace("tiny 7"), part1_self_attention._looks
    monkeypatch.setattr(part1_self_attention, "_looks", lambda trace, position: looks(trace, position)[1:])
    assert not is_ok(trace, figure("F22"))


def test_wrong_pooling_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = make_trace("tiny 7")
    monkeypatch.setattr(part1_embeddings, "_pooled", lambda vector, count: vector[:count])
    assert not is_ok(trace, figure("F29"))


def test_the_row_of_the_token_stands_among_its_neighbours() -> None:
    trace = make_trace("built-in")
    grid, row = draw(trace, figure("F18")).panels[1:]
    assert isinstance(grid, Grid)
    assert grid.rows[4] == "→ ␣it"
    assert isinstance(row, Grid)
    assert grid.cells.index(4, 0) == row.cells.index(0, 0) == (trace.ids[-1], 0)


def test_the_best_head_is_the_best_of_all() -> None:
    trace, position = make_trace("built-in"), 8
    weights = np.stack([trace[f"attn.{layer}"][:, position] for layer in range(trace.config.n_layer)])  # (L, H, T)
    weights[:, :, [0, position]] = 0
    best = part1_self_attention._looks(trace, position)[0]
    assert best.weight == weights.max() == weights[best.layer, best.head, best.key]
    assert np.abs(part1_self_attention._weights(trace, position)[:, :, 1:position].max() - best.weight) < 1e-6
    lines = draw(trace, figure("F22")).panels[1]
    assert isinstance(lines, Arcs)
    assert lines.cells.index(0, best.key) == (best.head, position, best.key)


@pytest.mark.parametrize("position", [0, 1])
def test_the_first_two_tokens_have_nothing_else_to_look_at(position: int) -> None:
    panels = draw(make_trace("tiny 7"), figure("F22"), Selection(position=position)).panels
    assert [type(panel).__name__ for panel in panels] == ["Note", "Arcs"]


def test_a_long_text_has_a_row_for_the_heaviest_weights_and_one_for_the_others() -> None:
    trace = make_trace("long 70")
    table = draw(trace, figure("F25")).panels[1]
    assert isinstance(table, Table)
    *terms, others, total = table.rows
    assert len(terms) == 12
    assert others[0] == LocalizedText("58 others", "其余 58 个")
    for column in (2, 3):
        parts = [row[column] for row in (*terms, others)]
        whole = total[column]
        assert isinstance(whole, Number)
        assert sum(part.value for part in parts if isinstance(part, Number)) == pytest.approx(whole.value, abs=1e-5)


def top_rows(trace: Trace, k: int) -> list[float]:
    """The probabilities of the likeliest tokens after the last, with that cut."""
    ids, share = distribution(trace.logits_at(-1), GenerationConfig(top_k=k))
    return [float(share[i]) for i in np.argsort(-trace.logits_at(-1)[ids], kind="stable")[:10]]


def test_the_cuts_are_those_of_sampling() -> None:
    trace = make_trace("tiny 7")
    table = draw(trace, figure("F28")).panels[1]
    assert isinstance(table, Table)
    *tokens, left, _ = table.rows
    for column, k in ((3, 0), (4, 40), (5, 1)):
        first = [row[column].value for row in tokens if isinstance(row[column], Number)][:5]  # type: ignore[union-attr]
        assert first == pytest.approx(top_rows(trace, k)[: len(first)], abs=1e-7)
    assert [cell.value for cell in left if isinstance(cell, Number)] == [61, 40, 1]


@pytest.mark.parametrize(("panel", "cuts"), [(1, {"k = 1": 1, "k = 40": 40}), (3, {"p = 0.9": None, "k = 40": 40})])
def test_a_line_stands_where_the_candidates_are_cut(panel: int, cuts: dict[str, int | None]) -> None:
    table = draw(make_trace("tiny 7"), figure("F28")).panels[panel]
    assert isinstance(table, Table)
    lines = {row[1].en: i for i, row in enumerate(table.rows[:-2]) if isinstance(row[1], LocalizedText)}
    assert list(lines) == [f"cut at {name}" for name in cuts]
    for i, (name, rank) in zip(lines.values(), cuts.items(), strict=True):
        column = list(table.columns).index(name)
        assert isinstance(table.rows[i - 1][column], Number)
        assert table.rows[i + 1][column] == part1_sampling.CUT_OFF
        assert rank is None or table.rows[i - 1][0] == str(rank)


def test_where_nothing_is_cut_there_is_no_line() -> None:
    trace = make_trace("one head 7")  # of 7 tokens
    table = draw(trace, figure("F28")).panels[1]
    assert isinstance(table, Table)
    assert [row[1].en for row in table.rows[:-2] if isinstance(row[1], LocalizedText)] == ["cut at k = 1"]


def test_a_vector_is_pooled_as_it_says() -> None:
    trace = make_trace("tiny 7")
    three, twelve, all_numbers = (panel for panel in draw(trace, figure("F29")).panels if isinstance(panel, Grid))
    vector = trace["resid.pre.0"][-1]
    assert three.cells.values[0] == pytest.approx(vector.reshape(3, 8).mean(axis=1))
    assert twelve.cells.values[0] == pytest.approx(vector.reshape(12, 2).mean(axis=1))
    assert (all_numbers.cells.values[0] == vector).all()
    for pooled in (three, twelve):
        assert isinstance(pooled.title, LocalizedText)
        assert pooled.title.en.startswith("pooled")
        assert "池化" in pooled.title.zh


def test_rows_beyond_the_tokenizer_are_called_by_their_id() -> None:
    tokenizer = Tokenizer.gpt2()
    config = GPT2Config(n_vocab=tokenizer.n_vocab + 3, n_ctx=4, n_embd=2, n_head=1, n_layer=1)
    weights = {name: np.ones(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    grid = draw(Trace(config, weights, tokenizer, [tokenizer.n_vocab + 2]), figure("F18")).panels[1]
    assert isinstance(grid, Grid)
    assert list(grid.rows[-4:]) == ["<|endoftext|>", "#50257", "#50258", "→ #50259"]
