import numpy as np
import pytest
from safetensors.numpy import load
from starlette.testclient import TestClient

from cutaway.explore.answers import ANSWERS
from cutaway.figures import DrawableTrace, Selection, all_figures, check_figure
from cutaway.trace.heads import head_statistics, search, thumbnails
from cutaway.trace.lens import attribution, lens, surprise
from tests.explore.served import ROBOT, client_of, error_of, get, mute, read_name, talking, tensors
from tests.tiny import random_ids

MODEL = mute(n_layer=2)
IDS = random_ids(MODEL.config, 9)
TRACE = DrawableTrace(MODEL.config, MODEL.weights, None, IDS)
LAST = len(IDS) - 1


@pytest.fixture(scope="module")
def client() -> TestClient:
    return client_of(MODEL)


@pytest.fixture(scope="module")
def trace(client: TestClient) -> str:
    return f"/api/traces/{read_name(client, ids=IDS)}"


def test_every_tensor_is_the_traces_own(client: TestClient) -> None:
    names = [*TRACE.shapes(), *MODEL.config.tensor_shapes()]
    found = tensors(client, read_name(client, ids=IDS), *names)
    assert set(found) == set(names)
    for name in names:
        np.testing.assert_array_equal(found[name], TRACE[name])


def test_a_quantised_pattern_is_within_a_step(client: TestClient) -> None:
    (found,) = tensors(client, read_name(client, ids=IDS), "attn.1[2,:,:]", enc="u8sqrt").values()
    assert found.dtype == np.uint8
    exact = TRACE["attn.1"][2]
    assert np.abs(np.sqrt(exact) - found / 255).max() <= 0.5001 / 255


def test_heads_are_the_statistics_and_the_strongest_label(client: TestClient, trace: str) -> None:
    listed = get(client, f"{trace}/heads", layer=1)["heads"]
    for document, found in zip(listed, head_statistics(TRACE, 1), strict=True):
        label = document.pop("label")
        assert document == vars(found)
        assert label in found.labels if found.labels else label is None
        assert all(found.labels[label] >= share for share in found.labels.values())


def test_thumbnails(client: TestClient, trace: str) -> None:
    for query, size in (("&size=4", 4), ("", 64)):
        response = client.get(f"{trace}/thumbnails?layer=1{query}")
        np.testing.assert_array_equal(load(response.content)["thumbnails"], thumbnails(TRACE, 1, size))


def test_search_ranks_every_head(client: TestClient, trace: str) -> None:
    found = get(client, f"{trace}/search", query=5, keys="2,3")["heads"]
    assert found == [{"layer": layer, "head": head, "weight": w} for layer, head, w in search(TRACE, 5, [2, 3])]


def test_lens_reads_at_every_boundary(client: TestClient, trace: str) -> None:
    boundaries = get(client, f"{trace}/lens", position=3, k=2)["boundaries"]
    for document, reading in zip(boundaries, lens(TRACE, 2, 3), strict=True):
        assert document["name"] == reading.boundary
        assert [top["id"] for top in document["top"]] == reading.ids[0].tolist()
        assert [top["probability"] for top in document["top"]] == reading.probabilities[0].tolist()
        assert [top["text"] for top in document["top"]] == [f"#{token}" for token in reading.ids[0]]


def test_lens_is_of_the_last_position_and_ten_tokens_unless_told(client: TestClient, trace: str) -> None:
    assert get(client, f"{trace}/lens") == get(client, f"{trace}/lens", position=LAST, k=10)
    small = client_of(mute(n_vocab=3))
    (top, *_) = get(small, f"/api/traces/{read_name(small, ids=[1])}/lens")["boundaries"]
    assert len(top["top"]) == 3


def test_attribution_is_every_part(client: TestClient, trace: str) -> None:
    document = get(client, f"{trace}/attribution", position=-1, token=7)
    found = attribution(TRACE, LAST, 7)
    assert (document.pop("position"), document.pop("token"), document.pop("logit")) == (LAST, 7, found.logit)
    assert document == {name: np.asarray(part).tolist() for name, part in vars(found).items()}


def test_surprise_has_a_number_for_every_token_after_the_first(client: TestClient, trace: str) -> None:
    assert get(client, f"{trace}/surprise") == {"nats": surprise(TRACE).tolist()}
    assert get(client, f"/api/traces/{read_name(client, ids=[1])}/surprise") == {"nats": []}


def test_a_figure_is_what_python_draws(client: TestClient, trace: str) -> None:
    drawn = TRACE.figure("F40", 1, 2, 3)
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


def test_checks_are_every_figures(client: TestClient, trace: str) -> None:
    listed = get(client, f"{trace}/checks", layer=1, head=1, position=2)["figures"]
    found = {name: check_figure(figure, TRACE, Selection(1, 1, 2)) for name, figure in all_figures().items()}
    assert [each["id"] for each in listed] == list(found)
    for each in listed:
        check = found[each["id"]]
        assert each["ok"] == (check.ok if check else None)
        assert each["status"] == all_figures()[each["id"]].status
        assert bool(each["statement"]) == bool(check)


class TestProof:
    def test_that_the_cache_changes_nothing(self, client: TestClient, trace: str) -> None:
        proof = client.post(f"{trace}/proof", json={}).json()
        assert proof["with_cache"]["positions"] == 1
        assert proof["without_cache"]["positions"] == len(IDS)
        assert proof["with_cache"]["seconds"] > 0
        assert proof["without_cache"]["seconds"] > 0
        assert 0 <= proof["max_difference"] < 1e-4 * np.abs(TRACE.logits_at(-1)).max()

    def test_needs_a_token_before_the_last(self, client: TestClient) -> None:
        response = client.post(f"/api/traces/{read_name(client, ids=[1])}/proof", json={})
        assert response.status_code == 400
        assert "at least two" in response.json()["error"]

    def test_says_that_nothing_can_be_kept_where_tokens_look_ahead(self, client: TestClient) -> None:
        name = read_name(client, ids=IDS, interventions=[{"kind": "no_mask"}])
        assert client.post(f"/api/traces/{name}/proof", json={}).json()["with_cache"]["positions"] == len(IDS)


def test_a_model_with_a_tokenizer_names_its_tokens() -> None:
    client = client_of(talking())
    trace = f"/api/traces/{read_name(client, text=ROBOT, from_start=True)}"
    (top, *_) = get(client, f"{trace}/lens", position=2)["boundaries"]
    assert all(not candidate["text"].startswith("#") for candidate in top["top"][:3])


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("heads?layer=2", "layer must be from 0 to 1, not 2"),
        ("heads?layer=-1", "layer must be from 0 to 1, not -1"),
        ("heads?layer=x", "layer must be a whole number, not 'x'"),
        ("heads?layer=0&layer=1", "'layer' is given 2 times"),
        ("heads?leyer=0", "there is no 'leyer' here; did you mean layer?"),
        ("thumbnails?size=0", "size must be from 1 to 1024, not 0"),
        ("search?keys=1", "query is missing"),
        ("search?query=1", "keys is missing"),
        ("search?query=1&keys=", "keys must be positions such as 2,3, not ''"),
        ("search?query=1&keys=1,,2", "keys must be positions such as 2,3, not '1,,2'"),
        ("search?query=1&keys=9", "a key position must be from 0 to 8, not 9"),
        ("search?query=9&keys=1", "query must be from 0 to 8, not 9"),
        ("lens?k=62", "k must be from 1 to 61, not 62"),
        ("lens?position=9", "position must be from -9 to 8, not 9"),
        ("attribution?position=1", "token is missing"),
        ("attribution?token=61", "token must be from 0 to 60, not 61"),
        ("surprise?position=1", "there is no 'position' here"),
        ("figures/F99", "there is no figure 'F99'"),
        ("figures/F40?format=png", "format must be one of json, svg, text, not 'png'"),
        ("figures/F40?language=de", "language must be one of en, zh, not 'de'"),
        ("figures/F40?figure=F40", "'figure' is given 2 times"),
        ("figures/F40?head=3", "head must be from 0 to 2, not 3"),
        ("checks?position=9", "position must be from -9 to 8, not 9"),
        ("tensors", "sel is missing"),
        ("tensors?sel=ids&enc=u4", "enc must be one of f32, f16, u8sqrt, not 'u4'"),
        ("tensors?sel=attn.0[9]", "index 9 is outside axis 0 of attn.0, which has 3"),
        ("tensors?sel=q.0&enc=u8sqrt", "u8sqrt is for shares from 0 to 1, which q.0 are not all"),
    ],
)
def test_what_cannot_be_answered_is_one_line(client: TestClient, trace: str, path: str, error: str) -> None:
    assert error_of(client, f"{trace}/{path}").startswith(error)


@pytest.mark.parametrize("path", sorted(ANSWERS))
def test_a_trace_that_is_not_there_is_to_be_posted_again(client: TestClient, path: str) -> None:
    asked = path.replace("{figure}", "F40")
    assert "post its token ids again" in error_of(client, f"/api/traces/0123456789abcdef/{asked}?sel=ids", 404)
