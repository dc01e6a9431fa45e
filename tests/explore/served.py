"""Helpers for the explorer's tests: small models behind a test client, and what comes back, taken apart."""

import json
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

from numpy.typing import NDArray
from safetensors.numpy import load
from starlette.testclient import TestClient

from cutaway.checkpoints import EffectiveWeights, Weights
from cutaway.engines.reference import ReferenceEngine
from cutaway.explore.app import Explorer, make_app
from cutaway.model import Model
from cutaway.music.codecs import CODECS
from cutaway.numerics import FloatArray
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.reading import read_tokenizer
from tests.tiny import tiny_weights
from tests.tokenizer.other_kinds import write_bert

Json = dict[str, Any]  # a parsed document

PORT = 8477
ROBOT = "A robot must obey the orders given it"


def mute(**shape: int | bool) -> Model:
    """A random model without a tokenizer."""
    weights = tiny_weights(**shape)
    return Model(ReferenceEngine(weights), weights, None, "mute")


def talking() -> Model:
    """A random model with GPT-2's vocabulary."""
    weights = tiny_weights(n_vocab=50257, n_ctx=32, n_embd=12)
    return Model(ReferenceEngine(weights), weights, Tokenizer.gpt2(), "talking")


def musical(codec: str = "perf388") -> Model:
    """A random model of music."""
    music = CODECS[codec]
    weights = tiny_weights(n_vocab=music.n_vocab, n_ctx=80)
    return Model(ReferenceEngine(weights), weights, music, "musical")


def chinese() -> Model:
    """A random model with BERT's vocabulary, which has no start token."""
    with TemporaryDirectory() as directory:
        write_bert(do_lower_case=False)(Path(directory))
        tokenizer = read_tokenizer(directory)
    weights = tiny_weights(n_vocab=tokenizer.n_vocab)
    return Model(ReferenceEngine(weights), weights, tokenizer, "chinese")


def client_of(model: Model, token: str | None = None, against: Model | None = None) -> TestClient:
    app = make_app(Explorer(model, 1234, against), PORT, token)
    return TestClient(app, base_url=f"http://127.0.0.1:{PORT}", follow_redirects=False)


def lines(text: str) -> list[Json]:
    return [json.loads(line) for line in text.splitlines()]


def read(client: TestClient, **request: object) -> Json:
    """The last line of the answer to a posted trace."""
    response = client.post("/api/traces", json=request)
    assert response.status_code == 200, response.text
    return lines(response.text)[-1]


def read_name(client: TestClient, **request: object) -> str:
    return str(read(client, **request)["trace"])


def get(client: TestClient, path: str, **query: object) -> Json:
    response = client.get(path, params={name: str(value) for name, value in query.items()})
    assert response.status_code == 200, response.text
    document: Json = response.json()
    return document


def tensors(client: TestClient, trace: str, *selections: str, enc: str = "f32") -> dict[str, NDArray[Any]]:
    """Read the answer with the `safetensors` library."""
    query = urlencode({"sel": selections, "enc": enc}, doseq=True)
    response = client.get(f"/api/traces/{trace}/tensors?{query}")
    assert response.status_code == 200, response.text
    found: dict[str, NDArray[Any]] = load(response.content)
    return found


def error_of(client: TestClient, path: str, status: int = 400) -> str:
    """The one line of a refusal."""
    response = client.get(path)
    assert response.status_code == status, response.text
    (error,) = response.json().values()
    assert "\n" not in error
    return str(error)


class SlowWeights(EffectiveWeights):
    """Weights of which a tensor of layer 1 is only to be had when the test says so."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights, "float32")
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self.asked: list[str] = []

    def __getitem__(self, name: str) -> FloatArray:
        self.asked.append(name)
        if name == "h.1.attn.c_attn.weight":
            self.reached.set()
            assert self.go_on.wait(20)
        return super().__getitem__(name)


def slow(n_layer: int = 3) -> tuple[Model, SlowWeights]:
    model = mute(n_layer=n_layer)
    weights = SlowWeights(tiny_weights(n_layer=n_layer))
    model.weights = weights
    return model, weights
