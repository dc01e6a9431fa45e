import math
import re
from dataclasses import asdict, replace
from typing import Any

import pytest

from cutaway.config import PUBLISHED, GPT2Config
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from cutaway.explore.schemas import (
    explain_document,
    figures_document,
    model_document,
    parameters_document,
    token_document,
    trace_document,
    vocabulary_document,
)
from cutaway.figures import all_figures
from cutaway.model import Model
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace import Intervention, Trace
from tests.explore.served import ROBOT, Json, chinese, mute, talking
from tests.tiny import tiny_weights

GPT2 = Tokenizer.gpt2()


def test_model_document() -> None:
    model = talking()
    document = model_document(model, 77)
    note = document.pop("precision_note")
    assert document.pop("interventions")
    assert document == {
        "name": "talking",
        "engine": "reference",
        "dtype": "float32",
        "config": asdict(model.config),
        "n_params": model.config.n_params,
        "published": None,
        "has_tokenizer": True,
        "end_of_text": 50256,
        "music": None,
        "directions": [],
        "vocabulary": {"bytes": 256, "merges": 50_000, "special": 1},
        "checkpoint": {"name": "talking", "bytes": 77},
        "task": None,
        "example": ROBOT,
        "example_ids": None,
        "max_text": 2000,
        "against": None,
    }
    assert isinstance(note, dict)
    assert all("float32" in note[language] and "reference" in note[language] for language in ("en", "zh"))


def test_added_tokens_count_as_special() -> None:
    weights = tiny_weights(n_vocab=50259, n_embd=12)
    vocabulary = replace(GPT2.vocabulary, added={**GPT2.vocabulary.added, "<|user|>": 50257, "<|end|>": 50258})
    added = Model(ReferenceEngine(weights), weights, Tokenizer(vocabulary), "chat")
    assert model_document(added, 0)["vocabulary"] == {"bytes": 256, "merges": 50_000, "special": 3}


def test_a_published_model_has_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.explore.schemas.published_as", lambda config: PUBLISHED[0])
    assert model_document(mute(), 0)["published"] == {"name": "gpt2", "size": "124M", "first_size": "117M"}


def test_every_figure_is_listed() -> None:
    listed = figures_document()["figures"]
    assert isinstance(listed, list)
    assert [figure["id"] for figure in listed] == list(all_figures())
    assert all(set(figure["title"]) == {"en", "zh"} for figure in listed)


@pytest.mark.parametrize("model", [mute(n_layer=3), mute(tie_word_embeddings=False)])
def test_every_parameter_is_listed(model: Model) -> None:
    document: Json = parameters_document(model.config)
    shapes = model.config.tensor_shapes()
    for row in document["tensors"]:
        names = [name for name in shapes if re.fullmatch(row["tensor"].replace("*", r"\d+"), name)]
        assert len(names) == row["copies"]
        assert {shapes.pop(name) for name in names} == {tuple(row["shape"])}
        assert row["parameters"] == math.prod(row["shape"])
        assert row["article"] is None
    assert shapes == {}
    assert document["parameters"] == model.config.n_params
    assert document["article"] is None
    assert document["notes"]
    assert all(set(note) == {"en", "zh"} for note in document["notes"])


def test_the_articles_parameters_are_listed_for_its_shape() -> None:
    document: Json = parameters_document(GPT2Config())
    assert (document["parameters"], document["article"]) == (124_439_808, 124_410_624)
    wrong = {row["tensor"]: row["article"] for row in document["tensors"] if row["parameters"] != row["article"]}
    assert wrong == {"h.*.mlp.c_fc.bias": 768, "ln_f.weight": 0, "ln_f.bias": 0}
    assert "29,184" in document["notes"][0]["en"]


@pytest.mark.parametrize(
    ("token", "text"), [(9379, "␣robot"), (50256, "<|endoftext|>"), (198, "\\n"), (447, "␣\\xe2\\x80"), (0, "!")]
)
def test_a_token_has_readable_text_and_bytes(token: int, text: str) -> None:
    document = token_document(GPT2, token)
    assert (document["id"], document["text"].removeprefix("␣")) == (token, text.removeprefix("␣"))  # type: ignore[attr-defined]


def test_a_token_without_text_is_shown_as_its_id() -> None:
    assert token_document(None, 5) == {"id": 5, "text": "#5", "bytes": []}
    assert token_document(GPT2, 50257) == {"id": 50257, "text": "#50257", "bytes": []}


def test_the_vocabulary_has_every_id_of_the_model() -> None:
    weights = tiny_weights(n_vocab=50260, n_embd=12)
    tokens = vocabulary_document(Model(ReferenceEngine(weights), weights, GPT2, "padded"))["tokens"]
    assert isinstance(tokens, list)
    assert len(tokens) == 50260
    assert tokens[9379] == "␣robot"
    assert tokens[50256:] == ["<|endoftext|>", "#50257", "#50258", "#50259"]
    assert vocabulary_document(mute())["tokens"] == [f"#{token}" for token in range(61)]


def test_explains_a_text() -> None:
    document = explain_document(talking(), ROBOT)
    assert document["ids"] == GPT2.encode(ROBOT)
    assert document["pieces"] == [asdict(piece) for piece in GPT2.explain(ROBOT)]
    with pytest.raises(UsageError, match="mute has no tokenizer files"):
        explain_document(mute(), ROBOT)


def test_explains_a_text_of_a_tokenizer_of_another_kind() -> None:
    document = explain_document(chinese(), "机器人 robots")
    assert document["pieces"][-1] == {"text": "robots", "tokens": ("robot", "##s"), "ids": tuple(document["ids"][-2:])}  # type: ignore[index]
    assert [token_document(chinese().tokenizer, token)["text"] for token in document["ids"]] == [  # type: ignore[attr-defined]
        *("机", "器", "人", "robot", "##s"),
    ]


def test_bytes_of_a_traces_tokens_are_its_text() -> None:
    model = chinese()
    text = "机器人 robots 必须。"
    tokens: Any = trace_document("0", model.trace(text), stored=False)["tokens"]
    assert b"".join(bytes(token["bytes"]) for token in tokens).decode() == text
    assert model_document(model, 0)["vocabulary"] is None


def test_trace_document() -> None:
    model = mute()
    changes = (Intervention("zero_ablate_head", layer=1, head=0), Intervention("mask_value", value=0.5))
    trace = Trace(model.config, model.weights, None, [3, 4], changes)
    document = trace_document("name", trace, stored=False)
    assert document["interventions"] == [
        {"kind": "zero_ablate_head", "layer": 1, "head": 0},
        {"kind": "mask_value", "value": 0.5},
    ]
    assert document["work"] == asdict(trace.work)
    assert (document["trace"], document["ids"], document["stored"]) == ("name", (3, 4), False)
    assert document["tokens"] == [{"id": token, "text": f"#{token}", "bytes": []} for token in (3, 4)]
