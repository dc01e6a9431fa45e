"""The configuration of a fine-tuning run. Each field is a flag; those of `TrainingConfig` mean the same here."""

import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from cutaway.checkpoints.adapter import find_targets
from cutaway.checks import check_float, check_int, parse_share
from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.training.config import TrainingConfig, declare
from cutaway.untrusted import quote

METHODS = ("full", "last", "lora")
LEARNING_RATES = {"full": 2e-4, "last": 5e-4, "lora": 1e-3}
SCRATCH_RATE = 1e-3
OF_METHODS = {"last_layers": "last", **dict.fromkeys(("lora_r", "lora_alpha", "lora_dropout", "lora_targets"), "lora")}
EVALUATIONS = 10  # per run at most, by default
LEAST_EVALUATIONS = 2  # in the middle and at the end, even of a short run

_TRAINING = {setting.name: setting for setting in fields(TrainingConfig)}
_FILES = ("valid", "task")  # fields that the trainer does not read itself


def _as_in_training(name: str, default: Any, meaning: str = "") -> Any:
    metadata = _TRAINING[name].metadata
    return field(default=default, metadata=dict(metadata) | ({"help": meaning} if meaning else {}))


@dataclass(frozen=True)
class FineTuneConfig:
    """Settings of a fine-tuning run. Raises UsageError if they are invalid.

    >>> FineTuneConfig(data="a.txt", method="lora").peak_lr
    0.001
    """

    model: str = declare("builtin", "model to start from: a name or a directory", "model and data")
    data: str = declare(
        "", "text file, or JSON Lines of texts, of prompts with completions, or of messages", "model and data"
    )
    task: str = declare(
        "", "task to learn: a name, or a .toml file; --data is then JSON Lines of its fields", "model and data"
    )
    valid: str = declare("5%", "share of the examples to hold out for validation, or a file", "model and data")
    share: float = declare(1.0, "share of the remaining examples to train on, 0 to 1", "model and data", is_share=True)
    from_scratch: bool = declare(False, "train a model of the same shape from random weights", "model and data")
    method: str = declare("full", "full (all weights), last (the last blocks) or lora", "method")
    last_layers: int = declare(2, "number of blocks that `last` trains, along with the final LayerNorm", "method")
    lora_r: int = declare(8, "LoRA rank", "method")
    lora_alpha: float = declare(16.0, "LoRA alpha; the update is scaled by alpha / r", "method")
    lora_dropout: float = declare(0.0, "dropout probability on the inputs of LoRA", "method", is_share=True)
    lora_targets: tuple[str, ...] = declare(("c_attn", "c_proj", "c_fc"), "matrices of each block to adapt", "method")
    merge: bool = declare(False, "write the merged model instead of the adapter alone", "method")
    epochs: float = declare(3.0, "passes over the training examples", "training")
    max_steps: int | None = _as_in_training("max_steps", None, "steps of the run, instead of --epochs")
    max_time: float | None = _as_in_training("max_time", None, "time limit of the run (90s, 10m)")
    patience: int = declare(3, "evaluations without improvement before early stopping; 0: never", "training")
    batch_size: int = _as_in_training("batch_size", 8)
    micro_batch_size: int | None = _as_in_training("micro_batch_size", None)
    n_ctx: int | None = _as_in_training("n_ctx", None, "maximum context length, in tokens; default: the model's")
    dropout: float = _as_in_training("dropout", 0.0)
    lr: float | None = _as_in_training("lr", None, "peak learning rate; default: by method")
    weight_decay: float = _as_in_training("weight_decay", 0.01, "weight decay of matrices and embeddings")
    label_smoothing: float = _as_in_training("label_smoothing", 0.0)
    grad_clip: float = _as_in_training("grad_clip", 1.0)
    warmup_steps: int | None = _as_in_training("warmup_steps", None)
    sampled_vocab: int = _as_in_training("sampled_vocab", 0)
    dtype: str = _as_in_training("dtype", "float32")
    activation_checkpointing: bool = _as_in_training("activation_checkpointing", False)
    device: str = _as_in_training("device", "auto")
    threads: int | None = _as_in_training("threads", None)
    eval_every: int | None = _as_in_training(
        "eval_every", None, "steps between evaluations; default: a tenth of the run, more in a short run"
    )
    eval_tokens: int = _as_in_training("eval_tokens", 32768)
    sample_prompt: str | None = _as_in_training(
        "sample_prompt", None, "prompt of the samples; default: prompts of the examples"
    )
    on_save_error: str = _as_in_training("on_save_error", "stop")
    strict: bool = _as_in_training("strict", False)
    tensorboard: bool = _as_in_training("tensorboard", False)
    seed: int = _as_in_training("seed", 1, "random seed of batches, dropout, LoRA and sampled softmax")

    def __post_init__(self) -> None:
        if not self.data:
            raise UsageError("no data: give --data FILE, a text file or JSON Lines")
        if self.method not in METHODS:
            raise UsageError(f"method must be {', '.join(METHODS)}, not {quote(self.method)}")
        for name in ("last_layers", "lora_r"):
            check_int(name, getattr(self, name), 1)
        check_int("patience", self.patience, 0)
        check_float("epochs", self.epochs, 0.001, 1e6)
        check_float("lora_alpha", self.lora_alpha, 1e-6, 1e6)
        if not 0 <= check_float("lora_dropout", self.lora_dropout, 0, 1) < 1:
            raise UsageError("lora_dropout must be below 1")
        _check_targets(self.lora_targets)
        for name, method in OF_METHODS.items():
            if self.method != method and getattr(self, name) != getattr(FineTuneConfig, name):
                raise UsageError(f"{name} needs the method {method}: give --method {method} too")
        if self.merge and self.method != "lora":
            raise UsageError("merge needs the method lora: the others always write a whole model")
        if self.from_scratch and self.method != "full":
            raise UsageError("from_scratch needs the method full: the others train only part of the model")
        if check_float("share", self.share, 0, 1) == 0:
            raise UsageError("share must be above 0")
        self.valid_share  # noqa: B018  # raises UsageError if it is invalid
        shape = GPT2Config() if self.n_ctx is None else GPT2Config(n_ctx=self.n_ctx)
        self.training_config(shape, 1.0)  # raises UsageError if another setting is invalid

    @property
    def peak_lr(self) -> float:
        """The peak learning rate: `lr`, or the default of the method."""
        usual = SCRATCH_RATE if self.from_scratch else LEARNING_RATES[self.method]
        return usual if self.lr is None else self.lr

    @property
    def valid_share(self) -> float | None:
        """The share of the examples that is held out; None if the held-out examples are in their own file.

        >>> FineTuneConfig(data="a.txt", valid="10%").valid_share
        0.1
        """
        share = parse_share(self.valid)
        if (share is None and self.valid.endswith("%")) or (share is not None and share >= 1):
            raise UsageError(
                f"valid must be a share below 100%, such as 5% or 0.05, or a file, not {quote(self.valid)}"
            )
        return share

    def training_config(
        self, shape: GPT2Config, steps_per_epoch: float, steps_per_evaluation: float = 0.0
    ) -> TrainingConfig:
        """Return the configuration of the trainer for a model of this shape.

        An evaluation reads as many tokens as `steps_per_evaluation` training steps. It takes about a third of their
        time, because it is a forward pass only. By default the run evaluates after that many steps, so evaluation takes
        about a quarter of the time. A longer run evaluates only ten times, and every run at least in the middle and at
        the end.
        """
        n_ctx = shape.n_ctx if self.n_ctx is None else self.n_ctx
        if n_ctx > shape.n_ctx:
            raise UsageError(f"n_ctx ({n_ctx}) must be at most the context of the model, {shape.n_ctx}")
        steps = max(1, math.ceil(self.epochs * steps_per_epoch)) if self.max_steps is None else self.max_steps
        given = {name: value for name, value in asdict(self).items() if name not in _FILES and value is not None}
        shared = {name: value for name, value in given.items() if name in _TRAINING}
        tenth = math.ceil(steps / EVALUATIONS)
        usual = min(max(tenth, math.ceil(steps_per_evaluation)), math.ceil(steps / LEAST_EVALUATIONS))
        eval_every = usual if self.eval_every is None else self.eval_every
        return TrainingConfig(
            **shared
            | {
                "data": (self.data,),
                "init": self.model,
                "n_layer": shape.n_layer,
                "n_head": shape.n_head,
                "n_embd": shape.n_embd,
                "n_ctx": n_ctx,
                "relative_positions": shape.relative_positions,
                "max_steps": steps,
                "optimizer": "adamw",
                "lr": self.peak_lr,
                "beta2": 0.99,
                "schedule": "cosine",
                "min_lr": 0.1,
                "average": 0.0,
                "eval_every": eval_every,
                "save_every": eval_every,
                "keep_last": 1,
            }
        )

    def to_document(self) -> dict[str, object]:
        """Return the settings as a JSON document, with absolute paths of files and directories."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        share = self.valid_share
        valid = _absolute(self.valid) if share is None else f"{100 * share:g}%"
        return values | {"data": _absolute(self.data), "valid": valid}


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def _check_targets(names: tuple[str, ...]) -> None:
    try:
        find_targets(names)
    except UsageError as error:
        raise UsageError(f"lora_targets must be matrices of a block: {error}") from None
