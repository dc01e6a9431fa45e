"""The trainer: equal to transformers', to itself in smaller parts, and to itself resumed."""

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cutaway.checkpoints import ArrayWeights, Weights
from cutaway.data.batches import Batch, evaluation_windows
from cutaway.engines.pytorch.model import GPT2
from cutaway.errors import CheckpointError, RunError
from cutaway.tokenizer.fast import Tokenizer
from cutaway.training.distributed import World
from cutaway.training.held_out import Validation
from cutaway.training.losses import SampledVocabulary
from cutaway.training.throughput import matmul_flops_per_token
from cutaway.training.trainer import Trainer, address, split_rows
from tests.tiny import peer_model
from tests.training.runs_of import CONFIG, documents, make_trainer, state_of


@pytest.mark.slow
def test_losses_equal_those_of_transformers_trained_on_the_same_batches() -> None:
    trainer = make_trainer(optimizer="adamw", max_steps=100, lr=0.003, weight_decay=0.1, beta2=0.95, average=0.0)
    config = trainer.config
    peer = peer_model(trainer.weights()).train()
    peer.config.attn_pdrop = peer.config.embd_pdrop = peer.config.resid_pdrop = 0.0
    for module in peer.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    decayed = [p for p in peer.parameters() if p.ndim == 2]
    others = [p for p in peer.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=1e-8)
    ours = []
    theirs = []
    for step in range(100):
        plan = trainer.schedule.plan(step, trainer.progress())
        batch = trainer.source.batch(step, config.batch_size, config.n_ctx)
        logits = peer(torch.from_numpy(batch.inputs)).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(batch.targets.flatten()))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(peer.parameters(), config.grad_clip)
        for group in adamw.param_groups:
            group["lr"] = config.lr * plan.rate
        adamw.step()
        adamw.zero_grad()
        theirs.append(loss.item())
        ours.append(trainer.step().loss)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    assert ours[-1] < ours[0] - 0.5


def test_each_batch_is_made_once_and_the_next_one_before_the_loss_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(short_ctx=4, short_steps=1)
    made: list[tuple[int, int]] = []
    make = trainer.source.batch

    def watched(k: int, n_rows: int, n_ctx: int) -> Batch:
        made.append((k, n_ctx))
        return make(k, n_rows, n_ctx)

    monkeypatch.setattr(trainer.source, "batch", watched)
    trainer.step()
    assert made == [(0, 4), (0, 8)]  # the same number in another length
    trainer.step()
    trainer.step()
    assert made == [(0, 4), (0, 8), (1, 8), (2, 8)]


def gradients_of(trainer: Trainer, batch: Batch) -> tuple[float, dict[str, torch.Tensor]]:
    plan = trainer.schedule.plan(0, 0.0)
    loss = float(trainer.accumulate(batch, plan))
    return loss, {name: p.grad for name, p in trainer.parameters.items() if p.grad is not None}


@settings(max_examples=20)
@given(rows=st.integers(1, 4), seed=st.integers(0, 99), masked=st.booleans(), sampled=st.booleans())
def test_accumulation_changes_nothing(rows: int, seed: int, masked: bool, sampled: bool) -> None:
    """Rows in memory at a time: 4 or fewer, with different numbers of learned targets."""
    whole = make_trainer(sampled_vocab=30 * sampled, full_softmax=0.0)
    parts = make_trainer(micro_batch_size=rows, sampled_vocab=30 * sampled, full_softmax=0.0)
    batch = whole.source.batch(seed, 4, 8)
    if masked:
        learned = np.random.default_rng(seed).random((4, 8)) < [[0.9], [0.5], [0.2], [0.0]]
        batch = Batch(batch.inputs, batch.targets, learned | (np.arange(32) == 0).reshape(4, 8))
    loss, gradients = gradients_of(whole, batch)
    loss_of_parts, gradients_of_parts = gradients_of(parts, batch)
    assert loss_of_parts == pytest.approx(loss, abs=1e-6)
    torch.testing.assert_close(gradients_of_parts, gradients, rtol=0, atol=1e-6)


def test_the_loss_is_the_mean_over_learned_targets() -> None:
    trainer = make_trainer()
    batch = trainer.source.batch(0, 4, 8)
    learned = np.zeros((4, 8), np.bool_)
    learned[1, 3] = learned[2, 5] = True
    loss, _ = gradients_of(trainer, Batch(batch.inputs, batch.targets, learned))
    logits = trainer.model(torch.from_numpy(batch.inputs))[torch.from_numpy(learned)]
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(batch.targets[learned]))
    assert loss == pytest.approx(expected.item(), abs=1e-6)


class Saved:
    """A trainer's state, copied as a checkpoint on disk would hold it."""

    def __init__(self, trainer: Trainer) -> None:
        self.weights: Weights = trainer.weights()
        self.arrays: dict[str, NDArray[np.generic]] = {k: np.array(v) for k, v in trainer.arrays().items()}
        self.document = trainer.state()

    def restored(self, **changes: Any) -> Trainer:
        trainer = make_trainer(CONFIG, **changes)
        trainer.restore(self.weights, self.arrays, self.document)
        return trainer


RUNS: Sequence[dict[str, Any]] = (
    {"dropout": 0.1, "micro_batch_size": 2, "average": 0.3},
    {"optimizer": "adamw", "short_ctx": 4, "short_steps": 7, "sampled_vocab": 20, "full_softmax": 0.3},
)


@pytest.mark.slow
@pytest.mark.parametrize("changes", RUNS)
def test_resuming_from_every_step_ends_bit_for_bit_as_if_never_stopped(changes: dict[str, Any]) -> None:
    steps = 24  # the corpus has 7 windows of 4 rows each an epoch
    straight = make_trainer(max_steps=steps, **changes)
    assert straight.source.tokens_per_epoch < steps * 4 * 4
    saved = []
    losses = []
    for _ in range(steps):
        saved.append(Saved(straight))
        losses.append(straight.step().loss)
    end = state_of(straight)
    for step, state in enumerate(saved):
        resumed = state.restored(max_steps=steps, **changes)
        assert [resumed.step().loss for _ in range(steps - step)] == losses[step:]
        assert state_of(resumed) == end
        assert resumed.tokens == straight.tokens


@pytest.mark.slow
@pytest.mark.parametrize("changes", RUNS)
def test_whatever_is_forgotten_is_noticed(changes: dict[str, Any]) -> None:
    """The sabotage of these tests: a kind of array is lost with a checkpoint, or a step is counted wrongly."""
    straight = make_trainer(max_steps=24, **changes)
    for _ in range(20):  # into the average, where there is one
        straight.step()
    saved = Saved(straight)
    for _ in range(3):
        straight.step()
    kinds = {name.split(".")[0] for name in saved.arrays}
    for lost in [*kinds, "nothing"]:
        part = copy(saved)
        part.arrays = {
            name: np.zeros_like(array) if name.split(".")[0] == lost else array for name, array in saved.arrays.items()
        }
        resumed = part.restored(max_steps=24, **changes)
        for _ in range(3):
            resumed.step()
        assert (state_of(resumed) == state_of(straight)) == (lost == "nothing"), lost
    early = saved.restored(max_steps=24, **changes)
    early.steps -= 1
    for _ in range(3):
        early.step()
    assert state_of(early) != state_of(straight)


@pytest.mark.slow  # sixty runs
@pytest.mark.parametrize("changes", RUNS)
def test_resuming_from_each_of_sixty_steps(changes: dict[str, Any]) -> None:
    """Resume from each, and take eight steps, more than an epoch, to a state that is itself resumed from.

    From every tenth to the end, for a state may hide in a trainer that no checkpoint holds.
    """
    straight = make_trainer(max_steps=60, **changes)
    straight.best = (3, 2.5)
    saved = []
    states = []
    for _ in range(60):
        saved.append(Saved(straight))
        states.append((state_of(straight), counts_of(straight)))
        straight.step()
    states.append((state_of(straight), counts_of(straight)))
    for step, state in enumerate(saved):
        resumed = state.restored(max_steps=60, **changes)
        end = 60 if step % 10 == 0 else min(step + 8, 60)
        for _ in range(end - step):
            resumed.step()
        assert (state_of(resumed), counts_of(resumed)) == states[end]


def counts_of(trainer: Trainer) -> dict[str, object]:
    """Return the rest that is saved, but for the seconds."""
    return {name: value for name, value in trainer.state().items() if name != "seconds"}


@pytest.mark.parametrize("every", [1, 3])
def test_evaluating_changes_nothing(every: int) -> None:
    plain = make_trainer(dropout=0.1)
    evaluated = make_trainer(dropout=0.1)
    for step in range(8):
        if step % every == 0:
            evaluated.evaluate()
        assert evaluated.step().loss == plain.step().loss
    assert state_of(evaluated) == state_of(plain)


def test_an_evaluation_measures_held_out_text_without_dropout() -> None:
    trainer = make_trainer(dropout=0.5, micro_batch_size=3)
    found = trainer.evaluate()
    ids = np.asarray(documents(8, seed=1).ids).astype(np.int64)
    n_windows = min(7, (len(ids) - 1) // 8)
    starts = np.arange(n_windows) * ((len(ids) - 1) // 8) // n_windows * 8
    inputs = torch.from_numpy(np.stack([ids[start : start + 8] for start in starts]))
    targets = torch.from_numpy(np.stack([ids[start + 1 : start + 9] for start in starts]))
    assert found["valid_loss"] == pytest.approx(trainer.model.eval().loss(inputs, targets).item(), abs=1e-5)
    assert found["bits_per_byte"] == pytest.approx(float(str(found["valid_loss"])) / math.log(2) / 4.0)
    assert found == trainer.evaluate()


def test_an_evaluation_has_the_context_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(short_ctx=4, short_steps=1)
    lengths: list[int] = []

    def windows(n_ctx: int) -> Sequence[Batch]:
        lengths.append(n_ctx)
        return evaluation_windows(documents(8, seed=1), n_ctx, 16)

    trainer.validation = [Validation(windows)]
    trainer.evaluate()
    trainer.step()
    trainer.evaluate()
    assert lengths == [4, 8]


def test_a_weight_that_an_update_has_spoilt_is_named_by_an_evaluation() -> None:
    trainer = make_trainer()
    trainer.step()
    with torch.no_grad():
        trainer.model.ln_f.bias[0] = float("inf")
    with pytest.raises(RunError, match=r"^step 1: ln_f.bias is not finite .loss (nan|inf)."):
        trainer.evaluate()


def test_the_work_of_a_step_is_that_of_its_whole_batch_and_of_the_vocabulary_that_it_samples() -> None:
    trainer = make_trainer(micro_batch_size=1, sampled_vocab=20, full_softmax=0.5)
    shape = trainer.model.config
    assert trainer.flops(0) == 4 * 8 * matmul_flops_per_token(shape, 8, 20)
    trainer.steps = 10
    assert trainer.flops(10) == 4 * 8 * matmul_flops_per_token(shape, 8)


def test_a_sample_continues_the_prompt_with_the_weights_as_they_are() -> None:
    weights = {name: np.zeros(shape, np.float32) for name, shape in replace_vocab().tensor_shapes().items()}
    weights["ln_f.bias"][:] = 1.0
    weights["wte.weight"][464] = 9.0  # " The" wins whatever was read
    trainer = make_trainer(sample_prompt="A robot")
    trainer.model = type(trainer.model)(replace_vocab(), compute_dtype=torch.bfloat16)
    trainer.model.load(ArrayWeights(replace_vocab(), weights))
    trainer.codec = Tokenizer.gpt2()
    assert trainer.sample() == "The" * 48


def test_samples_on_a_cpu_are_the_compiled_engines_and_those_of_the_module_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = make_trainer()
    trainer.step()
    found = {}
    for missing in ("", "not built"):
        monkeypatch.setattr("cutaway.training.trainer.why_unusable", lambda missing=missing: missing)
        engine = trainer.sampler()
        found[engine.name] = engine.forward([[1, 2, 3]])
    assert list(found) == ["cpu", "pytorch"]
    np.testing.assert_allclose(found["cpu"], found["pytorch"], atol=1e-5)


def replace_vocab() -> Any:
    return replace(make_trainer().model.config, n_vocab=50257, n_ctx=64)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("h.1.ln_2.bias", "step 3: h.1.ln_2.bias is not finite"),
        ("wte.weight", "step 3: wte.weight is not finite"),
    ],
)
def test_a_weight_that_is_not_finite_stops_the_run_by_name(name: str, complaint: str) -> None:
    trainer = make_trainer()
    trainer.step()
    trainer.step()
    with torch.no_grad():
        trainer.model.get_parameter(name).view(-1)[0] = float("nan")
    before = state_of(trainer)
    with pytest.raises(RunError, match=complaint):
        trainer.step()
    assert state_of(trainer) == before
    assert trainer.steps == 2
    assert all(p.grad is None for p in trainer.model.parameters())


def test_an_overflow_names_the_module_and_a_gradient_its_parameter() -> None:
    trainer = make_trainer()
    with torch.no_grad():
        trainer.model.h[1].mlp.c_fc.weight.fill_(3e38)  # type: ignore[union-attr,operator]
    with pytest.raises(RunError, match=r"step 1: the output of h.1.mlp.c_fc is not finite"):
        trainer.step()
    trainer = make_trainer()
    trainer.model.ln_f.weight.register_hook(lambda g: g * float("nan"))  # type: ignore[no-untyped-call]
    with pytest.raises(RunError, match=r"step 1: the gradient of ln_f.weight is not finite .loss \d"):
        trainer.step()


def test_gradients_are_clipped_to_the_norm_unless_it_is_0() -> None:
    norms = []
    for grad_clip in (0.01, 0):
        trainer = make_trainer(grad_clip=grad_clip)
        trainer.accumulate(trainer.source.batch(0, 4, 8), trainer.schedule.plan(0, 0.0))
        before = float(trainer.clip())
        gradients = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
        norms.append((before, torch.cat(gradients).norm().item()))
    assert norms[0][0] == norms[1][0] == pytest.approx(norms[1][1])
    assert norms[0][0] > 0.01 == pytest.approx(norms[0][1], rel=1e-3)


def test_checkpointing_activations_changes_no_bit() -> None:
    plain = make_trainer(dropout=0.2)
    checkpointed = make_trainer(dropout=0.2, activation_checkpointing=True)
    assert [plain.step().loss for _ in range(4)] == [checkpointed.step().loss for _ in range(4)]
    assert state_of(plain) == state_of(checkpointed)


def test_a_run_in_bfloat16_learns_with_float32_weights() -> None:
    trainer = make_trainer(dtype="bfloat16")
    losses = [trainer.step().loss for _ in range(20)]
    assert losses[-1] < losses[0] - 0.5
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}


@pytest.mark.slow  # torch.compile runs a C++ compiler
@pytest.mark.filterwarnings("ignore")  # of PyTorch itself while it compiles
def test_a_compiled_run_follows_an_eager_one() -> None:
    compiled = make_trainer(compile=True)
    eager = make_trainer()
    plan = eager.schedule.plan(0, 0.0)
    batch = eager.source.batch(plan.batch, 4, plan.n_ctx)
    for trainer in (compiled, eager):
        trainer.accumulate(batch, plan)
    for name, p in compiled.parameters.items():
        torch.testing.assert_close(p.grad, eager.parameters[name].grad, rtol=1e-3, atol=1e-5)
    for trainer in (compiled, eager):
        trainer.model.zero_grad()
    for _ in range(5):
        assert compiled.step().loss == pytest.approx(eager.step().loss, abs=1e-4)
    assert compiled.evaluate()["valid_loss"] == pytest.approx(eager.evaluate()["valid_loss"], abs=1e-4)


def test_the_average_is_of_the_last_share_and_in_the_weights_while_it_is_asked_for() -> None:
    trainer = make_trainer(average=0.25)
    started = []
    for _ in range(20):
        trainer.step()
        started.append(bool(trainer.average.values))
        if sum(started) == 1:  # begins with the weights after its first step
            torch.testing.assert_close(trainer.average.values, dict(trainer.parameters), rtol=0, atol=0)
    assert started == [False] * 15 + [True] * 5
    last = trainer.model.export()
    with trainer.averaged():
        kept = trainer.model.export()
    expected = trainer.average.blend(trainer.parameters)["ln_f.bias"].numpy()
    np.testing.assert_array_equal(kept["ln_f.bias"], expected)
    assert not np.array_equal(kept["ln_f.bias"], last["ln_f.bias"])
    np.testing.assert_array_equal(trainer.model.export()["ln_f.bias"], last["ln_f.bias"])


@pytest.mark.parametrize(
    "name", ["muon.second.h.0.mlp.c_fc.weight", "adamw.exp_avg.wte.weight", "adamw.step.ln_f.bias"]
)
def test_a_state_that_lacks_a_tensor_is_refused(name: str) -> None:
    trainer = make_trainer()
    trainer.step()
    saved = Saved(trainer)
    del saved.arrays[name]
    with pytest.raises(CheckpointError, match=f"is missing {name}"):
        saved.restored()


@pytest.mark.parametrize("key", ["step", "tokens", "seconds", "best"])
def test_a_state_that_lacks_a_count_is_refused(key: str) -> None:
    saved = Saved(make_trainer())
    del saved.document[key]
    with pytest.raises(CheckpointError, match=f"incomplete: KeyError.'{key}'"):
        saved.restored()


def test_frozen_parameters_stay() -> None:
    trainer = make_trainer()
    trainer.model.requires_grad_(False)
    trainer.model.ln_f.requires_grad_(True)
    frozen = Trainer(CONFIG, trainer.model, trainer.source)
    before = trainer.model.export()
    frozen.step()
    changed = {name for name, array in trainer.model.export().items() if not np.array_equal(array, before[name])}
    assert changed == {"ln_f.weight", "ln_f.bias"}


def test_what_is_random_is_addressed_by_seed_step_and_part() -> None:
    addresses = {address(seed, step, part) for seed in range(3) for step in range(3) for part in range(-1, 3)}
    assert len(addresses) == 36
    assert max(addresses) < 2**63


def test_dropout_is_addressed_by_seed_step_and_row(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(seed=5, micro_batch_size=2, dropout=0.1)
    seeds: list[int] = []
    monkeypatch.setattr("cutaway.training.trainer.seed_draws", lambda device, seed: seeds.append(seed))
    trainer.step()
    trainer.step()
    assert seeds == [address(5, step, row) for step in (0, 1) for row in (0, 2)]


def test_the_sampled_vocabulary_is_addressed_by_seed_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(seed=5, sampled_vocab=20, full_softmax=0.0)
    seeds: list[int] = []

    def recorded(n_vocab: int, *arguments: Any) -> SampledVocabulary:
        seeds.append(arguments[-1].initial_seed())
        return SampledVocabulary(n_vocab, *arguments)

    monkeypatch.setattr("cutaway.training.trainer.SampledVocabulary", recorded)
    trainer.step()
    trainer.step()
    assert seeds == [address(5, step, -1) for step in (0, 1)]


def test_held_out_texts_count_by_their_weights() -> None:
    def held(seed: int, bytes_per_token: float, weight: float) -> Validation:
        return Validation(lambda n_ctx: evaluation_windows(documents(8, seed), n_ctx, 64), bytes_per_token, weight)

    trainer = make_trainer()
    parts = [held(1, 4.0, 3.0), held(2, 2.0, 1.0)]
    found = []
    for validation in ([parts[0]], [parts[1]], parts):
        trainer.validation = validation
        evaluation = trainer.evaluate()
        found.append([float(str(evaluation[name])) for name in ("valid_loss", "bits_per_byte")])
    assert found[0] != found[1]
    assert [bits for _, bits in found[:2]] == pytest.approx(
        [found[0][0] / math.log(2) / 4, found[1][0] / math.log(2) / 2]
    )
    assert found[2] == pytest.approx([(3 * a + b) / 4 for a, b in zip(found[0], found[1], strict=True)])


def masked(batch: Batch, seed: int) -> Batch:
    return replace(batch, learned=np.random.default_rng(seed).random(batch.targets.shape) < 0.3)


def test_a_validation_loss_is_the_mean_over_learned_targets() -> None:
    trainer = make_trainer(micro_batch_size=2)
    batch = masked(trainer.source.batch(3, 4, 8), seed=3)
    trainer.validation = [Validation(lambda n_ctx: [batch])]
    logits = trainer.model(torch.from_numpy(batch.inputs))[torch.from_numpy(batch.learned)]
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(batch.targets[batch.learned]))
    assert trainer.measure()["valid_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_tokens_that_are_not_learned_are_read_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer()
    batch = masked(trainer.source.batch(0, 4, 8), seed=3)
    monkeypatch.setattr(trainer.source, "batch", lambda k, n_rows, n_ctx: batch)
    trainer.step()
    assert trainer.tokens == 32


def test_counts_and_the_best_evaluation_are_restored() -> None:
    trainer = make_trainer()
    trainer.steps = 7
    trainer.tokens = 224
    trainer.seconds = 12.5
    trainer.best = (4, 2.25)
    restored = Saved(trainer).restored()
    assert (restored.steps, restored.restored, restored.tokens) == (7, 7, 224)
    assert (restored.seconds, restored.best) == (12.5, (4, 2.25))


def test_rows_are_split_with_their_masks() -> None:
    inputs = np.arange(10).reshape(5, 2)
    parts = list(split_rows(Batch(inputs, inputs + 1, inputs > 3), 2))
    assert [len(part.inputs) for part in parts] == [2, 2, 1]
    assert [part.learned.tolist() for part in parts if part.learned is not None][1] == [[True, True], [True, True]]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
def test_a_run_with_fused_blocks_learns_as_one_without(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setattr("cutaway.engines.pytorch.fused.PROGRAMS", 4)
    plain = make_trainer(dtype="bfloat16")
    monkeypatch.setattr(GPT2, "fuse_blocks", lambda model: setattr(model, "is_fused", model.is_standard()))
    fused = make_trainer(dtype="bfloat16")
    assert fused.model.is_fused
    assert not make_trainer(dtype="bfloat16", dropout=0.1).model.is_fused
    monkeypatch.setattr(World, "wrap", lambda _, objective: objective)
    sharded = Trainer(
        plain.config,
        GPT2(plain.model.config, compute_dtype=torch.bfloat16),
        plain.source,
        world=World(size=2, parallel="fsdp"),
    )
    assert not sharded.model.is_fused
    losses = [[trainer.step().loss for _ in range(2)] for trainer in (plain, fused)]
    np.testing.assert_allclose(losses[1], losses[0], atol=0.02)
    fused.model.get_parameter("h.1.mlp.c_fc.weight").data.fill_(3e38)
    with pytest.raises(RunError, match=r"step 3: the output of h.1.mlp.c_fc is not finite"):
        fused.step()
