"""Control tokens and their rows: new ones are added, old ones stay as they are."""

import numpy as np
import pytest

from cutaway.errors import UsageError
from cutaway.tasks import open_task
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.library import LibraryTokenizer, Roles
from cutaway.training.control_tokens import NOISE, WidenedWeights, add_controls, missing_controls
from tests.tiny import tiny_weights


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_are_the_mean_and_noise(tied: bool) -> None:
    base = tiny_weights(n_vocab=400, n_embd=30, tie_word_embeddings=tied)
    widened = WidenedWeights(base, n_vocab=1400, seed=3)
    embeddings = {"wte.weight"} if tied else {"wte.weight", "lm_head.weight"}
    for name, shape in widened.config.tensor_shapes().items():
        array = widened.read(name)
        assert array.shape == shape
        if name not in embeddings:
            np.testing.assert_array_equal(array, base.read(name))
            continue
        np.testing.assert_array_equal(array[:400], base.read(name))
        new = array[400:]
        np.testing.assert_allclose(new.mean(0), base.read(name).mean(0), atol=5 * NOISE / np.sqrt(1000))
        np.testing.assert_allclose(new.std(0), NOISE, rtol=0.2)
        np.testing.assert_array_equal(array, WidenedWeights(base, 1400, seed=3).read(name))
    np.testing.assert_array_equal(widened.stored("wte.weight").arrays[""], widened.read("wte.weight"))


def test_only_what_is_missing_is_added() -> None:
    task = open_task("translation")
    some = add_controls(Tokenizer.gpt2(), ["<|de|>"], first=50300)
    assert missing_controls(task, some) == ["<|en|>"]
    every = add_controls(some, ["<|en|>"], first=some.n_vocab)
    assert missing_controls(task, every) == []
    assert every.encode("<|de|><|en|>", allow_special=True) == [50300, 50301]
    assert (every.eos, every.n_vocab) == (50256, 50302)
    assert missing_controls(open_task("reverse"), Tokenizer.gpt2()) == []


def test_tokenizers_of_other_kinds_are_refused() -> None:
    words = {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1}, "unk_token": "[UNK]"}
    codec = LibraryTokenizer({"model": words}, Roles({}))
    with pytest.raises(UsageError, match=r"lacks <\|en\|>, and control tokens can be added to byte-level BPE only"):
        add_controls(codec, ["<|en|>"], first=2)
