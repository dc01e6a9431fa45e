"""The benchmark of a GPU, in miniature on a CPU."""

import pytest
import torch

from bench.gpu import MINIATURE, decoded, figures, generate_ours, generate_theirs, ours, transformers_static
from cutaway.engines.pytorch.engine import PyTorchEngine
from cutaway.engines.pytorch.model import GPT2

CPU = torch.device("cpu")


@pytest.mark.slow
def test_every_figure_is_there() -> None:
    found = dict(figures(MINIATURE, CPU))
    assert found.pop("device") == "CPU"
    assert found.pop("generating with") == "modules"
    with_kernels = "blocks by kernels, loss by kernels"  # in the interpreter, where it is installed
    assert found.pop("training with") in ("blocks by modules, loss by modules", with_kernels)
    theirs = found["training, 2 sequences, nanoGPT compiled, tokens/s"]
    if theirs == "ModuleNotFoundError: No module named 'model'":  # it is no part of the development environment
        del found["training, 2 sequences, nanoGPT compiled, tokens/s"]
    assert all(isinstance(value, float) and value > 0 for value in found.values()), found
    n_trained = len(MINIATURE.batch_sizes) + isinstance(theirs, float)
    assert len(found) == 1 + 3 * n_trained + 4 * len(MINIATURE.rows)


def test_all_decode_the_tokens_of_one_model() -> None:
    model = GPT2(MINIATURE.shape).to(torch.bfloat16).eval()
    model.initialise(seed=1)
    engine = PyTorchEngine.from_module(model)
    prompts = torch.randint(MINIATURE.shape.n_vocab, (3, 8), generator=torch.Generator().manual_seed(1)).tolist()
    tokens = decoded(MINIATURE, 3, CPU, ours)
    for ids, row in zip(prompts, tokens, strict=True):
        cache = engine.new_cache(rows=1)
        expected = []
        new = ids
        for _ in range(1 + len(row)):
            new = [int(engine.forward([new], cache)[0].argmax())]
            expected += new
        assert row == expected[1:]
    assert decoded(MINIATURE, 3, CPU, transformers_static) == tokens
    for make_generate in (generate_ours, generate_theirs):
        found = make_generate(MINIATURE, CPU)(torch.tensor(prompts), 1 + len(tokens[0]))
        assert [row[1:] for row in found] == tokens


def test_a_figure_that_cannot_be_had_is_a_line_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object) -> float:
        raise RuntimeError("no memory\nand more")

    for name in ("decoding_speed", "generating_speed", "decodes_with", "trains_with", "training_speed", "_peak"):
        monkeypatch.setattr(f"bench.gpu.{name}", (lambda *_: (1.0, "measured")) if name == "_peak" else fails)
    found = dict(figures(MINIATURE, CPU))
    assert [value for value in found.values() if value != "RuntimeError: no memory"] == ["CPU", 1e-12]
