from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from cutaway.explore import traces
from cutaway.explore.trace_cache import TraceCache
from cutaway.explore.traces import TraceService, read_trace_request, resolve_ids, resolve_interventions
from cutaway.loading import load
from cutaway.model import Model
from cutaway.tokenizer.fast import Tokenizer
from cutaway.trace import Intervention
from cutaway.web.params import Params
from tests.explore.served import ROBOT, Json, chinese, mute, talking
from tests.tasks.models import save_translator
from tests.tiny import tiny_weights

CONFIG = mute().config


def asked(model: Model, **request: object) -> list[int]:
    body = read_trace_request(model.config, Params(request))
    ids = resolve_ids(model, body)
    resolve_interventions(model, body, len(ids))
    return ids


def test_parses_a_request() -> None:
    wanted = read_trace_request(
        CONFIG,
        Params(
            {
                "ids": [1, 2],
                "prepend_bos": False,
                "interventions": [{"kind": "scale_head", "layer": 0, "head": 1, "value": 2}, {"kind": "no_mask"}],
                "base": "0123456789abcdef",
                "view": "main",
                "sequence": 4,
            }
        ),
    )
    assert wanted.interventions == (Intervention("scale_head", layer=0, head=1, value=2.0), Intervention("no_mask"))
    assert (wanted.prompt, wanted.base, wanted.view, wanted.sequence) == ([1, 2], "0123456789abcdef", "main", 4)


def test_resolves_ids_as_the_model_does() -> None:
    model = talking()
    ids = model.encode(ROBOT)
    assert asked(model, text=ROBOT) == ids
    assert asked(model, text=ROBOT, prepend_bos=True) == [50256, *ids]
    assert asked(model, ids=ids, prepend_bos=True) == [50256, *ids]
    assert asked(model, text="") == asked(model, text="", prepend_bos=True) == asked(model, ids=[]) == [50256]
    assert 50256 not in asked(model, text="<|endoftext|>")


def test_a_text_that_cannot_fit_is_refused_before_it_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte of one letter keeps the worker for seconds."""
    model = talking()
    longest = "ÃÂ" * 32  # 128 bytes, and one token
    assert model.encode(longest) == [model.encode(longest)[0]]
    assert len(asked(model, text=longest * 32)) == 32
    with monkeypatch.context() as patch:
        patch.setattr(Tokenizer, "encode", None)
        for text, least in (("a" * (32 * 128 + 1), 33), (longest * 33, 33), ("\ud800" * (1 << 20), 8192)):
            with pytest.raises(UsageError, match=f"the text is at least {least} tokens long; the context holds 32"):
                asked(model, text=text, prepend_bos=True)
    with pytest.raises(UsageError, match="the text is 512 tokens long; the context holds 32"):
        asked(model, text="ab" * 512)


def test_a_tokenizer_that_drops_characters_may_read_any_number_of_them() -> None:
    assert asked(chinese(), text=" " * 100_000 + "机") == chinese().encode("机")


def test_a_model_without_a_start_token_reads_the_text_alone() -> None:
    """The page asks for a start token before any text."""
    assert asked(chinese(), text="机器人", prepend_bos=True) == chinese().encode("机器人")
    with pytest.raises(UsageError, match="chinese has no start token"):
        asked(chinese(), text="", prepend_bos=True)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({}, "give either text or ids"),
        ({"text": "a", "ids": [1]}, "give either text or ids"),
        ({"text": "a"}, "mute has no tokenizer files"),
        ({"ids": []}, "mute has no tokenizer files"),
        ({"ids": [1], "prepend_bos": True}, "mute has no tokenizer files"),
        ({"ids": "12"}, "ids must be a list, not '12'"),
        ({"ids": [True]}, "a token id must be a whole number, not True"),
        ({"ids": [61]}, "a token id must be from 0 to 60, not 61"),
        ({"ids": [1] * 49}, "the text is 49 tokens long; the context holds 48"),
        ({"ids": [1], "text_": ""}, "unknown parameter 'text_'; did you mean text?"),
        ({"ids": [1], "sequence": -1}, "sequence must be at least 0, not -1"),
        ({"ids": [1], "view": 3}, "view must be text, not 3"),
        ({"ids": [1], "interventions": {}}, "interventions must be a list, not {}"),
        ({"ids": [1], "interventions": ["no_mask"]}, "an intervention must be an object, not 'no_mask'"),
        ({"ids": [1], "interventions": [{}]}, "kind is missing"),
        (
            {"ids": [1], "interventions": [{"kind": "sing"}]},
            "unknown intervention 'sing': use one of zero_",
        ),
        (
            {"ids": [1], "interventions": [{"kind": "zero_ablate_head"}]},
            "the intervention zero_ablate_head needs a layer",
        ),
        ({"ids": [1], "interventions": [{"kind": "no_mask", "head": 0}]}, "the intervention no_mask has no head"),
        ({"ids": [1], "interventions": [{"kind": "no_mask", "hed": 0}]}, "unknown parameter 'hed'; did you mean head?"),
        ({"ids": [1], "interventions": [{"kind": "no_mask", "layer": 2}]}, "layer must be from 0 to 1, not 2"),
        ({"ids": [1], "interventions": [{"kind": "no_mask", "layer": 0.5}]}, "layer must be a whole number, not 0.5"),
        ({"ids": [1], "interventions": [{"kind": "mask_value", "value": 1e13}]}, "value must be from -1e+12 to 1e+12"),
        ({"ids": [1], "interventions": [{"kind": "no_mask"}] * 257}, "at most 256 interventions are allowed"),
        (
            {"ids": [1, 2], "interventions": [{"kind": "attention_knockout", "query": 2, "key": 0}]},
            "query must be from 0 to 1",
        ),
    ],
)
def test_rejects_invalid_requests(request_: dict[str, object], error: str) -> None:
    with pytest.raises(UsageError) as refusal:
        asked(mute(), **request_)
    assert str(refusal.value).startswith(error)


def test_fitting_drops_interventions_at_positions_that_the_text_lacks() -> None:
    changes = [{"kind": "attention_knockout", "query": 2, "key": 0}, {"kind": "no_mask"}]
    sent = list[Json]()
    body = read_trace_request(CONFIG, Params({"ids": [1, 2], "interventions": changes, "fitting": True}))
    TraceService(mute(), TraceCache()).run(body, sent.append)
    assert sent[-1]["interventions"] == [{"kind": "no_mask"}]


def test_cached_traces_are_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    service = TraceService(mute(), TraceCache())
    sent = list[Json]()
    wanted = read_trace_request(CONFIG, Params({"ids": [1, 2]}))
    service.run(wanted, sent.append)
    assert sent[:-1] == [{"layers_done": layer, "layers": 2} for layer in (1, 2)]
    assert sent[-1]["stored"] is False
    monkeypatch.setattr(traces, "Trace", None)
    service.run(wanted, sent.append)
    assert sent[3:] == [sent[2] | {"stored": True}]


def test_an_evicted_base_is_ignored() -> None:
    service = TraceService(mute(), TraceCache())
    sent = list[Json]()
    service.run(read_trace_request(CONFIG, Params({"ids": [1, 2], "base": "gone"})), sent.append)
    base = sent[-1]["trace"]
    service.run(read_trace_request(CONFIG, Params({"ids": [1, 2, 3], "base": base})), sent.append)
    works = [document["work"] for document in sent if "work" in document]
    counts = [(work["positions_computed"], work["positions_reused"]) for work in works]
    assert counts == [(2, 0), (1, 2)]


def test_another_models_trace_is_no_base() -> None:
    cache = TraceCache()
    sent = list[Json]()
    for seed in (0, 1):
        weights = tiny_weights(seed)
        model = Model(ReferenceEngine(weights), weights, None, f"model {seed}")
        base = sent[-1]["trace"] if sent else ""
        TraceService(model, cache).run(
            read_trace_request(CONFIG, Params({"ids": [1, 2, 3], "base": base})), sent.append
        )
    assert sent[-1]["work"]["positions_reused"] == 0
    np.testing.assert_allclose(cache[sent[-1]["trace"]]["logits"], model.logits([1, 2, 3]), atol=1e-4)


def test_a_translation_is_traced_as_the_model_reads_it(tmp_path: Path) -> None:
    model = load(save_translator(tmp_path / "translator"), engine="reference")
    fields = {"from": "en", "to": "de", "source": "a little night", "target": "kleine Nacht"}
    example = model.encoder().encode(fields)
    ids = example.ids.tolist()
    cache = TraceCache()
    service = TraceService(model, cache)
    sent: list[Mapping[str, object]] = []
    service.run(read_trace_request(model.config, Params({"ids": ids})), sent.append)
    trace = cache[str(sent[-1]["trace"])]
    assert trace.n_prefix == example.n_prefix
    expected = model.engine.forward([ids], logits="all", n_prefix=[example.n_prefix])
    np.testing.assert_allclose(trace["logits"], expected, atol=1e-4)
    shorter = {"ids": ids[:-1], "base": sent[-1]["trace"]}
    service.run(read_trace_request(model.config, Params(shorter)), sent.append)
    assert cache[str(sent[-1]["trace"])].work.positions_computed == 0
