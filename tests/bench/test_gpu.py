"""The benchmark of a GPU, in miniature on a CPU."""

import pytest
import torch

from bench.gpu import MINIATURE, decoded, figures, ours, transformers_static
from cutaway.engines.pytorch.engine import PyTorchEngine
from cutaway.engines.pytorch.model import GPT2

CPU = torch.device("cpu")


@pytest.mark.slow
def test_every_figure_is_there() -> None:
    found = dict(figures(MINIATURE, CPU))
    assert found.pop("device") == "CPU"
    assert all(isinstance(value, float) and value > 0 for value in found.values()), found
    assert len(found) == 1 + 2 * len(MINIATURE.batch_sizes) + 2 * len(MINIATURE.rows)


def test_all_decode_the_tokens_of_one_model() -> None:
    model = GPT2(MINIATURE.shape).to(torch.bfloat16).eval()
    model.initialise(seed=1)
    engine = PyTorchEngine.from_module(model)
    prompts = torch.randint(MINIATURE.shape.n_vocab, (3, 8), generator=torch.Generator().manual_seed(1)).tolist()
    for ids, tokens in zip(prompts, decoded(MINIATURE, 3, CPU, ours), strict=True):
        cache = engine.new_cache(rows=1)
        expected = []
        new = ids
        for _ in range(1 + MINIATURE.n_new):
            new = [int(engine.forward([new], cache)[0].argmax())]
            expected += new
        assert tokens == expected[1:]
    assert decoded(MINIATURE, 3, CPU, transformers_static) == decoded(MINIATURE, 3, CPU, ours)
