"""The configuration of a run: every setting that affects what it computes. Each field is a flag and a TOML key.

n_layer = 8             # --n-layer 8
max_time = "30m"        # --max-time 30m
data = ["shards/books", "shards/stories"]
"""

import math
import re
import tomllib
import types
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from cutaway.checks import check_float, check_int
from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.untrusted import quote, quote_name, quote_path

SCRATCH = "scratch"  # value of `init` for GPT-2's random initialisation
MAX_BATCH = 2**20  # sequences; a larger batch is a mistake and would run out of memory before any message
MOST_WARMUP = 100  # steps, if not given
DEFAULT_STEPS = 1000  # if neither steps nor time are given

CHOICES = {
    "optimizer": ("muon", "adamw"),
    "schedule": ("hold", "cosine"),
    "dtype": ("float32", "bfloat16"),
    "parallel": ("ddp", "fsdp"),
    "on_save_error": ("stop", "continue"),
}
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def declare(default: Any, meaning: str, group: str = "training", *, is_share: bool = False) -> Any:
    """Declare a setting with its help text and its group in the help. A share may be given in percent.

    >>> declare(0.4, "share of the run before the linear decay", "schedule", is_share=True).metadata["group"]
    'schedule'
    """
    return field(default=default, metadata={"help": meaning, "group": group, "share": is_share})


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training run. Raises UsageError if they are invalid.

    >>> TrainingConfig(n_layer=2, n_embd=64).micro_rows
    32
    """

    data: tuple[str, ...] = declare(
        (), "directories that `cutaway data prepare` wrote; with --task: JSON Lines", "data"
    )
    weights: tuple[float, ...] = declare(
        (), "share of each directory in a batch; default: proportional to tokens", "data"
    )
    task: str = declare("", "task to learn from examples: a name, or a .toml file", "data")
    valid: str = declare("", "with --task: JSON Lines of the examples to validate on", "data")
    tokenizer: str = declare("", "with --task: a directory, or the name of a model; default: that of --init", "data")
    init: str = declare(SCRATCH, "initial weights: scratch, or a model's name or directory", "model")
    n_layer: int = declare(8, "number of blocks", "model")
    n_head: int = declare(4, "attention heads per block", "model")
    n_embd: int = declare(256, "width of the residual stream", "model")
    n_ctx: int = declare(512, "context length, in tokens", "model")
    relative_positions: int = declare(
        0, "distances with an embedding (relative attention); 0: none, as in GPT-2", "model"
    )
    dropout: float = declare(0.0, "dropout probability", "model", is_share=True)
    label_smoothing: float = declare(
        0.0, "share of each target's probability spread over the vocabulary", "training", is_share=True
    )
    batch_size: int = declare(32, "sequences per step")
    micro_batch_size: int | None = declare(None, "sequences per forward pass; default: --batch-size")
    max_steps: int | None = declare(None, f"steps of the run; default: {DEFAULT_STEPS}, or what --max-time allows")
    max_time: float | None = declare(None, "time budget (90s, 30m, 9h), which then drives the schedule")
    short_ctx: int | None = declare(None, "context length in the first --short-steps steps")
    short_steps: int = declare(0, "steps with the shorter context")
    optimizer: str = declare("muon", "muon (for the blocks' matrices; AdamW for the rest) or adamw", "optimizer")
    lr: float = declare(0.004, "peak learning rate of AdamW", "optimizer")
    matrix_lr: float = declare(0.006, "peak learning rate of Muon", "optimizer")
    beta1: float = declare(0.9, "AdamW's decay of the first moment", "optimizer")
    beta2: float = declare(0.98, "AdamW's decay of the second moment", "optimizer")
    weight_decay: float = declare(
        0.05, "weight decay of the blocks' matrices, with adamw also of embeddings", "optimizer"
    )
    grad_clip: float = declare(1.0, "clip the gradient to this norm; 0: no clipping", "optimizer")
    warmup_steps: int | None = declare(
        None, "steps of linear learning rate warm-up; default: a tenth of the run, at most 100", "schedule"
    )
    schedule: str = declare("hold", "hold (constant, then linear decay) or cosine", "schedule")
    hold: float = declare(0.4, "share of the run before the linear decay", "schedule", is_share=True)
    min_lr: float = declare(0.05, "final learning rate, as a share of the peak", "schedule", is_share=True)
    average: float = declare(
        0.13, "final share of the run whose weights are averaged; 0: none", "schedule", is_share=True
    )
    sampled_vocab: int = declare(0, "vocabulary size of a sampled softmax; 0: full softmax", "speed")
    full_softmax: float = declare(0.08, "final share of the run with the full softmax", "speed", is_share=True)
    dtype: str = declare("float32", "dtype of matrix products: float32 or bfloat16", "speed")
    compile: bool = declare(False, "fuse each block with torch.compile (needs a C++ compiler)", "speed")
    activation_checkpointing: bool = declare(False, "recompute activations: less memory, a third slower", "speed")
    device: str = declare("auto", "cpu, cuda or mps; auto: cuda if available, else cpu", "speed")
    threads: int | None = declare(None, "CPU threads; default: PyTorch's", "speed")
    parallel: str = declare("ddp", "under torchrun: ddp (replicated model) or fsdp (sharded model)", "speed")
    eval_every: int = declare(100, "steps between evaluations; 0: only at the end", "reports")
    eval_tokens: int = declare(32768, "held-out tokens per evaluation", "reports")
    sample_prompt: str = declare("", "prompt of the sample generated at each evaluation", "reports")
    save_every: int = declare(100, "steps between checkpoints; 0: only at the end", "reports")
    keep_last: int = declare(2, "number of latest checkpoints to keep", "reports")
    keep_best: bool = declare(True, "also keep the checkpoint with the lowest validation loss", "reports")
    on_save_error: str = declare("stop", "stop or continue if a checkpoint or the log cannot be written", "reports")
    strict: bool = declare(False, "refuse to resume from an older checkpoint if the newest is damaged", "reports")
    tensorboard: bool = declare(False, "write event files for TensorBoard", "reports")
    seed: int = declare(1, "random seed of weights, batches, dropout and sampled softmax")

    def __post_init__(self) -> None:
        data: Any = self.data  # one directory, or several
        object.__setattr__(self, "data", (str(data),) if isinstance(data, str | Path) else tuple(map(str, data)))
        _check_counts(self)
        _check_shares(self)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} must be {' or '.join(choices)}, not {quote(getattr(self, name))}")
        if self.micro_batch_size is not None and self.micro_batch_size > self.batch_size:
            raise UsageError(
                f"micro_batch_size ({self.micro_batch_size}) must be at most batch_size ({self.batch_size})"
            )
        if (self.short_ctx is None) != (self.short_steps == 0):
            raise UsageError("short_ctx and short_steps belong together: give both or neither")
        if self.short_ctx is not None and self.short_ctx > self.n_ctx:
            raise UsageError(f"short_ctx ({self.short_ctx}) must be at most n_ctx ({self.n_ctx})")
        if self.init == SCRATCH and self.relative_positions > self.n_ctx:
            raise UsageError(
                f"relative_positions ({self.relative_positions}) must be at most n_ctx ({self.n_ctx}): "
                "no distance is larger"
            )
        self._check_task()
        if self.weights and len(self.weights) != len(self.data):
            raise UsageError(
                f"weights must be as many as the directories of data: they are {len(self.weights)} for {len(self.data)}"
            )
        self.shape(GPT2Config.n_vocab)  # raises UsageError

    def _check_task(self) -> None:
        if self.label_smoothing and self.sampled_vocab:
            raise UsageError("label_smoothing spreads targets over the whole vocabulary: leave out sampled_vocab")
        if not self.task:
            for name in ("valid", "tokenizer"):
                if getattr(self, name):
                    raise UsageError(f"{name} needs a task: give --task too, or leave it out")
            return
        for name in ("weights", "short_steps", "compile"):
            if getattr(self, name):
                raise UsageError(f"{name} must be left out with a task, whose rows have many lengths")
        if self.tokenizer and self.init != SCRATCH:
            raise UsageError("tokenizer must be left out: a model to start from has its own")

    def shape(self, n_vocab: int) -> GPT2Config:
        """Return the shape of a new model for a vocabulary. Raises UsageError if it is invalid.

        >>> TrainingConfig(n_layer=2).shape(n_vocab=300).n_vocab
        300
        """
        return GPT2Config(
            n_vocab=n_vocab,
            n_ctx=self.n_ctx,
            n_embd=self.n_embd,
            n_head=self.n_head,
            n_layer=self.n_layer,
            relative_positions=self.relative_positions,
        )

    @property
    def micro_rows(self) -> int:
        """Sequences per micro-batch."""
        return self.micro_batch_size or self.batch_size

    @property
    def step_limit(self) -> int | None:
        """Number of steps of the run; None if only `max_time` ends it."""
        return DEFAULT_STEPS if self.max_steps is None and self.max_time is None else self.max_steps

    @property
    def warmup(self) -> int:
        """Warm-up steps of the learning rate. The default is a tenth of the run, at most 100."""
        if self.warmup_steps is not None:
            return self.warmup_steps
        return MOST_WARMUP if self.step_limit is None else min(MOST_WARMUP, max(1, self.step_limit // 10))

    def to_document(self) -> dict[str, object]:
        """Return the settings as a JSON document.

        >>> TrainingConfig(data=("books",)).to_document()["data"]
        ['books']
        """
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> "TrainingConfig":
        """Make a configuration from the keys of a file. Raises UsageError for an unknown key, suggesting the nearest.

        >>> TrainingConfig.from_document({"n_layers": 2})
        Traceback (most recent call last):
        cutaway.errors.UsageError: unknown setting 'n_layers'; did you mean n_layer?
        """
        return cls(**_values(document))


def _values(document: Mapping[str, object]) -> dict[str, Any]:
    known = {setting.name: setting for setting in fields(TrainingConfig)}
    for name in document:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise UsageError(f"unknown setting {quote(name)}{f'; did you mean {near[0]}?' if near else ''}")
    return {name: convert(known[name], value) for name, value in document.items()}


def read_toml(path: Path) -> dict[str, object]:
    """Read settings from a TOML file and convert them to the types of `TrainingConfig`.

    Raises UsageError, naming file and key, if it cannot be read, is not TOML, or has unknown keys or wrong types.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "small.toml"
    ...     _ = path.write_text('n_layer = 2\\nmax_time = "30m"\\n')
    ...     read_toml(path)
    {'n_layer': 2, 'max_time': 1800.0}
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some Windows editors write a byte order mark
    except OSError as error:
        raise UsageError(f"cannot read {quote_path(path)}: {error.strerror}") from None
    except ValueError as error:  # invalid TOML or UTF-8
        raise UsageError(f"{quote_path(path)}: not TOML: {error}") from None
    for name, value in document.items():
        if isinstance(value, dict):
            table = f"[{quote_name(name)}]"
            key = quote_name(next(iter(value), "n_layer"))
            raise UsageError(
                f"{quote_path(path)}: {table}: settings are in no table; write {key} = ... without {table}"
            )
    try:
        return _values(document)
    except UsageError as error:
        raise UsageError(f"{quote_path(path)}: {error}") from None


def flag(name: str) -> str:
    """Return the flag of a setting.

    >>> flag("n_layer")
    '--n-layer'
    """
    return "--" + name.replace("_", "-")


def show_flags(settings: Mapping[str, object]) -> str:
    """Format settings as command-line flags; one that is None or empty is shown as not given.

    >>> show_flags({"lr": 0.1, "compile": False, "threads": None, "weights": (3.0, 1.0)})
    '--lr 0.1, --no-compile, no --threads, --weights 3 1'
    """
    return ", ".join(_show_flag(name, value) for name, value in settings.items())


def _show_flag(name: str, value: object) -> str:
    if isinstance(value, bool):
        return flag(name) if value else f"--no{flag(name)[1:]}"
    items = value if isinstance(value, tuple | list) else () if value in (None, "") else (value,)
    if not items:
        return f"no {flag(name)}"
    return " ".join(
        [flag(name), *(f"{item:g}" if isinstance(item, float) else quote_name(str(item)) for item in items)]
    )


def convert(setting: "Field[Any]", value: object) -> object:
    """Convert a TOML or JSON value to the type of a field. Raises UsageError for a value of the wrong type.

    A duration may be text, a number may be an integer, a tuple may be a list, and a list of one item may be the item.

    >>> settings = {setting.name: setting for setting in fields(TrainingConfig)}
    >>> convert(settings["max_time"], "30m"), convert(settings["lr"], 1)
    (1800.0, 1.0)
    >>> convert(settings["max_steps"], "6")
    Traceback (most recent call last):
    cutaway.errors.UsageError: max_steps must be a whole number, not '6'
    """
    if value is None and type(None) in get_args(setting.type):
        return None
    return _CONVERTERS[value_type(setting)](setting.name, value)


def value_type(setting: "Field[Any]") -> object:
    """Return the type of a field without `None`: int for `int | None`.

    >>> threads = next(f for f in fields(TrainingConfig) if f.name == "threads")
    >>> value_type(threads)
    <class 'int'>
    """
    if isinstance(setting.type, types.UnionType):
        return next(part for part in get_args(setting.type) if part is not type(None))
    return setting.type


def parse_duration(text: str) -> float | None:
    """Parse a duration into seconds; None if it is invalid.

    >>> parse_duration("90"), parse_duration("1.5h"), parse_duration("soon")
    (90.0, 5400.0, None)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    return float(match[1]) * _UNITS[match[2]] if match else None


def _integer(name: str, value: object) -> object:
    return check_int(name, value, -(2**63), 2**63 - 1)


def _number(name: str, value: object) -> object:
    if isinstance(value, str) and name == "max_time":
        seconds = parse_duration(value)
        if seconds is None:
            raise UsageError(f"{name} must be a duration such as 90s, 30m or 9h, not {quote(value)}")
        return seconds
    if isinstance(value, float) and math.isnan(value):
        raise UsageError(f"{name} must be a number, not nan")
    return check_float(name, value, -math.inf, math.inf)


def _text(name: str, value: object) -> object:
    if not isinstance(value, str):
        raise UsageError(f"{name} must be text, not {quote(value)}")
    return value


def _truth(name: str, value: object) -> object:
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be true or false, not {quote(value)}")
    return value


def _list_of(convert_item: Callable[[str, object], object]) -> Callable[[str, object], object]:
    def convert_list(name: str, value: object) -> object:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(convert_item(name, item) for item in items)

    return convert_list


_CONVERTERS: Mapping[object, Callable[[str, object], object]] = {
    int: _integer,
    float: _number,
    str: _text,
    bool: _truth,
    tuple[str, ...]: _list_of(_text),
    tuple[float, ...]: _list_of(_number),
}


def _check_counts(config: TrainingConfig) -> None:
    check_int("batch_size", config.batch_size, 1, MAX_BATCH)
    for name in ("n_ctx", "eval_tokens", "keep_last"):
        check_int(name, getattr(config, name), 1)
    for name in ("micro_batch_size", "max_steps", "short_ctx", "warmup_steps", "threads"):
        if getattr(config, name) is not None:
            check_int(name, getattr(config, name), 1)
    for name in ("short_steps", "sampled_vocab", "eval_every", "save_every", "seed"):
        check_int(name, getattr(config, name), 0)
    if config.max_time is not None:
        check_float("max_time", config.max_time, 1, 1e9)
    for weight in config.weights:
        if not 0 < weight < math.inf:
            raise UsageError(f"weights must be positive, not {weight:g}")


def _check_shares(config: TrainingConfig) -> None:
    for name in ("lr", "matrix_lr", "hold", "min_lr", "average", "full_softmax", "weight_decay"):
        check_float(name, getattr(config, name), 0, 1)
    for name in ("dropout", "label_smoothing", "beta1", "beta2"):
        if not 0 <= check_float(name, getattr(config, name), 0, 1) < 1:
            raise UsageError(f"{name} must be below 1")
    check_float("grad_clip", config.grad_clip, 0, 1e9)
