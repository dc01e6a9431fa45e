"""Facts of the published models, and invalid hyperparameters."""

from dataclasses import replace

import pytest

from cutaway.config import PUBLISHED, GPT2Config, published
from cutaway.errors import UsageError


@pytest.mark.parametrize(
    ("name", "n_params"),
    [("gpt2", 124_439_808), ("gpt2-medium", 354_823_168), ("gpt2-large", 774_030_080), ("gpt2-xl", 1_557_611_200)],
)
def test_the_published_models_have_their_exact_parameter_counts(name: str, n_params: int) -> None:
    model = published(name)
    assert model is not None
    assert model.config.n_params == n_params


def test_both_names_of_a_size_find_the_same_model() -> None:
    for model in PUBLISHED:
        assert published(model.size) == published(model.first_size) == published(model.name) == model
    assert published("125M") is None


def test_the_default_is_the_smallest_published_model() -> None:
    assert GPT2Config() == PUBLISHED[0].config
    assert (GPT2Config().n_inner, GPT2Config().d_head) == (3072, 64)


def test_the_width_of_the_mlp_follows_the_width_of_the_model_unless_given() -> None:
    medium = replace(GPT2Config(), n_embd=1024, n_head=16)
    assert medium.n_inner == 4096
    assert replace(medium, n_layer=24) == PUBLISHED[1].config
    assert replace(GPT2Config(n_inner=3072), n_embd=1024, n_head=16).n_inner == 3072
    assert repr(medium.n_inner) == "4096"


def test_counts_an_untied_head() -> None:
    assert GPT2Config(tie_word_embeddings=False).n_params == 163_037_184


@pytest.mark.parametrize(
    ("shape", "complaint"),
    [
        ({"n_embd": 10, "n_head": 3}, "multiple of n_head"),
        ({"n_inner": -1}, "n_inner must be a positive"),
        ({"n_layer": 0}, "n_layer must be a positive"),
        ({"n_vocab": 2**31}, "n_vocab must be a positive"),
        ({"n_ctx": True}, "n_ctx must be a positive"),
        ({"relative_positions": -1}, "relative_positions must be a positive"),
        ({"relative_positions": True}, "relative_positions must be a positive"),
        ({"layer_norm_epsilon": 0.0}, "layer_norm_epsilon must be"),
        ({"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon must be"),
    ],
)
def test_invalid_hyperparameters_are_rejected(shape: dict[str, int], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        GPT2Config(**shape)  # type: ignore[arg-type]
