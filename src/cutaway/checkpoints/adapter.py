"""Low-rank adapters (LoRA) of a checkpoint, in PEFT's files.

An adapter directory has `adapter_config.json` and `adapter_model.safetensors`. For each adapted matrix, stored as
(in, out), the file holds A (r, in) and B (out, r), and the model computes with `matrix + scale * (B A)^T`. PEFT and
this module read each other's files. Source: `peft/tuners/lora` of huggingface/peft.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cutaway.checkpoints.checkpoint import Checkpoint, read_side_files, read_template
from cutaway.checkpoints.directory import CHAT_TEMPLATE_FILE
from cutaway.checkpoints.metadata import ChatTemplate
from cutaway.checkpoints.replace import replacing
from cutaway.checkpoints.safetensors import TensorFile, write_tensors
from cutaway.checkpoints.weights import Weights
from cutaway.config import GPT2Config
from cutaway.errors import UsageError
from cutaway.formats import FLOAT32, StoredTensor
from cutaway.numerics import FloatArray
from cutaway.untrusted import quote, quote_name, raise_checkpoint_error, read_object

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
TARGETS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")  # the matrices of a block

_TENSOR = re.compile(r"base_model\.model\.transformer\.(h\.[0-9]+\.(?:attn|mlp)\.c_[a-z]+)\.lora_([AB])\.weight")
_MAX_NAME = 400  # characters of a model's name or path
_OURS = re.compile(r"adapter_(config\.json|model\.safetensors)|task\.toml")

# Keys of adapter_config.json that are ignored; any other must be null, false, empty, or have its plain value.
_FREE = {
    "auto_mapping",
    "base_model_name_or_path",
    "eva_config",
    "corda_config",
    "loftq_config",
    "lora_ga_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
}
_PLAIN: Mapping[str, object] = {"peft_type": "LORA", "bias": "none"}


@dataclass(frozen=True)
class Pair:
    """The two factors of an adapted matrix: A (r, in) and B (out, r)."""

    a: FloatArray
    b: FloatArray


@dataclass(frozen=True)
class Adapter:
    """Factors by the name of the matrix ("h.0.attn.c_attn"), their rank and `alpha`, and the names of the targets.

    `base` is the source of the base model, as `cutaway.load` takes it.
    """

    base: str
    r: int
    alpha: float
    targets: Sequence[str]
    pairs: Mapping[str, Pair]
    dropout: float = 0.0
    is_rank_stabilised: bool = False

    @property
    def scale(self) -> float:
        """The factor of B A: alpha / r, or alpha / sqrt(r) if the adapter is rank-stabilised.

        >>> Adapter("gpt2", 8, 16, ("c_attn",), {}).scale
        2.0
        """
        return self.alpha / (math.sqrt(self.r) if self.is_rank_stabilised else self.r)

    def delta(self, name: str) -> FloatArray | None:
        """Return the change (in, out) to a tensor ("h.0.attn.c_attn.weight"), or None if it is not adapted."""
        pair = self.pairs.get(name.removesuffix(".weight")) if name.endswith(".weight") else None
        if pair is None:
            return None
        with np.errstate(over="ignore", invalid="ignore"):  # the reader of the merged weights rejects overflow
            return np.float32(self.scale) * (pair.b @ pair.a).T


@dataclass(frozen=True)
class MergedWeights:
    """The weights of a model with an adapter added to them: float32."""

    base: Weights
    adapter: Adapter
    dtype: str = "float32"

    @property
    def config(self) -> GPT2Config:
        return self.base.config

    def read(self, name: str) -> FloatArray:
        tensor = self.base.read(name)
        delta = self.adapter.delta(name)
        if delta is None:
            return tensor
        with np.errstate(over="ignore"):
            return tensor + delta

    def stored(self, name: str) -> StoredTensor:
        return StoredTensor(self.config.tensors[name], FLOAT32, {"": self.read(name)})


class AdaptedCheckpoint(Checkpoint):
    """A checkpoint with an adapter merged into it; its matrices are float32. The tokenizer is the checkpoint's."""

    def __init__(self, base: Checkpoint, adapter: Adapter, path: Path) -> None:
        self.base = base
        self.adapter = adapter
        self.path = base.path
        self.name = path.name
        self.config = base.config
        self.special_tokens = base.special_tokens
        self.tokenizer_class = base.tokenizer_class
        self.left_out = base.left_out
        self.directory = path
        self.files = (*base.files, ADAPTER_WEIGHTS)
        self.n_bytes = base.n_bytes + (path / ADAPTER_WEIGHTS).stat().st_size
        self._merged = MergedWeights(base, adapter)

    @property
    def dtype(self) -> str:
        return self._merged.dtype

    def read(self, name: str) -> FloatArray:
        tensor = self._merged.read(name)
        if not np.isfinite(tensor).all():
            raise_checkpoint_error(self.directory, f"makes {name} too large for float32")
        return tensor

    def stored(self, name: str) -> StoredTensor:
        return StoredTensor(self.config.tensors[name], FLOAT32, {"": self.read(name)})

    def side_files(self) -> dict[str, str]:
        return self.base.side_files() | read_side_files(self.directory)

    def chat_template(self) -> ChatTemplate:
        has_own = (self.directory / CHAT_TEMPLATE_FILE).exists()
        return read_template(self.directory) if has_own else self.base.chat_template()


def is_adapter(directory: Path) -> bool:
    """Return True if a directory holds an adapter and no full model.

    >>> is_adapter(Path("no such directory"))
    False
    """
    return (directory / ADAPTER_CONFIG).exists() and not (directory / "config.json").exists()


def find_targets(names: Sequence[str]) -> tuple[str, ...]:
    """Return the matrices of a block that match some names. As in PEFT, a name matches the end of a matrix's name.

    Raises UsageError for an unknown name.

    >>> find_targets(["c_attn", "mlp.c_proj"]), find_targets(["c_proj"])
    (('attn.c_attn', 'mlp.c_proj'), ('attn.c_proj', 'mlp.c_proj'))
    """
    for name in names:
        if not any(_is_named(target, name) for target in TARGETS):
            from difflib import get_close_matches

            known = [*TARGETS, *dict.fromkeys(target.partition(".")[2] for target in TARGETS)]
            near = get_close_matches(name, known, n=1, cutoff=0)[0]
            raise UsageError(f"{quote_name(name)} is not a matrix of a block; did you mean {near}?")
    return tuple(target for target in TARGETS if any(_is_named(target, name) for name in names))


def _is_named(target: str, name: str) -> bool:
    return target == name or target.endswith(f".{name}")


def save_adapter(directory: Path, adapter: Adapter, side_files: Mapping[str, str] | None = None) -> None:
    """Write an adapter directory, replacing an existing adapter atomically. Raises CheckpointError.

    `side_files` maps names to the text of other files to write, such as `task.toml` if the adapter has learned a task.

    >>> from tempfile import TemporaryDirectory
    >>> pair = Pair(np.ones((1, 2), np.float32), np.ones((6, 1), np.float32))
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory, "adapter")
    ...     save_adapter(path, Adapter("gpt2", 1, 2, ("c_attn",), {"h.0.attn.c_attn": pair}))
    ...     sorted(file.name for file in path.iterdir())
    ['adapter_config.json', 'adapter_model.safetensors']
    """
    arrays = {
        f"base_model.model.transformer.{name}.lora_{side}.weight": np.asarray(factor, np.float32)
        for name, pair in adapter.pairs.items()
        for side, factor in (("A", pair.a), ("B", pair.b))
    }
    kinds = {name: ("F32", array.shape) for name, array in arrays.items()}
    target = directory.expanduser().resolve()
    try:
        with replacing(target, belongs=lambda name: _OURS.fullmatch(name) is not None) as staging:
            write_tensors(staging / ADAPTER_WEIGHTS, kinds, arrays.items())
            document = json.dumps(_config_json(adapter), indent=2)
            (staging / ADAPTER_CONFIG).write_text(document + "\n", encoding="utf-8")
            for name, text in (side_files or {}).items():
                (staging / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise_checkpoint_error(target, f"cannot be saved: {error.strerror}")


def remove_adapter(directory: Path) -> None:
    """Remove the files of an adapter from a directory; other files stay.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     save_adapter(Path(directory), Adapter("gpt2", 1, 2, ("c_attn",), {}))
    ...     remove_adapter(Path(directory))
    ...     list(Path(directory).iterdir())
    []
    """
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        (directory / name).unlink(missing_ok=True)


def _config_json(adapter: Adapter) -> dict[str, object]:
    return {
        "base_model_name_or_path": adapter.base,
        "bias": "none",
        "fan_in_fan_out": True,  # OpenAI's linear layers store (in, out)
        "inference_mode": True,
        "lora_alpha": adapter.alpha,
        "lora_dropout": adapter.dropout,
        "peft_type": "LORA",
        "r": adapter.r,
        "target_modules": list(adapter.targets),
        "task_type": "CAUSAL_LM",
        "use_rslora": adapter.is_rank_stabilised,
    }


def read_base(directory: Path) -> str:
    """Read the name of the model that an adapter is for. Raises CheckpointError if it is missing.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     _ = Path(directory, ADAPTER_CONFIG).write_text('{"base_model_name_or_path": "gpt2"}')
    ...     read_base(Path(directory))
    'gpt2'
    """
    base = read_object(directory / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not isinstance(base, str) or not 0 < len(base) <= _MAX_NAME:
        raise_checkpoint_error(
            directory / ADAPTER_CONFIG, f"base_model_name_or_path must name a model, not {quote(base)}"
        )
    return base


def read_adapter(directory: Path, config: GPT2Config) -> Adapter:
    """Read an adapter for a model with this config. Raises CheckpointError if it is invalid or not a LoRA adapter.

    >>> from tempfile import TemporaryDirectory
    >>> pair = Pair(np.ones((1, 2), np.float32), np.ones((6, 1), np.float32))
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory, "adapter")
    ...     save_adapter(path, Adapter("gpt2", 1, 2, ("c_attn",), {"h.0.attn.c_attn": pair}))
    ...     adapter = read_adapter(path, GPT2Config(n_vocab=3, n_ctx=2, n_embd=2, n_head=1, n_layer=1))
    >>> adapter.delta("h.0.attn.c_attn.weight").shape
    (2, 6)
    """
    path = directory / ADAPTER_CONFIG
    raw = read_object(path)
    if not (directory / ADAPTER_WEIGHTS).exists() and (older := directory / "adapter_model.bin").exists():
        raise_checkpoint_error(older, "is a pickle, which is never loaded; save the adapter as safetensors with peft")
    for key, value in raw.items():
        plain = _PLAIN.get(key)
        if key not in _FREE and value not in (plain, None, False) and value != [] and value != {}:
            raise_checkpoint_error(
                path, f"{quote_name(key)} is {quote(value)}; only plain LoRA on the matrices of blocks is read"
            )
    r = raw.get("r")
    alpha = raw.get("lora_alpha")
    targets = raw.get("target_modules")
    if type(r) is not int or not 0 < r < 2**16:
        raise_checkpoint_error(path, f"r must be a positive integer, not {quote(r)}")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise_checkpoint_error(path, f"lora_alpha must be a number, not {quote(alpha)}")
    if raw.get("use_rslora") not in (None, True, False):
        raise_checkpoint_error(path, f"use_rslora must be true or false, not {quote(raw['use_rslora'])}")
    names = [targets] if isinstance(targets, str) else targets if isinstance(targets, list) else []
    return Adapter(
        base=read_base(directory),
        r=r,
        alpha=float(alpha),
        targets=tuple(str(name) for name in names),
        pairs=_read_pairs(TensorFile(directory / ADAPTER_WEIGHTS), r, config),
        is_rank_stabilised=raw.get("use_rslora") is True,
    )


def _read_pairs(file: TensorFile, r: int, config: GPT2Config) -> dict[str, Pair]:
    found: dict[str, dict[str, str]] = {}
    for stored in file.entries:
        match = _TENSOR.fullmatch(stored)
        if match is None or f"{match[1]}.weight" not in config.tensors:
            raise_checkpoint_error(file.path, f"{quote_name(stored)} is not a LoRA factor of a matrix of this GPT-2")
        found.setdefault(match[1], {})[match[2]] = stored
    if not found:
        raise_checkpoint_error(file.path, "holds no LoRA factors")
    return {name: _read_pair(file, name, sides, r, config) for name, sides in found.items()}


def _read_pair(file: TensorFile, name: str, sides: Mapping[str, str], r: int, config: GPT2Config) -> Pair:
    inputs, outputs = config.tensors[f"{name}.weight"].shape
    for side, shape in (("A", (r, inputs)), ("B", (outputs, r))):
        if side not in sides:
            raise_checkpoint_error(file.path, f"{name}: lora_{side} is missing")
        entry = file.entries[sides[side]]
        if entry.shape != shape or entry.dtype not in ("F32", "F16", "BF16"):
            raise_checkpoint_error(
                file.path, f"{sides[side]} is {entry.dtype} of shape {entry.shape}, and must be floats of shape {shape}"
            )
    return Pair(file.read(sides["A"]), file.read(sides["B"]))
