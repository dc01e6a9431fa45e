import numpy as np
import pytest
from starlette.testclient import TestClient

import cutaway
from cutaway.errors import UsageError
from cutaway.explore.translation import MAX_SOURCE, directions, translate, translation_document
from cutaway.model import Model
from cutaway.tasks.decoding import decode_fields
from cutaway.tasks.task import Decoding
from cutaway.web.worker import Cancelled, Job
from tests.explore.served import Json, client_of, error_of, get, mute, read

STATION = {"from": "en", "to": "de", "source": "Where is the station?"}


@pytest.fixture(scope="module")
def model() -> Model:
    return cutaway.load("builtin-translation")


@pytest.fixture(scope="module")
def client(model: Model) -> TestClient:
    return client_of(model)


def translated(model: Model, source: str, way: tuple[str, str] = ("en", "de")) -> Json:
    return translate(model, {"from": way[0], "to": way[1], "source": source})


def test_translations_are_those_of_the_tasks_decoding(model: Model) -> None:
    found = translated(model, " Where is the station?\n")
    encoder = model.encoder()
    [best] = decode_fields(model.engine, encoder, [STATION], n_best=5)
    [[greedy]] = decode_fields(model.engine, encoder, [STATION], Decoding(beams=1, max_new_extra=30))
    assert [each["text"] for each in found["translations"]] == [each.text for each in best]
    assert [each["logprob"] for each in found["translations"]] == pytest.approx([each.logprob for each in best])
    assert [each["text"] for each in found["translations"] if each["greedy"]] == [greedy.text]
    prompt = encoder.prompt(STATION)
    assert found["translations"][0]["ids"] == [*prompt, *best[0].ids]
    assert found["cut"] == 0


def test_a_greedy_translation_that_the_beams_do_not_find_is_listed(model: Model) -> None:
    found = translated(model, "Tom hat gestern einen roten Apfel gegessen.", ("de", "en"))
    scores = [each["score"] for each in found["translations"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(each["greedy"] for each in found["translations"]) == 1


def test_a_long_source_is_cut_and_fits_the_context(model: Model) -> None:
    found = translated(model, "the house " * 60)
    assert found["cut"] > 0
    assert all(len(each["ids"]) <= model.config.n_ctx for each in found["translations"])


@pytest.mark.parametrize(
    ("source", "message"),
    [(" \n", "the prompt is empty: give a sentence"), ("a" * 2001, f"must have at most {MAX_SOURCE} characters")],
)
def test_invalid_sources_are_refused(model: Model, source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        translated(model, source)


def test_a_trace_is_read_as_a_translation(client: TestClient, model: Model) -> None:
    trace = model.trace_example({**STATION, "target": "Wo ist der Bahnhof?"})
    found = get(client, f"/api/traces/{read(client, ids=list(trace.ids))['trace']}/translation")
    assert {name: found[name] for name in STATION} == STATION
    assert found["n_source"] == trace.n_prefix
    attn = trace[f"attn.{found['layer']}"][found["head"]]
    assert len(found["links"]) == len(trace) - trace.n_prefix + 1
    for query, key, weight in found["links"]:
        inside = attn[query, 1 : trace.n_prefix - 1]
        assert key == 1 + int(np.argmax(inside))
        assert weight == pytest.approx(float(inside.max()), abs=1e-6)


def test_other_texts_are_no_translations(client: TestClient, model: Model) -> None:
    prompt = model.encoder().prompt(STATION)
    for ids in (prompt[1:], prompt[:-1], [5]):
        assert get(client, f"/api/traces/{read(client, ids=ids)['trace']}/translation") == {"source": None}
    found = translation_document(model, model.trace(prompt))
    assert (found["target"], found["n_source"]) == ("", len(prompt))


def test_a_source_of_no_tokens_has_no_links(model: Model) -> None:
    ids = model.encoder().prompt({**STATION, "source": "x"})
    assert translation_document(model, model.trace([ids[0], ids[-1]]))["source"] is None
    found: Json = translation_document(model, model.trace(ids))
    assert len(found["links"]) == 1


def test_a_model_of_text_does_not_translate() -> None:
    client = client_of(mute())
    assert directions(mute()) == []
    assert get(client, "/api/model")["directions"] == []
    message = "this model has not learned to translate"
    assert error_of(client, "/api/translations?from=en&to=de&source=Run!") == message
    assert error_of(client, f"/api/traces/{read(client, ids=[1, 2])['trace']}/translation") == message


def test_addresses_check_their_parameters(client: TestClient) -> None:
    assert error_of(client, "/api/translations?from=en&to=it&source=Run!") == "to must be en or de, not 'it'"
    assert error_of(client, "/api/translations?from=en&to=de") == "source is missing"
    found = get(client, "/api/translations", **STATION)
    assert found["translations"][0]["text"] == "Wo ist der Bahnhof?"


def test_a_translation_is_cancelled_between_its_steps(model: Model) -> None:
    job = Job()
    steps: list[None] = []

    def check() -> None:
        steps.append(None)
        if len(steps) == 9:  # in the beam search: the greedy translation took fewer
            job.cancel()
        job.check()

    with pytest.raises(Cancelled):
        translate(model, STATION, check)
    assert len(steps) == 9
