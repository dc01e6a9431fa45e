import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import cutaway
from cutaway.checkpoints import ArrayWeights, open_checkpoint, open_source, save_checkpoint
from cutaway.checkpoints.adapter import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    TARGETS,
    Adapter,
    MergedWeights,
    Pair,
    find_targets,
    read_adapter,
    save_adapter,
)
from cutaway.checkpoints.directory import CHAT_TEMPLATE_FILE, TASK
from cutaway.checkpoints.safetensors import read_arrays, write_arrays
from cutaway.engines.reference import ReferenceEngine
from cutaway.errors import CheckpointError, UsageError
from cutaway.numerics import FloatArray
from tests.tiny import assert_logits_close, peer_logits, peer_model, random_ids, tiny_weights

BASE = tiny_weights()
CONFIG = BASE.config


def random_adapter(base: str = "base", targets: tuple[str, ...] = ("c_attn", "c_proj", "c_fc")) -> Adapter:
    rng = np.random.default_rng(0)
    pairs = {}
    for layer in range(CONFIG.n_layer):
        for target in find_targets(targets):
            inputs, outputs = CONFIG.tensors[f"h.{layer}.{target}.weight"].shape
            a, b = (rng.normal(0, 0.3, shape).astype(np.float32) for shape in ((4, inputs), (outputs, 4)))
            pairs[f"h.{layer}.{target}"] = Pair(a, b)
    return Adapter(base, 4, 8.0, targets, pairs)


def logits(weights: MergedWeights | ArrayWeights, ids: list[int]) -> FloatArray:
    return ReferenceEngine(weights).forward([ids], logits="all", exact=True)


@pytest.fixture
def adapted(tmp_path: Path) -> Path:
    """An adapter directory, beside the model that it is for."""
    save_checkpoint(tmp_path / "base", BASE)
    save_adapter(tmp_path / "adapter", random_adapter(str(tmp_path / "base")))
    return tmp_path / "adapter"


@pytest.mark.slow
@pytest.mark.parametrize("targets", [("c_attn", "c_proj", "c_fc"), ("c_attn",), ("mlp.c_proj", "c_attn")])
def test_peft_reads_what_is_written_and_computes_the_same_logits(tmp_path: Path, targets: tuple[str, ...]) -> None:
    from peft import PeftModel

    adapter = random_adapter(targets=targets)
    save_adapter(tmp_path / "adapter", adapter)
    ids = random_ids(CONFIG, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = PeftModel.from_pretrained(peer_model(BASE), tmp_path / "adapter").eval()
    assert len([name for name, _ in peer.named_parameters() if "lora_A" in name]) == len(adapter.pairs)
    with torch.no_grad():
        theirs = peer(torch.tensor([ids])).logits[0].numpy()
    ours = logits(MergedWeights(BASE, adapter), ids)
    assert_logits_close(ours, theirs)
    assert np.abs(ours - logits(BASE, ids)).max() > 0.1


@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_reads_what_peft_writes(tmp_path: Path, rank_stabilised: bool) -> None:
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["c_attn", "c_proj", "c_fc"],
        fan_in_fan_out=True,
        task_type="CAUSAL_LM",
        use_rslora=rank_stabilised,
        init_lora_weights=False,
    )
    ids = random_ids(CONFIG, 12)
    save_checkpoint(tmp_path / "base", BASE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = get_peft_model(peer_model(BASE), settings).eval()
        peer.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
        peer.save_pretrained(str(tmp_path / "adapter"))
    with torch.no_grad():
        theirs = peer(torch.tensor([ids])).logits[0].numpy()
    model = cutaway.load(tmp_path / "adapter", engine="reference")
    assert_logits_close(model.logits(ids), theirs)


def test_load_merges_an_adapter_into_its_model(adapted: Path) -> None:
    model = cutaway.load(adapted, engine="reference")
    ids = random_ids(CONFIG, 12)
    assert model.name == "adapter"
    np.testing.assert_allclose(model.logits(ids), logits(MergedWeights(BASE, random_adapter()), ids), atol=1e-5)


def test_a_merged_adapter_is_a_checkpoint_that_transformers_reads(adapted: Path, tmp_path: Path) -> None:
    from transformers import GPT2LMHeadModel

    save_checkpoint(tmp_path / "merged", open_checkpoint(adapted))
    peer = GPT2LMHeadModel.from_pretrained(tmp_path / "merged").eval()
    ids = random_ids(CONFIG, 12)
    assert_logits_close(logits(MergedWeights(BASE, random_adapter()), ids), peer_logits(peer, ids))


def test_an_adapter_of_a_quantised_model_makes_it_float32(tmp_path: Path) -> None:
    base = tiny_weights(n_embd=32, n_head=2)
    save_checkpoint(tmp_path / "base", base, "int8")
    ones = Pair(np.ones((1, 32), np.float32), np.ones((96, 1), np.float32))
    adapter = Adapter(str(tmp_path / "base"), 1, 1, ("c_attn",), {"h.1.attn.c_attn": ones})
    save_adapter(tmp_path / "adapter", adapter)
    merged = open_checkpoint(tmp_path / "adapter")
    stored = open_checkpoint(tmp_path / "base")
    assert (merged.dtype, stored.dtype) == ("float32", "int8")
    np.testing.assert_array_equal(merged.read("h.1.attn.c_attn.weight"), stored.read("h.1.attn.c_attn.weight") + 1)
    np.testing.assert_array_equal(merged.read("h.0.attn.c_attn.weight"), stored.read("h.0.attn.c_attn.weight"))


def test_an_adapter_has_what_its_model_says_of_tokens_and_leaves_out(adapted: Path) -> None:
    base = adapted.parent / "base"
    settings = {"bos_token_id": 3, "eos_token_id": [4, 5], "tokenizer_class": "BertTokenizer"}
    (base / "config.json").write_text(json.dumps(json.loads((base / "config.json").read_text()) | settings))
    arrays = read_arrays(base / "model.safetensors") | {"v_head.weight": np.ones(2, np.float32)}
    (base / "model.safetensors").unlink()
    write_arrays(base / "model.safetensors", arrays)
    opened = open_checkpoint(adapted)
    assert opened.special_tokens == open_checkpoint(base).special_tokens == settings
    assert (opened.tokenizer_class, opened.left_out) == ("BertTokenizer", ("v_head.weight",))


def test_an_adapter_has_the_side_files_of_its_model_where_it_has_none_of_its_own(tmp_path: Path) -> None:
    of_base = {TASK: "base", CHAT_TEMPLATE_FILE: "base"}
    save_checkpoint(tmp_path / "base", tiny_weights(), side_files=of_base)
    save_adapter(tmp_path / "adapter", random_adapter(str(tmp_path / "base")), {CHAT_TEMPLATE_FILE: "own"})
    assert open_source(str(tmp_path / "adapter")).side_files() == {TASK: "base", CHAT_TEMPLATE_FILE: "own"}
    assert open_source(str(tmp_path / "adapter")).chat_template().text == "own"
    save_adapter(tmp_path / "without", random_adapter(str(tmp_path / "base")))
    assert open_source(str(tmp_path / "without")).chat_template().text == "base"


def test_an_adapter_has_the_template_error_of_its_model_where_it_has_no_template_of_its_own(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "base", tiny_weights())
    (tmp_path / "base" / CHAT_TEMPLATE_FILE).write_bytes(b"\xff")
    for name, texts in (("without", {}), ("own", {CHAT_TEMPLATE_FILE: "own"})):
        save_adapter(tmp_path / name, random_adapter(str(tmp_path / "base")), texts)
    assert open_source(str(tmp_path / "own")).chat_template().error == ""
    of_base = open_source(str(tmp_path / "without")).chat_template().error
    assert of_base == f"{tmp_path}/base/{CHAT_TEMPLATE_FILE}: not UTF-8 at byte 0"
    (tmp_path / "own" / CHAT_TEMPLATE_FILE).write_bytes(b"\xff")
    assert f"{tmp_path}/own/" in open_source(str(tmp_path / "own")).chat_template().error


def test_unknown_targets_are_refused_with_the_nearest_name() -> None:
    assert find_targets(TARGETS) == TARGETS
    with pytest.raises(UsageError, match="q_proj is not a matrix of a block; did you mean c_proj?"):
        find_targets(["c_attn", "q_proj"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"use_dora": True}, "use_dora is True; only plain LoRA"),
        ({"bias": "all"}, "bias is 'all'; only plain LoRA"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"rank_pattern": {"c_attn": 2}}, "rank_pattern is"),
        ({"r": 0}, "r must be a positive integer, not 0"),
        ({"lora_alpha": "8"}, "lora_alpha must be a number, not '8'"),
        ({"use_rslora": 1.5}, "use_rslora must be true or false"),
        ({"base_model_name_or_path": None}, "base_model_name_or_path must name a model, not None"),
    ],
)
def test_adapters_of_another_kind_are_refused(adapted: Path, changed: dict[str, object], message: str) -> None:
    path = adapted / ADAPTER_CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(CheckpointError, match=message) as refused:
        open_checkpoint(adapted)
    assert "adapter_config.json" in str(refused.value)


def test_files_with_missing_unknown_or_misshapen_factors_are_refused(adapted: Path) -> None:
    path = adapted / ADAPTER_WEIGHTS
    whole = read_arrays(path)
    first = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"
    cases = {
        "h.0.attn.c_attn: lora_A is missing": {n: a for n, a in whole.items() if n != first},
        "must be floats of shape .4, 24.": whole | {first: np.zeros((3, 24), np.float32)},
        "is not a LoRA factor": whole | {"base_model.model.transformer.wte.lora_A.weight": np.zeros(2, np.float32)},
        "holds no LoRA factors": {},
    }
    for message, arrays in cases.items():
        path.unlink()
        write_arrays(path, arrays)
        with pytest.raises(CheckpointError, match=message):
            open_checkpoint(adapted)


def test_an_adapter_without_its_model_says_so(tmp_path: Path) -> None:
    save_adapter(tmp_path / "adapter", random_adapter(str(tmp_path / "nowhere")))
    with pytest.raises(CheckpointError, match="adapter is an adapter, and its model: .*nowhere"):
        open_checkpoint(tmp_path / "adapter")
    save_adapter(tmp_path / "another", random_adapter(str(tmp_path / "adapter")))
    with pytest.raises(CheckpointError, match="is an adapter of .* which is an adapter too"):
        open_checkpoint(tmp_path / "another")


@pytest.mark.parametrize("base", ["~no-such-user/x", "x" * 300])
def test_a_model_that_cannot_be_looked_up_is_named(tmp_path: Path, base: str) -> None:
    save_adapter(tmp_path / "adapter", Adapter(base, 1, 1.0, ("c_attn",), {}))
    with pytest.raises(CheckpointError, match=rf"adapter is an adapter, and its model: {base}: cannot be read"):
        open_checkpoint(tmp_path / "adapter")


def test_a_pickle_of_older_versions_of_peft_is_named(adapted: Path) -> None:
    (adapted / ADAPTER_WEIGHTS).rename(adapted / "adapter_model.bin")
    with pytest.raises(
        CheckpointError, match=r"adapter_model\.bin: is a pickle, which is never loaded; save the adapter"
    ):
        open_checkpoint(adapted)


@pytest.mark.filterwarnings("error")
def test_an_adapter_that_overflows_is_one_line(adapted: Path) -> None:
    path = adapted / ADAPTER_CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lora_alpha": 1e300}))
    with pytest.raises(CheckpointError, match=r"adapter: makes h\.0\.attn\.c_attn\.weight too large for float32$"):
        save_checkpoint(adapted.parent / "out", open_checkpoint(adapted))


def test_the_config_is_pefts(tmp_path: Path) -> None:
    save_adapter(tmp_path / "adapter", Adapter("gpt2", 1, 2.0, ("c_attn",), {}, dropout=0.25, is_rank_stabilised=True))
    assert json.loads((tmp_path / "adapter" / ADAPTER_CONFIG).read_text()) == {
        "base_model_name_or_path": "gpt2",
        "bias": "none",
        "fan_in_fan_out": True,  # or PEFT warns that it takes it for true
        "inference_mode": True,
        "lora_alpha": 2.0,
        "lora_dropout": 0.25,
        "peft_type": "LORA",
        "r": 1,
        "target_modules": ["c_attn"],
        "task_type": "CAUSAL_LM",
        "use_rslora": True,
    }


def test_the_adapter_is_read_back_as_it_was_saved(adapted: Path) -> None:
    found = read_adapter(adapted, CONFIG)
    made = random_adapter()
    assert (found.r, found.alpha, found.targets, found.scale) == (made.r, made.alpha, made.targets, 2.0)
    for name, pair in made.pairs.items():
        np.testing.assert_array_equal(found.pairs[name].a, pair.a)
        np.testing.assert_array_equal(found.pairs[name].b, pair.b)
