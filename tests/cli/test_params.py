import pytest

from cutaway import PUBLISHED, GPT2Config, save_checkpoint
from tests.cli.invoke import invoke
from tests.random_weights import random_weights

GOLDEN = """\
gpt2: 12 blocks, width 768, 12 heads, context 1,024, vocabulary 50,257

tensor                  shape          parameters  the article
wte.weight              50,257 × 768   38,597,376   38,597,376
wpe.weight              1,024 × 768       786,432      786,432
h.*.ln_1.weight         768                   768          768
h.*.ln_1.bias           768                   768          768
h.*.attn.c_attn.weight  768 × 2,304     1,769,472    1,769,472
h.*.attn.c_attn.bias    2,304               2,304        2,304
h.*.attn.c_proj.weight  768 × 768         589,824      589,824
h.*.attn.c_proj.bias    768                   768          768
h.*.ln_2.weight         768                   768          768
h.*.ln_2.bias           768                   768          768
h.*.mlp.c_fc.weight     768 × 3,072     2,359,296    2,359,296
h.*.mlp.c_fc.bias       3,072               3,072          768  ←
h.*.mlp.c_proj.weight   3,072 × 768     2,359,296    2,359,296
h.*.mlp.c_proj.bias     768                   768          768
one block                               7,087,872    7,085,568  ←
all 12 blocks                          85,054,464   85,026,816  ←
ln_f.weight             768                   768            -  ←
ln_f.bias               768                   768            -  ←
total                                 124,439,808  124,410,624  ←

The article's table comes to 124,410,624, which is 29,184 too few: in each of
the 12 blocks it gives mlp.c_fc.bias 768 parameters where it has 3,072, and it
leaves out ln_f. 12 × 2,304 + 1,536 = 29,184.

OpenAI called this model 117M at first and 124M later: as the README of
openai/gpt-2 has it, "our original parameter counts were wrong due to an error".

The output matrix is wte once more (a tied head), so it is counted once. With a
copy of its own the model would have 163,037,184 parameters.
"""


@pytest.mark.parametrize("name", ["gpt2", "124M", "117M"])
def test_gpt2_is_counted_beside_the_article_without_a_file(name: str) -> None:
    result = invoke("params", name)
    assert (result.code, result.err) == (0, "")
    assert result.out == GOLDEN


def test_marks_are_coloured_on_a_terminal() -> None:
    assert invoke("params", "gpt2", terminal=True).out == GOLDEN.replace("←", "\x1b[33m←\x1b[0m")


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda model: model.name)
def test_json_has_every_tensor(model: object) -> None:
    assert isinstance(model, type(PUBLISHED[0]))
    document = invoke("params", model.size, "--json").document
    assert document["parameters"] == model.config.n_params
    tensors = document["tensors"]
    assert isinstance(tensors, list)
    assert sum(tensor["parameters"] * tensor["copies"] for tensor in tensors) == model.config.n_params
    assert document["article_parameters"] == (124_410_624 if model.name == "gpt2" else None)
    assert all(("article" in tensor) == (model.name == "gpt2") for tensor in tensors)
    assert any(model.first_size in note for note in document["notes"])  # type: ignore[attr-defined]


def test_counts_the_parameters_of_a_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("model") / "untied"
    config = GPT2Config(n_vocab=60, n_ctx=8, n_embd=8, n_head=2, n_layer=3, tie_word_embeddings=False)
    save_checkpoint(directory, random_weights(config))
    result = invoke("params", str(directory))
    assert result.code == 0
    assert "the article" not in result.out
    assert "lm_head.weight" in result.out
    assert f"{config.n_params:,}" in result.out
    assert "untied head" in result.out
    assert f"would have {config.n_params - 480:,} parameters" in result.out
