"""Fine-tuning: a model is trained further on a file, and the best of its checkpoints is kept.

It is the trainer of `cutaway train` with another source of batches: the same steps, checkpoints, log and signals. The
run ends early when the validation loss has not improved for some evaluations.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.checkpoints import Checkpoint, Weights, open_checkpoint
from cutaway.checkpoints.adapter import Adapter, MergedWeights, save_adapter
from cutaway.checkpoints.sources import BUILTIN
from cutaway.config import GPT2Config
from cutaway.data.batches import Batch, BatchSource, Rows, Windows
from cutaway.data.dataset import Split
from cutaway.data.examples import Example, ExampleSet, make_examples
from cutaway.data.records import Record, Turn, is_json_lines, read_records, split_records, take_share
from cutaway.engines.pytorch.engine import PyTorchEngine
from cutaway.engines.pytorch.model import GPT2
from cutaway.errors import UsageError
from cutaway.generation.batch import generate
from cutaway.generation.config import GenerationConfig
from cutaway.generation.config_json import generation_config_json, read_generation_config
from cutaway.generation.stream import collect
from cutaway.tokenizer.codec import Codec
from cutaway.training.copy_rate import copy_rate
from cutaway.training.finetune_config import FineTuneConfig
from cutaway.training.loop import Observer, Outcome, resume, run_to_end
from cutaway.training.lora import add_lora, lora_layers, read_lora
from cutaway.training.pretraining import find_device, make_model
from cutaway.training.runs import RunDirectory, SavedCheckpoint
from cutaway.training.trainer import Array, Trainer, Validation
from cutaway.untrusted import quote, quote_path, read_object

BEFORE = "before.json"
AFTER = "after.json"
COPIES = 0.5  # copy rate from which there is a warning
SAMPLES = 3
SAMPLE = GenerationConfig(max_new_tokens=96, temperature=0.8, top_p=0.95)
EVALUATION_ROWS = 8

# Settings that may change when a run is resumed: they do not affect the computation, or its rounding only.
MAY_CHANGE = frozenset(
    {"model", "data", "valid", "tensorboard", "sample_prompt", "threads", "device", "micro_batch_size"}
    | {"dtype", "activation_checkpointing"}
)


@dataclass(frozen=True)
class Material:
    """Everything that is read from the files of a run: batches, held-out examples, and what the samples begin with.

    `texts` are the token ids to train on, `digest` the SHA-256 of the files.
    """

    source: BatchSource
    valid: ExampleSet | None
    texts: Sequence[NDArray[np.integer]]
    prompts: Sequence[str]
    rows_per_epoch: float
    bytes_per_token: float
    digest: str
    summary: str


def open_material(config: FineTuneConfig, codec: Codec, n_ctx: int) -> Material:
    """Read, split and tokenize the files of a run. Raises UsageError, which names file and line, if one is invalid.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "robots.jsonl"
    ...     _ = path.write_text('{"text": "A robot must obey."}\\n{"text": "A robot must serve."}\\n')
    ...     open_material(FineTuneConfig(data=str(path), valid="50%"), Tokenizer.gpt2(), n_ctx=16).summary
    '6 tokens to learn in 1 examples, 1 to validate on'
    """
    path = Path(config.data).expanduser()
    records = read_records(path)
    share = config.valid_share
    if share is None:
        train = records
        held = read_records(Path(config.valid).expanduser())
    else:
        train, held = split_records(records, share)
    train = take_share(train, config.share)
    valid = make_examples(held, codec, n_ctx) if held else None
    digest = hashlib.sha256(b"".join(record.digest for record in (*train, *held))).hexdigest()
    is_text = not is_json_lines(path)
    if is_text:
        train = join_neighbours(records, {record.digest for record in train})
    made = make_examples(train, codec, n_ctx)
    source, texts, rows = _source(train, made, codec, n_ctx, config.seed, is_text=is_text)
    n_valid = 0 if valid is None else len(valid.examples)
    summary = f"{made.n_learned:,} tokens to learn in {len(made.examples):,} examples, {n_valid:,} to validate on"
    truncated = made.n_truncated + (0 if valid is None else valid.n_truncated)
    literals = made.n_literals + (0 if valid is None else valid.n_literals)
    if truncated:
        summary += f"; {truncated:,} prompts truncated on the left to fit"
    if literals:
        summary += f"; {literals:,} names of control tokens in the texts are encoded as text"
    prompts = [turn.prompt for record in (*held, *train) for turn in record.turns if turn.prompt][:SAMPLES]
    if config.sample_prompt is not None:
        prompts = [config.sample_prompt]
    return Material(
        source,
        valid,
        texts,
        [shorten(prompt, codec, n_ctx // 2) for prompt in prompts or [""]],
        rows,
        made.n_bytes / made.n_learned,
        digest,
        summary,
    )


def shorten(prompt: str, codec: Codec, n_tokens: int) -> str:
    """Return the end of a prompt that has no more than so many tokens.

    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> shorten("A robot must obey", Tokenizer.gpt2(), 2)
    ' must obey'
    """
    ids = codec.encode(prompt)
    return prompt if len(ids) <= n_tokens else codec.decode(ids[-n_tokens:])


def join_neighbours(records: Sequence[Record], chosen: set[bytes]) -> list[Record]:
    """Join the blocks of a text that are chosen and follow one another: each is a document.

    >>> blocks = [Record(f"text:{n}", (Turn("", str(n)),), is_document=True) for n in range(5)]
    >>> [record.turns[0].completion for record in join_neighbours(blocks, {blocks[n].digest for n in (0, 1, 3)})]
    ['01', '3']
    """
    joined: list[Record] = []
    open_ended = False
    for record in records:
        if record.digest not in chosen:
            open_ended = False
        elif open_ended:
            last = joined.pop()
            text = last.turns[0].completion + record.turns[0].completion
            joined.append(Record(last.place, (Turn("", text),), is_document=True))
        else:
            joined.append(record)
            open_ended = True
    return joined


def _source(
    records: Sequence[Record], made: ExampleSet, codec: Codec, n_ctx: int, seed: int, *, is_text: bool
) -> tuple[BatchSource, Sequence[NDArray[np.integer]], float]:
    """Return the batches, the texts and the rows of an epoch: windows of a text that is long enough, else examples."""
    if is_text and made.n_learned > 4 * n_ctx:
        bos = [] if codec.bos is None else [codec.bos]
        documents = [[*bos, *codec.encode(record.turns[0].completion)] for record in records]
        split = Split.from_documents(documents)
        return Windows([split], [1.0], seed), [np.array(ids) for ids in documents], split.n_tokens / n_ctx
    rows = Rows(made.examples, seed, pad=0 if codec.eos is None else codec.eos)
    return rows, [example.ids for example in made.examples], len(made.examples)


def padded_batches(examples: Sequence[Example], n_tokens: int) -> list[Batch]:
    """Return examples in batches of like lengths, at most `n_tokens` learned tokens of them but at least one example.

    >>> example = Example(np.array([5, 6, 7]), np.array([False, False, True]))
    >>> [batch] = padded_batches([example], 100)
    >>> batch.inputs, batch.learned
    (array([[5, 6]]), array([[False,  True]]))
    """
    counts = np.cumsum([int(example.learned.sum()) for example in examples])
    chosen = sorted(examples[: max(1, int(np.searchsorted(counts, n_tokens, "right")))], key=lambda e: len(e.ids))
    return [_pad(chosen[i : i + EVALUATION_ROWS]) for i in range(0, len(chosen), EVALUATION_ROWS)]


def _pad(examples: Sequence[Example]) -> Batch:
    shape = (len(examples), max(len(example.ids) for example in examples))
    ids = np.zeros(shape, np.int64)
    learned = np.zeros(shape, np.bool_)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = example.ids
        learned[row, : len(example.ids)] = example.learned
    return Batch(ids[:, :-1], ids[:, 1:], learned[:, 1:])


class FineTuner(Trainer):
    """A trainer that ends when `patience` evaluations in a row were not better than the best before them."""

    patience = 0

    @property
    def done(self) -> bool:
        """True if there are no more steps to take."""
        waited = 0 if self.best is None else self.steps - self.best[0]
        return super().done or 0 < self.patience * self.config.eval_every <= waited

    def flops(self, step: int) -> int:
        """Estimate the operations of a step: batches are not full, and not all weights have gradients."""
        most = self.steps * self.config.batch_size * self.config.n_ctx
        return int(super().flops(step) * (self.tokens / most if most else 1) * self.work())

    def work(self) -> float:
        """Return the share of the work of training all weights: a third is the forward pass."""
        trained = sum(p.numel() for p in self.parameters.values()) / self.model.config.n_params
        return (1 + 2 * trained) / 3

    def read(self, saved: SavedCheckpoint) -> None:
        """Take the weights of a checkpoint of the run."""
        self.model.load(saved.weights())


class LoRATuner(FineTuner):
    """A trainer of LoRA: its checkpoints hold the merged weights, and the adapter beside the optimizer's state."""

    base: Weights
    adapter_of: Callable[[GPT2], Adapter]

    def work(self) -> float:
        return 2 / 3  # every gradient passes through, and hardly any weight has one

    def weights(self) -> Weights:
        return MergedWeights(self.base, self.adapter_of(self.model))

    def arrays(self) -> dict[str, Array]:
        pairs = self.adapter_of(self.model).pairs
        factors = {f"lora.{name}.{side}": a for name, p in pairs.items() for side, a in (("A", p.a), ("B", p.b))}
        return {**super().arrays(), **factors}

    def restore(self, weights: Weights, arrays: Mapping[str, Array], document: Mapping[str, object]) -> None:
        super().restore(self.base, arrays, document)
        self._take(arrays)

    def read(self, saved: SavedCheckpoint) -> None:
        self._take(saved.arrays())

    def _take(self, arrays: Mapping[str, Array]) -> None:
        with torch.no_grad():
            for name, layer in lora_layers(self.model):
                layer.lora_A.copy_(torch.from_numpy(np.array(arrays[f"lora.{name}.A"])))
                layer.lora_B.copy_(torch.from_numpy(np.array(arrays[f"lora.{name}.B"])))


@dataclass(frozen=True)
class Result:
    """The end of a session: its outcome, and the model before and after (None if a signal stopped the run)."""

    outcome: Outcome
    before: Mapping[str, Any]
    after: Mapping[str, Any] | None


def finetune(config: FineTuneConfig, directory: Path, observer: Observer) -> Result:
    """Fine-tune as configured in a run directory, from its last checkpoint if it has one, to the end or a signal.

    Raises UsageError, before anything is written, for what cannot be trained on, and RunError for what goes wrong in
    the run.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.checkpoints import ArrayWeights, save_checkpoint
    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> from cutaway.training.pretraining import Silent
    >>> shape = GPT2Config(n_ctx=8, n_embd=2, n_head=1, n_layer=1)
    >>> ones = ArrayWeights(shape, {name: np.ones(s, np.float32) for name, s in shape.tensor_shapes().items()})
    >>> with TemporaryDirectory() as directory:
    ...     save_checkpoint(f"{directory}/tiny", ones, tokenizer=Tokenizer.gpt2())
    ...     data = Path(directory) / "robots.jsonl"
    ...     _ = data.write_text('{"text": "A robot must obey."}\\n{"text": "A robot must serve."}\\n')
    ...     config = FineTuneConfig(model=f"{directory}/tiny", data=str(data), valid="50%", max_steps=2, n_ctx=8)
    ...     result = finetune(config, Path(directory) / "run", Silent())
    >>> result.outcome.steps, result.after["valid_loss"] < result.before["valid_loss"]
    (2, True)
    """
    device = find_device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    base = open_checkpoint(BUILTIN if config.model == "builtin" else config.model)
    codec = base.tokenizer()
    if codec is None:
        raise UsageError(f"{config.model} has no tokenizer files: put them beside its weights")
    n_ctx = config.training_config(base.config, 1.0).n_ctx
    material = open_material(config, codec, n_ctx)
    trainer = make_tuner(config, base, codec, material, device)
    with RunDirectory.open(directory, observer.note) as run:
        saved = run.newest()
        _check_resumable(config, material, saved)
        (directory / "config.json").write_text(json.dumps(config.to_document(), indent=2) + "\n")
        observer.note(material.summary)
        observer.note(_trained(trainer))
        describe = partial(_describe, trainer, codec, material)
        before = _before(describe, directory / BEFORE)
        if saved is not None:
            resume(trainer, saved, run)
            observer.note(f"{quote_path(directory)}: resumed at step {saved.step}")
        else:
            run.rewind_metrics(0)  # of a run that was killed before its first checkpoint
        observer.start(trainer, material.bytes_per_token)
        outcome = run_to_end(trainer, run, observer, partial(_finish, config, base, run))
        if outcome.model is None:
            return Result(outcome, before, None)
        after = {**describe(), "step": trainer.best[0] if trainer.best else trainer.steps}
        _write_json(directory / AFTER, after)
        if (after["copy_rate"] or 0) >= COPIES:
            observer.note(
                f"warning: {after['copy_rate']:.0%} of the 8-grams of the samples occur in the training text: "
                "the model has memorised it; unless that is intended, train for fewer epochs, or on more text"
            )
        return Result(outcome, before, after)


def make_tuner(
    config: FineTuneConfig, base: Checkpoint, codec: Codec, material: Material, device: torch.device
) -> FineTuner:
    """Make the model of a run with the parameters that are trained, and its trainer.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> base = open_checkpoint(BUILTIN)
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "robots.jsonl"
    ...     _ = path.write_text('{"text": "A robot must obey."}\\n{"text": "A robot must serve."}\\n')
    ...     config = FineTuneConfig(data=str(path), valid="50%", method="last", last_layers=1)
    ...     material = open_material(config, Tokenizer.gpt2(), n_ctx=16)
    >>> tuner = make_tuner(config, base, Tokenizer.gpt2(), material, torch.device("cpu"))
    >>> sorted({name.split(".")[1] for name in tuner.parameters if name.startswith("h.")})
    ['7']
    """
    training = config.training_config(base.config, material.rows_per_epoch / config.batch_size)
    training = replace(training, sample_prompt=material.prompts[0])
    model = make_model(training, base.config, device, None if config.from_scratch else base)
    kind: type[FineTuner] = FineTuner
    if config.method == "lora":
        kind = LoRATuner
        add_lora(
            model,
            r=config.lora_r,
            alpha=config.lora_alpha,
            dropout=config.lora_dropout,
            targets=config.lora_targets,
            seed=config.seed,
        )
    elif config.method == "last":
        freeze_all_but_last(model, config.last_layers)
    trainer = kind(
        training,
        model,
        material.source,
        validation=_validation(material, training.eval_tokens),
        codec=codec,
        frequent=_frequent(material.texts, base.config, config.sampled_vocab // 2) if config.sampled_vocab else None,
        about={"finetune": config.to_document(), "digest": material.digest},
    )
    trainer.patience = config.patience if material.valid else 0
    if isinstance(trainer, LoRATuner):
        trainer.base = base
        trainer.adapter_of = partial(
            read_lora,
            base=_base_name(config.model),
            r=config.lora_r,
            alpha=config.lora_alpha,
            dropout=config.lora_dropout,
            targets=config.lora_targets,
        )
    return trainer


def freeze_all_but_last(model: GPT2, n_layers: int) -> None:
    """Let only the last blocks and the LayerNorm after them be trained. Raises UsageError if there are fewer blocks.

    >>> model = GPT2(GPT2Config(n_vocab=5, n_ctx=4, n_embd=2, n_head=1, n_layer=2))
    >>> freeze_all_but_last(model, 1)
    >>> sorted({name.rsplit(".", 1)[0] for name, p in model.named_parameters() if p.requires_grad})
    ['h.1.attn.c_attn', 'h.1.attn.c_proj', 'h.1.ln_1', 'h.1.ln_2', 'h.1.mlp.c_fc', 'h.1.mlp.c_proj', 'ln_f']
    """
    if n_layers > len(model.h):
        raise UsageError(f"last_layers ({n_layers}) must be at most the blocks of the model, {len(model.h)}")
    model.requires_grad_(False)
    model.ln_f.requires_grad_(True)
    for block in model.h[-n_layers:]:
        block.requires_grad_(True)


def _validation(material: Material, n_tokens: int) -> list[Validation]:
    valid = material.valid
    if valid is None:
        return []
    batches = padded_batches(valid.examples, n_tokens)
    return [Validation(lambda n_ctx: batches, valid.n_bytes / valid.n_learned)]


def _frequent(texts: Sequence[NDArray[np.integer]], shape: GPT2Config, count: int) -> torch.Tensor:
    counts = sum(np.bincount(text, minlength=shape.n_vocab) for text in texts)
    return torch.from_numpy(np.argsort(-np.asarray(counts), kind="stable")[:count].copy())


def _base_name(model: str) -> str:
    path = Path(model).expanduser()
    return str(path.resolve()) if model != "builtin" and path.is_dir() else model


def _trained(trainer: FineTuner) -> str:
    count = sum(p.numel() for p in trainer.parameters.values())
    whole = trainer.model.config.n_params
    text = f"{count:,} parameters are trained, of {whole:,}"
    if isinstance(trainer, LoRATuner):
        total = sum(spec.kind == "linear" for spec in trainer.model.config.tensors.values())
        text = f"LoRA on {len(list(lora_layers(trainer.model)))} of {total} matrices: {text}"
    return text


def _check_resumable(config: FineTuneConfig, material: Material, saved: SavedCheckpoint | None) -> None:
    if saved is None:
        return
    place = quote_path(saved.directory.parent.parent)
    about = saved.document.get("about")
    begun = about.get("finetune") if isinstance(about, dict) else None
    if not isinstance(about, dict) or not isinstance(begun, dict):
        raise UsageError(f"{place}: is not a fine-tuning run: use another --out")
    if about.get("digest") != material.digest:
        raise UsageError(f"{place}: the run was started on other data: use another --out")
    if _base_name(str(begun.get("model"))) != _base_name(config.model):
        raise UsageError(f"{place}: the run was started from the model {begun.get('model')}: use another --out")
    for name, now in config.to_document().items():
        if name not in MAY_CHANGE and begun.get(name) != now:
            raise UsageError(
                f"{place}: the run has {name} {quote(begun.get(name))}, not {quote(now)}: use another --out"
            )


def _before(describe: Callable[[], dict[str, Any]], path: Path) -> Mapping[str, Any]:
    """Describe the model before the first step; a run that is resumed reads what it said then."""
    if not path.exists():
        _write_json(path, describe())
    return read_object(path)


def _write_json(path: Path, document: Mapping[str, object]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _describe(trainer: FineTuner, codec: Codec, material: Material) -> dict[str, Any]:
    """Measure the model as it is: validation loss, and samples with their copy rate."""
    found = {name: value for name, value in trainer.evaluate().items() if name != "sample"}
    engine = PyTorchEngine.from_module(trainer.model.eval())
    prompts = [material.prompts[i % len(material.prompts)] for i in range(SAMPLES)]
    ids = [codec.encode(prompt) or [codec.bos or 0] for prompt in prompts]
    seeds = range(SAMPLES)
    completions = collect(generate(engine, codec, ids, SAMPLE, seeds), seeds, engine.name)
    rates = [rate for c in completions if (rate := copy_rate(c.ids, material.texts)) is not None]
    pairs = zip(prompts, completions, strict=True)
    samples = [{"prompt": prompt, "text": c.text, "finish_reason": c.finish_reason} for prompt, c in pairs]
    return {**found, "copy_rate": float(np.mean(rates)) if rates else None, "samples": samples}


def _finish(config: FineTuneConfig, base: Checkpoint, run: RunDirectory, trainer: Trainer) -> Path:
    """Write the best weights to RUN/model: a model, or an adapter alone. The trainer holds them afterwards."""
    assert isinstance(trainer, FineTuner)
    if trainer.best is not None and trainer.best[0] != trainer.steps:
        step = trainer.best[0]
        trainer.read(SavedCheckpoint(run.checkpoints / f"step-{step:08d}", step))
    if isinstance(trainer, LoRATuner) and not config.merge:
        path = run.path / "model"
        save_adapter(path, trainer.adapter_of(trainer.model))
        return path
    settings = generation_config_json(read_generation_config(base.path, base.config.n_vocab))
    return run.finish(trainer.weights(), trainer.codec, settings)
