"""The server as a page meets it: addresses, streams, clients that go away, and requests that nobody should send."""

import asyncio
import json
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlencode

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from starlette.types import Message

from cutaway.checkpoints.sources import BUILTIN
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import UsageError
from cutaway.explore.app import Explorer, make_app
from cutaway.explore.handlers import HANDLERS
from cutaway.explore.slices import parse_slice
from cutaway.explore.trace_cache import TraceCache
from cutaway.loading import load
from cutaway.model import Model
from cutaway.trace.interventions import KINDS
from cutaway.web.worker import Job, LatestJob
from tests.explore.served import (
    PORT,
    ROBOT,
    client_of,
    error_of,
    get,
    lines,
    mute,
    read,
    read_name,
    slow,
    talking,
    tensors,
)
from tests.tiny import tiny_weights


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(mute(n_layer=3)) as client:
        yield client


def test_what_a_page_opens_on_is_computed_before_it_asks() -> None:
    explorer = Explorer(mute(), checkpoint_bytes=0)
    explorer.warm_up([5, 6, 7])
    with TestClient(make_app(explorer, PORT), f"http://127.0.0.1:{PORT}") as client:
        assert read(client, ids=[5, 6, 7])["stored"] is True
        assert read(client, ids=[5, 6, 8])["stored"] is False


class TestAgainst:
    """Another model of the same shape, which the page compares with."""

    def test_uses_the_second_models_weights_and_cache(self) -> None:
        model = mute()
        other = mute(seed=1)
        with client_of(model, against=other) as client:
            mine = read_name(client, ids=[5, 6, 7])
            found = read(client, ids=[5, 6, 7, 8], base=mine, against=True)
            assert found["work"]["positions_reused"] == 0
            assert found["trace"] != read_name(client, ids=[5, 6, 7, 8])
            again = read(client, ids=[5, 6, 7, 9], base=found["trace"], against=True)
            assert again["work"]["positions_reused"] == 3
            logits = tensors(client, found["trace"], "logits")["logits"]
            np.testing.assert_array_equal(logits, other.trace([5, 6, 7, 8])["logits"])
            nats = get(client, f"/api/traces/{mine}/divergence", **{"with": found["trace"]})["boundaries"]
            assert len(nats) == 2 * model.config.n_layer + 1

    def test_is_named(self) -> None:
        with client_of(mute(), against=mute(seed=1)) as client:
            assert get(client, "/api/model")["against"] == {"name": "mute", "dtype": "float32"}

    def test_is_an_error_without_a_second_model(self, client: TestClient) -> None:
        response = client.post("/api/traces", json={"ids": [1], "against": True})
        assert response.status_code == 400
        assert response.json() == {"error": "there is no second model; start cutaway explore with --against"}
        with pytest.raises(UsageError, match="cannot be compared with"):
            client_of(mute(), against=mute(n_layer=1))


class TestTraces:
    def test_are_streamed_with_progress(self, client: TestClient) -> None:
        response = client.post("/api/traces", json={"ids": [7, 8, 9]})
        assert response.headers["content-type"] == "application/x-ndjson"
        *progress, last = lines(response.text)
        assert progress == [{"layers_done": layer, "layers": 3} for layer in (1, 2, 3)]
        assert last["ids"] == [7, 8, 9]

    def test_have_stable_names(self, client: TestClient) -> None:
        assert read_name(client, ids=[1, 2]) == read_name(client_of(mute(n_layer=3)), ids=[1, 2])
        assert read(client, ids=[1, 2])["stored"] is True

    def test_reuse_the_cache_of_the_base(self, client: TestClient) -> None:
        base = read_name(client, ids=[5, 6, 7])
        work = read(client, ids=[5, 6, 7, 8], base=base)["work"]
        assert (work["positions_computed"], work["positions_reused"]) == (1, 3)
        work = read(client, ids=[5, 6, 7], base=base, interventions=[{"kind": "zero_ablate_mlp", "layer": 2}])["work"]
        assert (work["layers_computed"], work["layers_reused"]) == (1, 2)

    def test_reject_invalid_requests_before_the_first_line(self, client: TestClient) -> None:
        response = client.post("/api/traces", json={"ids": [1] * 49})
        assert response.status_code == 400
        assert response.json() == {"error": "the text is 49 tokens long; the context holds 48"}
        long = client_of(talking()).post("/api/traces", json={"text": "robot " * 40})
        assert long.status_code == 400
        assert "the context holds 32" in long.json()["error"]

    def test_are_evicted_when_the_cache_is_full(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cutaway.explore.app.TraceCache", lambda: TraceCache(1))
        client = client_of(mute())
        change = {"kind": "scale_head", "layer": 0, "head": 1, "value": 2}
        found = [read(client, ids=[token], interventions=[change]) for token in range(3)]
        gone = f"/api/traces/{found[0]['trace']}/surprisal"
        assert "post its token ids again" in error_of(client, gone, 404)
        again = read(client, ids=found[0]["ids"], interventions=found[0]["interventions"])
        assert (again["trace"], again["stored"]) == (found[0]["trace"], False)
        assert client.get(gone).status_code == 200
        assert client.get(f"/api/traces/{found[2]['trace']}/surprisal").status_code == 200

    def test_reject_interventions_that_overflow(self, client: TestClient) -> None:
        change = {"kind": "scale_head", "layer": 0, "head": 0, "value": 1e12}
        last = read(client, ids=[1, 2, 3], interventions=[change] * 9)
        assert last == {"error": "with these interventions numbers grow too large for float32; use smaller values"}
        name = read_name(client, ids=[1, 2, 3], interventions=[change])
        assert np.isfinite(tensors(client, name, "logits")["logits"]).all()


class TestGenerate:
    def test_streams_a_line_a_token(self, client: TestClient) -> None:
        response = client.post("/api/generate", json={"ids": [1, 2], "max_new_tokens": 4, "seed": 5})
        *tokens, last = lines(response.text)
        assert [token["cache_length"] for token in tokens] == [2, 3, 4, 5]
        assert last == {"finish_reason": "length", "seed": 5}

    def test_rejects_invalid_requests_before_the_first_line(self, client: TestClient) -> None:
        response = client.post("/api/generate", json={"ids": [1], "temperature": -1})
        assert (response.status_code, response.json()) == (
            400,
            {"error": "temperature must be from 0 to 1e+06, not -1"},
        )


class TestOtherAddresses:
    def test_documents_of_model_figures_parameters_vocabulary_tokens_and_neighbours(self) -> None:
        client = client_of(talking())
        assert get(client, "/api/model")["checkpoint"] == {"name": "talking", "bytes": 1234}
        assert get(client, "/api/figures")["figures"]
        assert get(client, "/api/parameters")["parameters"] == talking().config.n_params
        assert len(get(client, "/api/vocabulary")["tokens"]) == 50257
        assert get(client, "/api/tokens", text="A robot")["ids"] == [32, 9379]
        near = get(client, "/api/nearest", token=9379, k=2)["tokens"]
        assert [set(each) for each in near] == [{"id", "text", "cosine"}] * 2

    @pytest.mark.parametrize(
        ("path", "error"),
        [
            ("/api/model?x=1", "unknown parameter 'x'"),
            ("/api/figures?x=1", "unknown parameter 'x'"),
            ("/api/parameters?x=1", "unknown parameter 'x'"),
            ("/api/vocabulary?x=1", "unknown parameter 'x'"),
            ("/api/tokens", "text is missing"),
            (f"/api/tokens?text={'a' * 2001}", "a text to explain must have at most 2000 characters, not 2001"),
            ("/api/tokens?text=a", "mute has no tokenizer files; it cannot read text"),
            ("/api/nearest?token=61", "token must be from 0 to 60, not 61"),
            ("/api/nearest?token=1&k=0", "k must be from 1 to 100, not 0"),
        ],
    )
    def test_reject_invalid_parameters(self, client: TestClient, path: str, error: str) -> None:
        assert error_of(client, path) == error

    @pytest.mark.parametrize("path", ["/api", "/api/", "/api/model/", "/api/traces/x", "/favicon.ico", "/api/x"])
    def test_unknown_paths_are_404(self, client: TestClient, path: str) -> None:
        assert error_of(client, path, 404) == "Not Found"

    @pytest.mark.parametrize(("method", "path"), [("GET", "/api/traces"), ("POST", "/api/model"), ("PUT", "/")])
    def test_wrong_methods_are_405(self, client: TestClient, method: str, path: str) -> None:
        response = client.request(method, path)
        assert (response.status_code, response.json()) == (405, {"error": "Method Not Allowed"})


class TestManyAtOnce:
    def test_a_slow_trace_does_not_block_other_responses(self) -> None:
        model, weights = slow()
        with client_of(model) as client, ThreadPoolExecutor() as threads:
            reading = threads.submit(read, client, ids=[1, 2])
            assert weights.reached.wait(20)
            for path in ("/api/model", "/api/figures", "/"):
                assert client.get(path).status_code == 200
            assert not reading.done()
            weights.go_on.set()
            assert reading.result()["ids"] == [1, 2]

    def test_disconnecting_cancels_the_trace_between_layers(self) -> None:
        model, weights = slow()
        with client_of(model) as client:
            with client.stream("POST", "/api/traces", json={"ids": [1, 2]}) as response:
                found = response.iter_lines()  # which leaves when it is let go
                assert next(found) == '{"layers_done":1,"layers":3}'
                assert weights.reached.wait(20)
            weights.go_on.set()
            assert read(client, ids=[3])["ids"] == [3]  # which waited for the end of the other
        asked = weights.asked[weights.asked.index("h.1.attn.c_attn.weight") :]
        assert asked.count("h.2.attn.c_attn.weight") == 1

    def test_a_newer_request_of_a_view_cancels_the_older(self, monkeypatch: pytest.MonkeyPatch) -> None:
        arrived: queue.Queue[int] = queue.Queue()
        begin = LatestJob.begin

        def told(latest: LatestJob, client: str, sequence: int, job: Job) -> None:
            begin(latest, client, sequence, job)
            arrived.put(sequence)

        monkeypatch.setattr(LatestJob, "begin", told)
        model, weights = slow()
        with client_of(model) as client, ThreadPoolExecutor() as threads:
            requests = []
            for token, (view, sequence) in enumerate([("main", 1), ("other", 1), ("main", 3), ("main", 2)]):
                body = {"ids": [token], "view": view, "sequence": sequence}
                requests.append(threads.submit(client.post, "/api/traces", json=body))
                assert arrived.get(timeout=20) == sequence
            weights.go_on.set()
            ends = [lines(request.result().text)[-1] for request in requests]
        assert [end.get("ids", end) for end in ends] == [{"cancelled": True}, [1], [2], {"cancelled": True}]

    def test_disconnecting_cancels_queued_jobs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With messages as uvicorn sends them: the test client waits for every answer."""
        model, weights = slow()
        computed: list[object] = []
        monkeypatch.setattr("cutaway.explore.schemas.vocabulary_document", computed.append)
        app = make_app(Explorer(model, 0), PORT)

        async def ask(method: str, path: str, body: bytes, gone: asyncio.Event) -> list[Message]:
            incoming: list[Message] = [{"type": "http.request", "body": body}]
            outgoing: list[Message] = []

            async def receive() -> Message:
                if incoming:
                    return incoming.pop()
                await gone.wait()
                return {"type": "http.disconnect"}

            async def send(message: Message) -> None:
                outgoing.append(message)

            headers = [(b"host", f"localhost:{PORT}".encode()), (b"content-type", b"application/json")]
            scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
            await app(scope, receive, send)
            return outgoing

        async def main() -> list[list[Message]]:
            gone = asyncio.Event()
            stays = asyncio.Event()
            reading = asyncio.create_task(ask("POST", "/api/traces", b'{"ids": [1]}', gone))
            await asyncio.to_thread(weights.reached.wait, 20)
            waiting = [asyncio.create_task(ask("GET", "/api/vocabulary", b"", event)) for event in (gone, gone, stays)]
            await asyncio.sleep(0.1)
            gone.set()
            await asyncio.sleep(0.1)
            weights.go_on.set()
            return list(await asyncio.gather(reading, *waiting))

        reading, *waiting = asyncio.run(main())
        assert reading[0]["status"] == 200
        assert [answer[0]["status"] for answer in waiting] == [409, 409, 200]
        assert computed == [model]
        assert "h.2.attn.c_attn.weight" not in weights.asked[weights.asked.index("h.1.attn.c_attn.weight") :]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
WHOLE = st.integers(-2, 5)


def bodies(**likely: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    """Objects with the fields that there are, mostly of the kind that they should be, and now and then another."""
    known = st.fixed_dictionaries({}, optional={name: st.one_of(kind, kind, JSON) for name, kind in likely.items()})
    return st.one_of(known, known, known, JSON.filter(lambda value: isinstance(value, dict)))


IDS = st.lists(st.integers(-1, 62), max_size=5)
INTERVENTIONS = st.lists(
    bodies(
        kind=st.sampled_from(sorted(KINDS)),
        layer=WHOLE,
        head=WHOLE,
        query=WHOLE,
        key=WHOLE,
        value=st.floats(-1e13, 1e13),
    ),
    max_size=3,
)


@pytest.mark.slow
class TestHostileRequests:
    """Whatever is sent, the answer is one of ours: the client of these tests raises what would be a 500."""

    @given(
        bodies(
            ids=IDS,
            text=st.text(max_size=5),
            prepend_bos=st.booleans(),
            interventions=INTERVENTIONS,
            base=st.text(max_size=5),
            view=st.text(max_size=3),
            sequence=WHOLE,
        )
    )
    @settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_fuzz_traces(self, client: TestClient, body: dict[str, object]) -> None:
        self.post(client, "/api/traces", body)

    @given(
        bodies(
            ids=IDS,
            max_new_tokens=WHOLE,
            temperature=st.floats(-1, 1e7),
            top_k=st.integers(-1, 10**39),
            top_p=st.floats(-1, 2),
            repetition_penalty=st.floats(-1, 2000),
            seed=st.integers(-1, 10**39),
        )
    )
    @settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_fuzz_generate(self, client: TestClient, body: dict[str, object]) -> None:
        self.post(client, "/api/generate", body)

    @given(st.binary(max_size=40))
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_of_any_bytes(self, client: TestClient, body: bytes) -> None:
        response = client.post("/api/traces", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400

    @given(
        st.sampled_from([*HANDLERS, "../../model", "é"]),
        st.lists(
            st.tuples(
                st.sampled_from(
                    [
                        "sel",
                        "enc",
                        "layer",
                        "head",
                        "position",
                        "k",
                        "token",
                        "query",
                        "keys",
                        "size",
                        "with",
                        "other_position",
                        "units",
                        "count",
                        "without_first",
                    ]
                ),
                st.sampled_from(["0", "1", "-1", "9999999999", "attn.0[1]", "u8sqrt", "1,2", "json"])
                | st.text(max_size=9),
            ),
            max_size=3,
        ),
        st.text(max_size=5),
    )
    @settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_fuzz_handlers(self, client: TestClient, path: str, query: list[tuple[str, str]], figure: str) -> None:
        name = read_name(client, ids=[1, 2, 3])
        path = path.replace("{figure}", quote(figure, safe=""))
        response = client.get(f"/api/traces/{name}/{path}?{urlencode(query)}")
        assert response.status_code in (200, 400, 404), response.text
        if response.status_code != 200:
            assert list(response.json()) == ["error"]

    def post(self, client: TestClient, path: str, body: object) -> None:
        content = json.dumps(body).encode()  # lone surrogates escaped, as a browser sends them
        response = client.post(path, content=content, headers={"content-type": "application/json"})
        assert response.status_code in (200, 400), response.text
        for document in lines(response.text):
            assert "\n" not in str(document.get("error", ""))


@pytest.mark.slow
@pytest.mark.skipif(not BUILTIN.exists(), reason="a build without the built-in model")
def test_the_built_in_model_handles_every_request() -> None:
    model = load("builtin")
    client = client_of(model)
    *progress, last = lines(client.post("/api/traces", json={"text": ROBOT, "prepend_bos": True}).text)
    assert len(progress) == model.config.n_layer
    name = last["trace"]
    trace = model.trace(ROBOT, prepend_bos=True)
    assert last["ids"] == list(trace.ids)
    for selection in ("attn.5[1,:,:]", "resid.post.7", "wte.weight[340,:]"):
        tensor = selection.split("[")[0]
        places = parse_slice(selection).indices
        np.testing.assert_array_equal(tensors(client, str(name), selection)[selection], trace[tensor][places])
    np.testing.assert_array_equal(tensors(client, str(name), "logits[8,:]")["logits[8,:]"], trace.logits_at(8))
    for path in (
        "heads?layer=1",
        "units?units=3",
        "search?query=8&keys=2",
        "logit_lens",
        "direct_logit_attribution?token=3",
        "surprisal",
    ):
        assert client.get(f"/api/traces/{name}/{path}").status_code == 200
    assert client.post(f"/api/traces/{name}/cache_benchmark", json={}).json()["max_difference"] < 1e-3
    assert lines(client.post("/api/generate", json={"ids": last["ids"], "max_new_tokens": 2}).text)[-1]["finish_reason"]


def test_weights_that_overflow_are_a_422_that_blames_no_intervention() -> None:
    weights = tiny_weights()
    weights.arrays["h.0.attn.c_attn.weight"][:] = 3e38
    client = client_of(Model(ReferenceEngine(weights), weights, None, "overflowing"))
    for path, body in (("/api/traces", {"ids": [1, 2]}), ("/api/generate", {"ids": [1, 2]})):
        response = client.post(path, json=body)
        last = response.json() if response.status_code == 422 else json.loads(response.text.splitlines()[-1])
        assert "not finite" in last["error"]
        assert "intervention" not in last["error"]
        assert response.status_code in (200, 422)
