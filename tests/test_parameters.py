import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway import PUBLISHED, GPT2Config
from cutaway.config import PublishedModel
from cutaway.parameters import notes, parameter_table, published_as
from tests.random_weights import random_weights

SHAPES = st.builds(
    lambda heads, width, **sizes: GPT2Config(n_head=heads, n_embd=heads * width, **sizes),
    st.integers(1, 4),
    st.integers(1, 8),
    n_vocab=st.integers(1, 100),
    n_ctx=st.integers(1, 50),
    n_layer=st.integers(1, 12),
    n_inner=st.integers(1, 40),
    relative_positions=st.integers(0, 50),
    tie_word_embeddings=st.booleans(),
)


@given(SHAPES)
def test_the_table_sums_to_the_size_of_the_tensors(config: GPT2Config) -> None:
    table = parameter_table(config)
    assert table.parameters == config.n_params
    names = [row.tensor for row in (*table.embeddings, *table.final)]
    names += [f"h.{layer}.{row.tensor}" for layer in range(config.n_layer) for row in table.block]
    assert sorted(names) == sorted(config.tensor_shapes())


def test_the_count_equals_the_numbers_in_the_checkpoint() -> None:
    weights = random_weights(GPT2Config(n_vocab=30, n_ctx=8, n_embd=12, n_head=3, n_layer=2))
    loaded = sum(weights.read(name).size for name in weights.config.tensor_shapes())
    assert parameter_table(weights.config).parameters == loaded


def test_the_articles_count_is_29184_too_small() -> None:
    table = parameter_table(GPT2Config())
    assert table.matches_article
    assert (table.block_parameters, table.article_block) == (7_087_872, 7_085_568)
    assert (table.blocks_parameters, table.article_blocks) == (85_054_464, 85_026_816)
    assert (table.parameters, table.article_parameters) == (124_439_808, 124_410_624)
    wrong = {row.tensor: row.difference for row in (*table.embeddings, *table.block, *table.final) if row.difference}
    assert wrong == {"mlp.c_fc.bias": 2_304, "ln_f.weight": 768, "ln_f.bias": 768}
    assert "12 × 2,304 + 1,536 = 29,184" in notes(table)[0]


def test_explains_117_million_parameters() -> None:
    told = " ".join(notes(parameter_table(GPT2Config())))
    for fact in ("124,410,624", "117M", "124M", "wrong due to an error", "163,037,184"):
        assert fact in told


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda model: model.name)
def test_the_published_models_are_recognised_by_their_tensors(model: PublishedModel) -> None:
    assert published_as(model.config) is model
    assert parameter_table(model.config).matches_article == (model.name == "gpt2")


def test_an_untied_head_is_a_matrix_of_its_own() -> None:
    table = parameter_table(GPT2Config(tie_word_embeddings=False))
    assert table.parameters == 163_037_184
    assert not table.matches_article
    assert published_as(table.config) is None
    (note,) = notes(table)
    assert "124,439,808" in note


def test_rows_have_their_size() -> None:
    table = parameter_table(GPT2Config())
    assert all(row.parameters == math.prod(row.shape) for row in table.block)
