"""The beginning of a run: its batches, and models to start from that fit the data or do not."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.music.codecs import CODECS
from cutaway.tokenizer.codec import TokenCodec
from cutaway.tokenizer.fast import Tokenizer
from cutaway.training.config import TrainingConfig
from cutaway.training.opening import model_config, open_beginning
from tests.data.corpora import write_corpus

SHAPE = GPT2Config(n_vocab=50257, n_ctx=8, n_embd=4, n_head=1, n_layer=1)
CONFIG = TrainingConfig(n_layer=1, n_head=1, n_embd=4, n_ctx=8, batch_size=2, data=("data",), init="model")


def shape_of(theirs: TokenCodec, ours: TokenCodec | None) -> GPT2Config:
    """Return the shape of a run on data with a codec, from a model with another."""
    corpus: Any = SimpleNamespace(codec=theirs)
    init: Any = SimpleNamespace(config=SHAPE, codec=lambda: ours)
    return model_config(CONFIG, corpus, init)


@pytest.mark.parametrize("codec", [Tokenizer.gpt2(), CODECS["satb16"]])
def test_a_model_without_tokenizer_files_may_start_on_any_data_that_it_has_tokens_for(codec: TokenCodec) -> None:
    assert shape_of(codec, None) == SHAPE
    assert shape_of(codec, codec) == SHAPE


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(CODECS["satb16"], CODECS["perf388"]), (CODECS["satb16"], Tokenizer.gpt2()), (Tokenizer.gpt2(), CODECS["satb16"])],
)
def test_a_model_of_another_codec_may_not(theirs: TokenCodec, ours: TokenCodec) -> None:
    with pytest.raises(UsageError, match=r"^data and model have different tokenizers: prepare .* --tokenizer model$"):
        shape_of(theirs, ours)


def test_batches_are_drawn_by_the_seed(tmp_path: Path) -> None:
    write_corpus(tmp_path, {"train": [[[50256, *range(100)]]]})
    config = replace(CONFIG, init="scratch", data=(str(tmp_path),))
    batches = [open_beginning(replace(config, seed=seed)).source.batch(0, 2, 8).inputs.tolist() for seed in (1, 1, 2)]
    assert batches[0] == batches[1] != batches[2]
