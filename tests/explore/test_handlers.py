import base64
import json

import numpy as np
import pytest
from starlette.testclient import TestClient

from cutaway.explore.handlers import HANDLERS
from cutaway.figures import draw
from cutaway.trace import Intervention, Trace
from cutaway.trace.heads import atlas, search
from cutaway.trace.lens import direct_logit_attribution, divergence, logit_lens, neuron_logit_effects, surprisal
from tests.explore.served import (
    ROBOT,
    client_of,
    error_of,
    get,
    lines,
    musical,
    mute,
    read,
    read_name,
    talking,
    tensors,
)
from tests.tiny import random_ids

MODEL = mute(n_layer=2)
IDS = random_ids(MODEL.config, 9)
TRACE = Trace(MODEL.config, MODEL.weights, None, IDS)
LAST = len(IDS) - 1


@pytest.fixture(scope="module")
def client() -> TestClient:
    return client_of(MODEL)


@pytest.fixture(scope="module")
def trace(client: TestClient) -> str:
    return f"/api/traces/{read_name(client, ids=IDS)}"


def test_every_tensor_equals_the_traces(client: TestClient) -> None:
    names = [*TRACE.shapes(), *MODEL.config.tensor_shapes()]
    found = tensors(client, read_name(client, ids=IDS), *names)
    assert set(found) == set(names)
    for name in names:
        np.testing.assert_array_equal(found[name], TRACE[name])


def test_a_slice_is_sent_with_its_origin_in_the_tensor(client: TestClient, trace: str) -> None:
    body = client.get(f"{trace}/tensors?sel=attn.1[2,:,:]&sel=resid.mid.0[3,:]").content
    metadata = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])["__metadata__"]
    assert {name: json.loads(text) for name, text in metadata.items()} == {
        "attn.1[2,:,:]": {"tensor": "attn.1", "shape": [3, 9, 9], "offset": 162, "steps": [9, 1]},
        "resid.mid.0[3,:]": {"tensor": "resid.mid.0", "shape": [9, 24], "offset": 72, "steps": [1]},
    }


def test_a_quantised_pattern_is_within_a_step(client: TestClient) -> None:
    (found,) = tensors(client, read_name(client, ids=IDS), "attn.1[2,:,:]", enc="u8sqrt").values()
    assert found.dtype == np.uint8
    exact = TRACE["attn.1"][2]
    assert np.abs(np.sqrt(exact) - found / 255).max() <= 0.5001 / 255


@pytest.mark.parametrize(
    ("query", "size", "leave_first"), [({}, 64, False), ({"size": 4, "without_first": 1}, 4, True)]
)
def test_heads_are_statistics_label_and_picture(
    client: TestClient, trace: str, query: dict[str, int], size: int, leave_first: bool
) -> None:
    listed = get(client, f"{trace}/heads", layer=1, **query)["heads"]
    for document, found, picture in zip(listed, *atlas(TRACE, 1, size, leave_first), strict=True):
        label = document.pop("label")
        statistic = document.pop("statistic")
        assert getattr(found, statistic) == (found.labels[label] if label else found.entropy)
        assert base64.b64decode(document.pop("picture")) == picture.tobytes()
        assert document == vars(found)
        assert label in found.labels if found.labels else label is None
        assert all(found.labels[label] >= share for share in found.labels.values())


@pytest.mark.parametrize("position", [0, 5, LAST])
def test_summary_names_the_heaviest_head_of_each_layer_for_each_key(
    client: TestClient, trace: str, position: int
) -> None:
    layers = get(client, f"{trace}/summary", position=position)["layers"]
    assert len(layers) == MODEL.config.n_layer
    for layer, found in enumerate(layers):
        weights = TRACE[f"attn.{layer}"][:, position]
        np.testing.assert_allclose(found["weights"], weights.max(axis=0), rtol=1e-6)
        assert found["heads"] == weights.argmax(axis=0).tolist()
        others = [key for key in range(len(IDS)) if key not in (0, position)]
        added = TRACE[f"resid.post.{layer}"][position] - TRACE[f"resid.mid.{layer}"][position]
        np.testing.assert_allclose(found["mlp"], np.linalg.norm(added), rtol=1e-6)
        np.testing.assert_allclose(found["most"], weights[:, others].max(axis=1), rtol=1e-6)


def test_next_tokens_are_the_likeliest_with_their_logits(client: TestClient, trace: str) -> None:
    found = get(client, f"{trace}/next_tokens", position=4, k=3)["candidates"]
    logits = TRACE["logits"][4]
    assert [each["id"] for each in found] == np.argsort(-logits, kind="stable")[:3].tolist()
    np.testing.assert_allclose([each["logit"] for each in found], np.sort(logits)[::-1][:3], rtol=1e-5)
    np.testing.assert_allclose([each["probability"] for each in found], np.sort(TRACE["probs"][4])[::-1][:3], rtol=1e-5)


def test_search_ranks_every_head(client: TestClient, trace: str) -> None:
    found = get(client, f"{trace}/search", query=5, keys="2,3")["heads"]
    assert found == [{"layer": layer, "head": head, "weight": w} for layer, head, w in search(TRACE, 5, [2, 3])]


def test_lens_reads_at_every_boundary(client: TestClient, trace: str) -> None:
    positions = get(client, f"{trace}/logit_lens", position=3, count=4, k=2)["positions"]
    assert [each["position"] for each in positions] == [3, 4, 5, 6]
    for row, each in enumerate(positions):
        for document, reading in zip(each["boundaries"], logit_lens(TRACE, 2, 3, 4), strict=True):
            assert document["name"] == reading.boundary
            assert [top["id"] for top in document["top"]] == reading.ids[row].tolist()
            assert [top["probability"] for top in document["top"]] == reading.probabilities[row].tolist()
            assert [top["text"] for top in document["top"]] == [f"#{token}" for token in reading.ids[row]]


def test_lens_defaults_to_the_last_position_and_ten_tokens(client: TestClient, trace: str) -> None:
    assert get(client, f"{trace}/logit_lens") == get(client, f"{trace}/logit_lens", position=LAST, count=1, k=10)
    small = client_of(mute(n_vocab=3))
    (only,) = get(small, f"/api/traces/{read_name(small, ids=[1])}/logit_lens")["positions"]
    assert len(only["boundaries"][0]["top"]) == 3


def test_divergence_defaults_to_the_last_positions(client: TestClient, trace: str) -> None:
    change = Intervention("zero_ablate_mlp", layer=0)
    changed = read_name(client, ids=IDS[:5], interventions=[{"kind": "zero_ablate_mlp", "layer": 0}])
    other = Trace(MODEL.config, MODEL.weights, None, IDS[:5], [change])
    for query, places in (({}, (LAST, 4)), ({"position": 2, "other_position": -4}, (2, 1))):
        found = get(client, f"{trace}/divergence", **{"with": changed, **query})["boundaries"]
        assert [each["nats"] for each in found] == divergence(TRACE, other, *places).tolist()
        assert [each["name"] for each in found] == [reading.boundary for reading in logit_lens(TRACE, 1, 0)]


def test_divergence_from_an_unknown_trace_is_404(client: TestClient, trace: str) -> None:
    asked = f"{trace}/divergence?with=0123456789abcdef"
    assert "unknown trace '0123456789abcdef'" in error_of(client, asked, 404)


def test_neurons_raise_tokens(client: TestClient, trace: str) -> None:
    found = get(client, f"{trace}/units", layer=1, units="5,0,5", k=3)["units"]
    assert [each["unit"] for each in found] == [5, 0, 5]
    for document, ids, amounts in zip(found, *neuron_logit_effects(TRACE, 1, [5, 0, 5], 3), strict=True):
        assert [top["id"] for top in document["top"]] == ids.tolist()
        assert [top["adds"] for top in document["top"]] == amounts.tolist()
        assert [top["text"] for top in document["top"]] == [f"#{token}" for token in ids]


def test_direct_logit_attribution_lists_every_part(client: TestClient, trace: str) -> None:
    document = get(client, f"{trace}/direct_logit_attribution", position=-1, token=7)
    found = direct_logit_attribution(TRACE, LAST, 7)
    assert (document.pop("position"), document.pop("token"), document.pop("logit")) == (LAST, 7, found.logit)
    assert document == {name: np.asarray(part).tolist() for name, part in vars(found).items()}


def test_surprisal_has_a_number_for_every_token_after_the_first(client: TestClient, trace: str) -> None:
    assert get(client, f"{trace}/surprisal") == {"nats": surprisal(TRACE).tolist()}
    assert get(client, f"/api/traces/{read_name(client, ids=[1])}/surprisal") == {"nats": []}


@pytest.mark.parametrize("first", [1, 2, 5, LAST])
def test_surprisal_of_the_last_tokens_is_that_of_the_whole(client: TestClient, trace: str, first: int) -> None:
    found = get(client, f"{trace}/surprisal", first=first)["nats"]
    np.testing.assert_allclose(found, surprisal(TRACE)[first - 1 :], rtol=1e-5)


def test_the_figure_handler_returns_what_draw_returns(client: TestClient, trace: str) -> None:
    drawn = draw(TRACE, "F40", layer=1, head=2, position=3)
    query = "layer=1&head=2&position=3"
    document = client.get(f"{trace}/figures/F40?{query}").json()
    assert document["id"] == "F40"
    assert (document["layer"], document["head"], document["position"]) == (1, 2, 3)
    assert document["ids"] == IDS
    assert len(document["panels"]) == len(drawn.panels)
    for language in ("en", "zh"):
        svg = client.get(f"{trace}/figures/f40?{query}&format=svg&language={language}")
        assert (svg.text, svg.headers["content-type"]) == (drawn.svg(language), "image/svg+xml")
        text = client.get(f"{trace}/figures/F40?{query}&format=text&language={language}")
        assert (text.text, text.headers["content-type"]) == (drawn.text(language), "text/plain; charset=utf-8")


class TestProof:
    def test_the_cache_changes_no_logits(self, client: TestClient, trace: str) -> None:
        measured = client.post(f"{trace}/cache_benchmark", json={}).json()
        assert measured["with_cache"]["positions"] == 1
        assert measured["without_cache"]["positions"] == len(IDS)
        assert measured["with_cache"]["seconds"] > 0
        assert measured["without_cache"]["seconds"] > 0
        assert 0 <= measured["max_difference"] < 1e-4 * np.abs(TRACE.logits_at(-1)).max()

    def test_needs_a_token_before_the_last(self, client: TestClient) -> None:
        response = client.post(f"/api/traces/{read_name(client, ids=[1])}/cache_benchmark", json={})
        assert response.status_code == 400
        assert "at least two" in response.json()["error"]

    @pytest.mark.parametrize(
        "change",
        [
            {"kind": "attention_knockout", "query": 8, "key": 0},
            {"kind": "patch_residual", "layer": 0, "position": 8, "source": list(range(9))},
        ],
    )
    def test_works_with_an_intervention_at_the_last_token(self, client: TestClient, change: dict[str, object]) -> None:
        assert len(IDS) == 9
        name = read_name(client, ids=IDS, interventions=[change])
        measured = client.post(f"/api/traces/{name}/cache_benchmark", json={}).json()
        assert measured["max_difference"] < 1e-3

    def test_recomputes_all_positions_without_a_causal_mask(self, client: TestClient) -> None:
        name = read_name(client, ids=IDS, interventions=[{"kind": "no_mask"}])
        assert client.post(f"/api/traces/{name}/cache_benchmark", json={}).json()["with_cache"]["positions"] == len(IDS)


def test_at_most_100_candidates_are_listed() -> None:
    client = client_of(mute(n_vocab=200))
    trace = f"/api/traces/{read_name(client, ids=[1])}"
    assert len(get(client, f"{trace}/logit_lens", k=100)["positions"][0]["boundaries"][0]["top"]) == 100
    assert error_of(client, f"{trace}/logit_lens?k=101") == "k must be from 1 to 100, not 101"
    assert error_of(client, f"{trace}/units?units=1&k=101") == "k must be from 1 to 100, not 101"


def test_a_model_with_a_tokenizer_names_its_tokens() -> None:
    client = client_of(talking())
    trace = f"/api/traces/{read_name(client, text=ROBOT, prepend_bos=True)}"
    (only,) = get(client, f"{trace}/logit_lens", position=2)["positions"]
    (unit,) = get(client, f"{trace}/units", units=2)["units"]
    for top in (only["boundaries"][0]["top"], unit["top"]):
        assert all(not candidate["text"].startswith("#") for candidate in top[:3])


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("heads?layer=2", "layer must be from 0 to 1, not 2"),
        ("heads?layer=-1", "layer must be from 0 to 1, not -1"),
        ("heads?layer=x", "layer must be a whole number, not 'x'"),
        ("heads?layer=0&layer=1", "'layer' is given 2 times"),
        ("heads?leyer=0", "unknown parameter 'leyer'; did you mean layer?"),
        ("heads?size=0", "size must be from 1 to 1024, not 0"),
        ("heads?without_first=yes", "without_first must be one of 0, 1, not 'yes'"),
        ("search?keys=1", "query is missing"),
        ("search?query=1", "keys is missing"),
        ("search?query=1&keys=", "keys must be integers such as 2,3, not ''"),
        ("search?query=1&keys=1,,2", "keys must be integers such as 2,3, not '1,,2'"),
        ("search?query=1&keys=9", "a key position must be from -9 to 8, not 9"),
        ("search?query=1&keys=0,0,0,0,0,0,0,0,0,0", "keys takes at most 9 integers, not 10"),
        ("search?query=9&keys=1", "query must be from 0 to 8, not 9"),
        ("logit_lens?k=62", "k must be from 1 to 61, not 62"),
        ("logit_lens?position=9", "position must be from -9 to 8, not 9"),
        ("logit_lens?position=7&count=3", "count must be from 1 to 2, not 3"),
        ("divergence", "with is missing"),
        ("units", "units is missing"),
        ("units?units=-1", "units must be integers such as 2,3, not '-1'"),
        ("units?units=96", "a unit must be from 0 to 95, not 96"),
        ("units?units=1&k=62", "k must be from 1 to 61, not 62"),
        ("direct_logit_attribution?position=1", "token is missing"),
        ("direct_logit_attribution?token=61", "token must be from 0 to 60, not 61"),
        ("surprisal?position=1", "unknown parameter 'position'"),
        ("figures/F99", "unknown figure: 'F99'"),
        ("figures/F40?format=png", "format must be one of json, svg, text, not 'png'"),
        ("figures/F40?language=de", "language must be one of en, zh, not 'de'"),
        ("figures/F40?figure=F40", "'figure' is given 2 times"),
        ("figures/F40?head=3", "head must be from 0 to 2, not 3"),
        ("figures/F40?position=9", "position must be from -9 to 8, not 9"),
        ("tensors", "sel is missing"),
        ("tensors?sel=ids&enc=u4", "enc must be one of f32, f16, u8sqrt, not 'u4'"),
        ("tensors?sel=attn.0[9]", "index 9 is out of range for axis 0 of attn.0, of size 3"),
        ("tensors?sel=q.0&enc=u8sqrt", "u8sqrt is for values from 0 to 1, and q.0 has others"),
    ],
)
def test_invalid_parameters_are_one_line_errors(client: TestClient, trace: str, path: str, error: str) -> None:
    assert error_of(client, f"{trace}/{path}").startswith(error)


@pytest.mark.parametrize("path", sorted(HANDLERS))
def test_an_unknown_trace_is_404(client: TestClient, path: str) -> None:
    asked = path.replace("{figure}", "F40")
    assert "post its token ids again" in error_of(client, f"/api/traces/0123456789abcdef/{asked}?sel=ids", 404)


@pytest.mark.slow
def test_the_page_of_a_trace_is_one_file(client: TestClient, trace: str) -> None:
    *progress, last = lines(client.get(f"{trace}/page?layer=1&head=2&position=3").text)
    assert [line["parts_done"] for line in progress] == list(range(1, len(progress) + 1))
    assert {line["parts"] for line in progress} == {len(progress)}
    assert last["page"].startswith("<!doctype html>")
    assert error_of(client, f"{trace}/page?layer=9") == "layer must be from 0 to 1, not 9"
    assert client.get("/api/traces/nothing/page").status_code == 404
    settings = "language%3Dzh%26x-figure%3DF40"
    assert client.get(f"{trace}/page?view=article&settings={settings}").status_code == 200
    message = "settings must be language or begin with x-, not 'ids'"
    assert error_of(client, f"{trace}/page?settings=ids%3D1") == message


def test_notes_are_those_of_the_codec() -> None:
    client = client_of(musical())
    model = get(client, "/api/model")
    assert model["music"] == {"codec": "perf388", "bos": 388}
    document = read(client, ids=model["example_ids"])
    assert [token["text"] for token in document["tokens"][:3]] == ["end", "velocity 80", "C4 on"]
    found = get(client, f"/api/traces/{document['trace']}/notes")
    assert found["notes"][1] == [0.5, 2.0, 64, 82]
    assert found["owners"][:6] == [-1, -1, 0, -1, 1, -1]
    assert found["times"][-1] == 3.0


def test_a_model_of_text_has_no_notes() -> None:
    client = client_of(mute())
    assert error_of(client, f"/api/traces/{read_name(client, ids=[1, 2])}/notes") == "this model's ids are no music"
