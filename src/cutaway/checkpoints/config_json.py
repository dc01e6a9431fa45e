"""Reading and writing transformers' `config.json`.

transformers writes dozens of keys. We read the sizes and settings of `GPT2Config`, check the few keys that could change
the computation, and ignore all others (dropout, classification heads, versions, ...). Special token ids and the
tokenizer's class are kept as written, so that they survive saving. `relative_positions` is a key of our own. Models
that use it also have their own `model_type` and architecture, so that other programs refuse them instead of ignoring
their tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutaway.config import ACTIVATIONS, GPT2Config
from cutaway.errors import UsageError
from cutaway.formats import FLOAT32, FORMATS, Format
from cutaway.untrusted import quote, raise_checkpoint_error, read_object

Json = dict[str, object]

# Keys for each of our sizes, in order of precedence.
_SIZES = {
    "n_vocab": ("vocab_size",),
    "n_ctx": ("n_positions", "max_position_embeddings", "n_ctx"),
    "n_embd": ("n_embd", "hidden_size"),
    "n_head": ("n_head", "num_attention_heads"),
    "n_layer": ("n_layer", "num_hidden_layers"),
}
# Boolean settings under our own names, and their defaults.
_FLAGS = {
    "tie_word_embeddings": True,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
}
# Other names in transformers for the same activations; the implementations differ in rounding.
_SYNONYMS = {
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_python_tanh": "gelu_new",
    "gelu_python": "gelu",
    "swish": "silu",
}
RELATIVE_TYPE = "cutaway-gpt2-relative"  # `model_type` of a GPT-2 with relative attention
# Keys that change the computation, and the values that GPT-2 has.
_FIXED: dict[str, tuple[object, ...]] = {
    "model_type": ("gpt2", RELATIVE_TYPE),
    "add_cross_attention": (False,),
    "is_encoder_decoder": (False,),
    "pruned_heads": ({}, None),
    "auto_map": (None,),  # custom Python code of the model
}


# Ids of special tokens: one id, a list or null. A model can have them without a tokenizer.
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "unk_token_id", "decoder_start_token_id")
_CLASS = "tokenizer_class"


@dataclass(frozen=True)
class StoredConfig:
    """Hyperparameters, the format of the matrices (float32 for floats of any width), and special token ids as written,
    with the tokenizer's class if the file names one.
    """

    config: GPT2Config
    format: Format
    special_tokens: Mapping[str, object]

    @property
    def tokenizer_class(self) -> str | None:
        named = self.special_tokens.get(_CLASS)
        return named if isinstance(named, str) else None


def read_config(path: Path) -> StoredConfig:
    """Read a `config.json`. Raises CheckpointError naming the key and value that are invalid or not GPT-2's.

    >>> from cutaway.checkpoints.sources import BUILTIN
    >>> read_config(BUILTIN / "config.json").format.name
    'int8'
    """
    raw = read_object(path)
    for key, allowed in _FIXED.items():
        if key in raw and raw[key] not in allowed:
            raise_checkpoint_error(
                path, f"{key} is {quote(raw[key])}; only {' or '.join(map(repr, allowed))} is supported"
            )
    settings: dict[str, Any] = {field: _size(raw, names, path) for field, names in _SIZES.items()}
    inner = 0 if raw.get("n_inner") is None else _whole(raw, "n_inner", path)
    settings["relative_positions"] = _relative_positions(raw, path)
    settings |= {key: _flag(raw, key, default, path) for key, default in _FLAGS.items()}
    try:
        config = GPT2Config(
            **settings,
            n_inner=inner,
            layer_norm_epsilon=_epsilon(raw, path),
            activation_function=_activation(raw, path),
        )
    except UsageError as error:
        raise_checkpoint_error(path, str(error))
    special = {key: raw[key] for key in _IDS if key in raw and _is_ids(raw[key])}
    special |= {key: value for key, value in raw.items() if key == _CLASS and isinstance(value, str)}
    return StoredConfig(config, _format(raw, path), special)


def _size(raw: Json, names: tuple[str, ...], path: Path) -> int:
    found = next((name for name in names if name in raw), None)
    if found is None:
        raise_checkpoint_error(path, f"{names[0]} is missing")
    return _whole(raw, found, path)


def _whole(raw: Json, key: str, path: Path) -> int:
    value = raw[key]
    if type(value) is not int or not 0 < value < 2**31:
        raise_checkpoint_error(path, f"{key} must be a positive integer below 2**31, not {quote(value)}")
    return value


def _relative_positions(raw: Json, path: Path) -> int:
    if raw.get("model_type") == RELATIVE_TYPE and "relative_positions" not in raw:
        raise_checkpoint_error(path, f"relative_positions is missing, which a {RELATIVE_TYPE} has")
    return 0 if raw.get("relative_positions", 0) == 0 else _whole(raw, "relative_positions", path)


def _flag(raw: Json, key: str, default: bool, path: Path) -> bool:
    value = raw.get(key, default)
    if not isinstance(value, bool):
        raise_checkpoint_error(path, f"{key} must be true or false, not {quote(value)}")
    return value


def _activation(raw: Json, path: Path) -> str:
    value = raw.get("activation_function", "gelu_new")
    name = _SYNONYMS.get(value, value) if isinstance(value, str) else None
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise_checkpoint_error(path, f"activation_function is {quote(value)}; {known} and their synonyms are supported")
    return name


def _epsilon(raw: Json, path: Path) -> float:
    value = raw.get("layer_norm_epsilon", 1e-5)
    if not isinstance(value, float) or not 1e-30 < value < 1:  # a smaller value may be 0 in float32
        raise_checkpoint_error(path, f"layer_norm_epsilon must be a small positive number, not {quote(value)}")
    return value


def _format(raw: Json, path: Path) -> Format:
    scheme = raw.get("quantization_config")
    if scheme is None:
        return FLOAT32
    if not isinstance(scheme, dict) or scheme.get("quant_method") != "cutaway":
        method = scheme.get("quant_method") if isinstance(scheme, dict) else scheme
        raise_checkpoint_error(
            path, f"quantization_config is of another kind, {quote(method)}; convert from the unquantised checkpoint"
        )
    schemes = {name: stored.quantization for name, stored in FORMATS.items() if stored.quantization}
    name = next((name for name, ours in schemes.items() if ours["bits"] == scheme.get("bits")), "int8")
    _check_scheme(scheme, schemes[name], path)
    return FORMATS[name]


def _check_scheme(scheme: Json, ours: Mapping[str, object], path: Path) -> None:
    for key in scheme:
        if key not in ours:
            from difflib import get_close_matches  # not needed for a first token

            near = get_close_matches(key[:80], ours, n=1, cutoff=0)[0]
            raise_checkpoint_error(path, f"quantization_config has the unknown key {quote(key)}; did you mean {near}?")
    for key, value in ours.items():
        if key not in scheme:
            raise_checkpoint_error(path, f"quantization_config: {key} is missing")
        if scheme[key] != value:
            raise_checkpoint_error(
                path, f"quantization_config: {key} is {quote(scheme[key])}; this version reads {value!r}"
            )


def _is_ids(value: object) -> bool:
    return value is None or all(type(token) is int for token in (value if isinstance(value, list) else [value]))


def known_ids(value: object, n_vocab: int) -> tuple[int, ...]:
    """Return the ids below `n_vocab` in a value that is one id, a list or null.

    transformers writes GPT-2's 50256 for a vocabulary of any size.

    >>> known_ids([0, 50256], n_vocab=300), known_ids(None, n_vocab=300)
    ((0,), ())
    """
    listed = value if isinstance(value, list) else [value]
    return tuple(token for token in listed if type(token) is int and 0 <= token < n_vocab)


def config_json(config: GPT2Config, stored: Format, special_tokens: Mapping[str, object]) -> Json:
    """Return the `config.json` of a checkpoint in a format, with `special_tokens` unchanged.

    >>> config_json(GPT2Config(), FLOAT32, {"eos_token_id": 50256})["eos_token_id"]
    50256
    """
    scheme = stored.quantization
    relative = config.relative_positions
    return {
        "architectures": ["GPT2RelativeLMHeadModel" if relative else "GPT2LMHeadModel"],
        "model_type": RELATIVE_TYPE if relative else "gpt2",
        "activation_function": config.activation_function,
        "vocab_size": config.n_vocab,
        "n_positions": config.n_ctx,
        "n_ctx": config.n_ctx,
        "n_embd": config.n_embd,
        "n_head": config.n_head,
        "n_layer": config.n_layer,
        "n_inner": None if config.n_inner == 4 * config.n_embd else config.n_inner,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        **{key: getattr(config, key) for key in _FLAGS},
        **({"relative_positions": relative} if relative else {}),
        **special_tokens,
        "dtype": "float32" if scheme else stored.name,
    } | ({"quantization_config": scheme} if scheme else {})
