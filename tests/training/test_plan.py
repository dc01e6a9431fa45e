"""The arithmetic of a plan, beside what PyTorch really allocates for small models, and beside published runs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from cutaway.config import PUBLISHED, GPT2Config, published
from cutaway.engines.pytorch import model as model_module
from cutaway.engines.pytorch.model import GPT2
from cutaway.errors import UsageError
from cutaway.training.hardware import find_hardware, matmul_peak
from cutaway.training.plan import (
    Row,
    Training,
    activation_bytes,
    block_params,
    hours,
    palm_flops_per_token,
    plan,
    replicated_memory,
    sharded_memory,
    state_bytes,
)

SHAPES = [
    GPT2Config(n_vocab=101, n_ctx=32, n_embd=64, n_head=4, n_layer=3),
    GPT2Config(n_vocab=67, n_ctx=16, n_embd=32, n_head=1, n_layer=1, n_inner=48),
    GPT2Config(n_vocab=50, n_ctx=8, n_embd=24, n_head=3, n_layer=2, tie_word_embeddings=False),
]
XL = GPT2Config(n_embd=1600, n_head=25, n_layer=48)


def bytes_of(tensors: Sequence[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize("config", SHAPES)
def test_weights_gradients_and_moments_are_what_pytorch_allocates(config: GPT2Config) -> None:
    model = GPT2(config)
    optimizer = torch.optim.AdamW(model.parameters())
    ids = torch.randint(config.n_vocab, (2, config.n_ctx))
    model.loss(ids, ids).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    parameters = list(model.parameters())
    moments = [t for state in optimizer.state.values() for t in (state["exp_avg"], state["exp_avg_sq"])]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    assert state_bytes(config.n_params) == (bytes_of(parameters), bytes_of(gradients), bytes_of(moments))
    assert config.n_layer * block_params(config) == sum(p.numel() for p in model.h.parameters())


def fused_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: object) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@pytest.mark.parametrize("config", SHAPES)
def test_activations_are_what_pytorch_keeps(config: GPT2Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 2 % of the storages that autograd holds, those of parameters and ids left out; attention as on a GPU."""
    monkeypatch.setattr(model_module, "causal_attention", fused_attention)
    model = GPT2(config)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tensor.is_floating_point():
            kept[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(config.n_vocab, (4, config.n_ctx))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model.hidden(ids)
    kept[output.untyped_storage().data_ptr()] = output.untyped_storage()
    found = sum(storage.nbytes() for storage in kept.values())
    assert activation_bytes(config, ids.numel(), checkpointing=False, item_bytes=4) == pytest.approx(found, rel=0.02)


def test_flops_are_those_of_the_matrix_products() -> None:
    """6 N counts the embeddings' lookup as a product, which a tied head really is; the rest is small."""
    config = PUBLISHED[0].config
    matrices = sum(spec.size for spec in config.tensors.values() if spec.quantisable)
    products = 6 * matrices + 12 * config.n_layer * config.n_embd * 1024
    assert palm_flops_per_token(config, 1024) == pytest.approx(products, rel=0.01)


@pytest.mark.parametrize(
    ("name", "devices", "hardware", "mfu", "tokens_per_second"),
    [
        ("gpt2-xl", 8, "h100", 0.49, 1_048_576 / 2.80),  # llm.c
        ("gpt2", 8, "a100", 0.60, 524_288 / 0.300),  # llm.c
        ("gpt2", 8, "a100", 0.38, 1.1e6),  # build-nanogpt
    ],
)
def test_published_utilisations_give_published_speeds(
    name: str, devices: int, hardware: str, mfu: float, tokens_per_second: float
) -> None:
    model = published(name)
    assert model is not None
    training = Training(model.config, tokens=1e9, devices=devices)
    taken = hours(training.flops, devices, find_hardware(hardware).peak, mfu)
    assert 1e9 / taken / 3600 == pytest.approx(tokens_per_second, rel=0.02)


def test_sharding_divides_the_states_and_not_the_activations() -> None:
    whole = replicated_memory(XL, 8192, checkpointing=False)
    divided = sharded_memory(XL, 8192, 8, checkpointing=False)
    assert divided.optimizer * 8 == pytest.approx(whole.optimizer, rel=1e-6)
    assert divided.activations == whole.activations
    assert divided.total < whole.total
    sizes = [sharded_memory(XL, 8192, n, checkpointing=False).total for n in (1, 2, 4, 8, 64)]
    assert sizes == sorted(sizes, reverse=True)


def test_checkpointing_keeps_one_vector_a_block_and_one_block() -> None:
    deep = replace(XL, n_layer=49)
    grown = activation_bytes(deep, 1, checkpointing=True) - activation_bytes(XL, 1, checkpointing=True)
    assert grown == 4 * XL.n_embd


def by_name(rows: list[Row]) -> dict[str, Row]:
    assert len({row.name for row in rows if row.name != "share of the peak"}) == len(rows) - sum(
        row.name == "share of the peak" for row in rows
    )
    return {row.name: row for row in rows}


def test_every_row_says_what_its_figure_rests_on() -> None:
    rows = by_name(plan(Training(XL), find_hardware("h100")))
    assert {row.basis for row in rows.values()} == {"exact", "computed", "published"}
    assert rows["tokens"].basis == "published"
    assert rows["steps"].value == 17_235
    assert rows["DDP: total"].source == "fits"
    for scheme, memory in (
        ("DDP", replicated_memory(XL, 8192, checkpointing=True)),
        ("FSDP2", sharded_memory(XL, 8192, 8, checkpointing=True)),
    ):
        assert rows[f"{scheme}: total, checkpointed"].value == memory.total
    assert rows["tokens per second at 49%"].value == pytest.approx(1_048_576 / 2.80, rel=0.02)  # llm.c's own
    assert rows["cost at 49%"].value == pytest.approx(rows["hours at 49%"].value * 8 * 3.5)


def test_what_a_user_states_is_assumed() -> None:
    rows = by_name(plan(Training(XL, tokens=1e9), find_hardware("h100"), mfu=0.5, dollars=2.0))
    assert [rows[name].basis for name in ("tokens", "price per device", "share of the peak")] == ["assumed"] * 3
    assert "hours at 40%" not in rows


def test_an_h200_has_no_price_and_borrows_the_h100s_utilisation() -> None:
    rows = plan(Training(XL), find_hardware("h200"))
    assert not any(row.unit.startswith("$") for row in rows)
    assert by_name(rows)["memory per device"].value == 141e9
    assert {row.basis for row in rows if row.unit == "%"} == {"assumed"}


def test_a_large_micro_batch_does_not_fit() -> None:
    rows = by_name(plan(Training(XL, micro_batch_size=64), find_hardware("a100")))
    assert rows["DDP: total"].source == "does not fit"
    assert rows["FSDP2: total, checkpointed"].source == "fits"


def test_what_fits_is_smaller_than_the_memory() -> None:
    total = replicated_memory(XL, 8192, checkpointing=False).total
    for memory, word in ((total, "does not fit"), (total + 1, "fits")):
        rows = by_name(plan(Training(XL), replace(find_hardware("h100"), memory=memory)))
        assert rows["DDP: total"].source == word


def test_this_machine_is_measured() -> None:
    assert 1e8 < matmul_peak(64, seconds=0.0) < 1e15


def test_a_product_of_n_by_n_matrices_is_two_n_cubed_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 4.0, 4.0, 6.0, 6.0, 9.0])
    monkeypatch.setattr("cutaway.training.hardware.perf_counter", lambda: next(seconds))
    assert matmul_peak(64, seconds=9.0) == 2 * 64**3 / 2.0  # of 4, 2 and 3 seconds the fastest


@pytest.mark.parametrize("wrong", [{"tokens": 0}, {"devices": -1}, {"n_ctx": 2048}, {"tokens": float("nan")}])
def test_invalid_runs_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Training(XL, **wrong)


def test_unknown_hardware_is_refused() -> None:
    with pytest.raises(UsageError, match="hardware must be one of a100, h100, h200, cpu, not 'tpu'"):
        find_hardware("tpu")


PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
TWO_CORES = 0.32e12  # FLOP/s in float32, measured; 58 % of it reached


def time(count: float) -> str:
    return (
        f"{count:,.1f} h" if count < 48 else f"{count / 24:,.1f} days" if count < 2400 else f"{count / 8766:,.1f} years"
    )


def page_rows() -> Iterator[str]:
    """The rows of the page's two tables, computed."""
    for model in PUBLISHED:
        flops = Training(model.config).flops
        core = hours(flops, 1, TWO_CORES, 0.58)
        one = hours(flops, 1, 989e12, 0.398)
        eight = hours(flops, 8, 989e12, 0.398)
        yield (
            f"| {model.size} | {model.config.n_params:,} | {flops:.2e} | {time(core)} | {time(one)} | {time(eight)} "
            f"| ${eight * 8 * 3.5:,.0f} |"
        )
    for model in PUBLISHED:
        totals = [
            memory.total / 1e9
            for checkpointing in (False, True)
            for memory in (
                replicated_memory(model.config, 8192, checkpointing=checkpointing),
                sharded_memory(model.config, 8192, 8, checkpointing=checkpointing),
            )
        ]
        states = sum(state_bytes(model.config.n_params)) / 1e9
        yield f"| {model.size} | {states:.1f} | {' | '.join(f'{total:.1f}' for total in totals)} |"


def test_the_page_repeats_the_plan() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [row for row in page_rows() if row not in page] == []
