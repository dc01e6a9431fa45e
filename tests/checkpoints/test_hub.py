"""Models by name, from a hub on 127.0.0.1; in processes of their own, for `huggingface_hub` reads HF_HOME at import."""

import json
import os
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from cutaway.checkpoints import save_checkpoint
from cutaway.checkpoints.hub import fetch
from cutaway.tokenizer.fast import Tokenizer
from tests.checkpoints.fake_hub import COMMIT, Files, fake_hub
from tests.tiny import tiny_weights

WEIGHTS = tiny_weights(n_vocab=50257, n_ctx=8, n_embd=4, n_head=2, n_layer=1)
WANTED = {
    "config.json",
    "generation_config.json",
    "merges.txt",
    "model.safetensors",
    "tokenizer_config.json",
    "vocab.json",
}
OPEN = """
import json, sys
from cutaway.checkpoints import open_checkpoint
from cutaway.errors import HubError
assert "huggingface_hub" not in sys.modules
try:
    checkpoint = open_checkpoint(sys.argv[1])
except HubError as error:
    print(json.dumps({"error": str(error)}))
else:
    total = sum(float(abs(checkpoint.read(name)).sum()) for name in checkpoint.config.tensor_shapes())
    print(json.dumps({"name": checkpoint.name, "path": str(checkpoint.path), "total": total,
                      "tokens": checkpoint.tokenizer().encode(" robot")}))
"""
TOTAL = sum(float(np.abs(tensor).sum()) for tensor in WEIGHTS.arrays.values())


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a published repository, in small: names without prefix, stored masks, other formats beside it."""
    directory = tmp_path_factory.mktemp("published")
    save_checkpoint(directory, WEIGHTS, tokenizer=Tokenizer.gpt2())
    masks = {"h.0.attn.bias": np.tril(np.ones((1, 1, 8, 8), np.float32))}
    safetensors.numpy.save_file({**WEIGHTS.arrays, **masks}, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "generation_config.json").write_text('{"bos_token_id": 50256, "eos_token_id": 50256}')
    others = (
        *(".gitattributes", "README.md", "64.tflite", "64-8bits.tflite", "64-fp16.tflite", "flax_model.msgpack"),
        *(
            "onnx/decoder_model.onnx",
            "onnx/config.json",
            "pytorch_model.bin",
            "rust_model.ot",
        ),
        *("tf_model.h5", "onnx/model.safetensors"),
    )
    return {path.name: path.read_bytes() for path in directory.iterdir()} | {
        name: f"never read: {name}".encode() for name in others
    }


def open_in_process(name: str, home: Path, endpoint: str, *, offline: bool = False) -> dict[str, object]:
    variables = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": str(int(offline))}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")} | variables
    command = [sys.executable, "-c", OPEN, name]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    answer: dict[str, object] = json.loads(result.stdout)
    assert len(str(answer.get("error", "")).splitlines()) <= 1
    return answer


def snapshot(home: Path, repository: str = "openai-community/gpt2") -> Path:
    return home / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / COMMIT


@pytest.mark.slow
def test_a_published_model_by_each_of_its_names_online_and_offline(tmp_path: Path, published: Files) -> None:
    with fake_hub({"openai-community/gpt2": published}) as hub:
        first = open_in_process("117M", tmp_path, hub.url)
        assert hub.delivered() == WANTED
        asked = len(hub.asked)
        again = open_in_process("openai-community/gpt2", tmp_path, hub.url)
        assert not any(request.startswith("GET /large/") for request in hub.asked[asked:])
    offline = open_in_process("gpt2", tmp_path, hub.url, offline=True)
    unreachable = open_in_process("124M", tmp_path, hub.url)
    assert first == {"name": "gpt2", "path": str(snapshot(tmp_path)), "total": TOTAL, "tokens": [9379]}
    assert again == first | {"name": "openai-community/gpt2"}
    assert offline == unreachable == first
    assert {path.name for path in snapshot(tmp_path).iterdir()} == WANTED


@pytest.mark.slow
def test_uses_the_cached_model_of_the_old_name(tmp_path: Path, published: Files) -> None:
    with fake_hub({"gpt2": published}) as hub:
        code = "import sys; from huggingface_hub import hf_hub_download as get; [get('gpt2', f) for f in sys.argv[1:]]"
        environment = os.environ | {"HF_HOME": str(tmp_path), "HF_ENDPOINT": hub.url}
        command = [sys.executable, "-c", code, "config.json", "model.safetensors"]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
        asked = len(hub.asked)
        answer = open_in_process("gpt2", tmp_path, hub.url)
        assert len(hub.asked) == asked
    assert answer["path"] == str(snapshot(tmp_path, "gpt2"))
    assert answer["total"] == TOTAL


@pytest.mark.slow
def test_several_files(tmp_path: Path, published: Files) -> None:
    save_checkpoint(tmp_path / "sharded", WEIGHTS, max_shard_bytes=500_000, tokenizer=Tokenizer.gpt2())
    files = {path.name: path.read_bytes() for path in (tmp_path / "sharded").iterdir()}
    assert len(files) == 7
    with fake_hub({"someone/their-gpt2": files | {"pytorch_model.bin": b"\x80"}}) as hub:
        answer = open_in_process("someone/their-gpt2", tmp_path, hub.url)
        assert hub.delivered() == set(files)
    assert answer["total"] == TOTAL


@pytest.mark.slow
def test_errors_are_one_line(tmp_path: Path, published: Files) -> None:
    pickles = {name: data for name, data in published.items() if not name.endswith(".safetensors")}
    with fake_hub({"a/pickles": pickles, "a/gated": published}, gated="a/gated") as hub:
        errors = {
            name: open_in_process(name, tmp_path, hub.url) for name in ("a/none", "a/pickles", "a/gated", "a--b/c")
        }
        assert "pytorch_model.bin" not in hub.delivered()
        offline = open_in_process("gpt2-xl", tmp_path, hub.url, offline=True)
    unreachable = open_in_process("a/new", tmp_path, hub.url)
    assert errors == {
        "a/none": {
            "error": "a/none is neither a directory here nor a model on the hub, or a private one: then log in with "
            "`hf auth login`"
        },
        "a/pickles": {
            "error": "a/pickles has no config.json with safetensors weights on the hub; pickles are never fetched"
        },
        "a/gated": {"error": "a/gated is gated: accept its terms on the hub, then log in with `hf auth login`"},
        "a--b/c": {"error": "a--b/c cannot be fetched: Cannot have -- or .. in repo_id: 'a--b/c'."},
    }
    assert offline == {
        "error": "openai-community/gpt2-xl is neither a directory here nor in the cache, and HF_HUB_OFFLINE is set: "
        "unset it to fetch the model"
    }
    begin = "a/new is neither a directory here nor in the cache, and the hub cannot be reached: "
    assert str(unreachable["error"]).startswith(begin)
    assert str(unreachable["error"]).endswith("; check the network")


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "tokenizer.json",
        "vocab.json",
        "merges.txt",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "codec.json",
        "task.toml",
        "generation_config.json",
    ],
)
def test_every_file_that_is_read_is_fetched(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for needed in ("config.json", "model.safetensors"):
        (tmp_path / needed).touch()

    def download(repository: str, allow_patterns: list[str]) -> str:
        assert any(fnmatch(name, pattern) for pattern in allow_patterns)
        assert not any(fnmatch("pytorch_model.bin", pattern) for pattern in allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert fetch("a/model") == tmp_path
