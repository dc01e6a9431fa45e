"""Reading a checkpoint's `generation_config.json`, as transformers writes it, into a `GenerationConfig`, and back.

A key that is absent or null leaves our default: transformers' own defaults (greedy, or top-k 50 where it samples) are
not GPT-2's, and its files list only what differs from them. Keys that only transformers knows are ignored.
"""

from collections.abc import Mapping
from pathlib import Path

from cutaway.checkpoints.config_json import known_ids
from cutaway.checkpoints.directory import GENERATION_CONFIG
from cutaway.errors import UsageError
from cutaway.generation.config import GenerationConfig
from cutaway.untrusted import quote, raise_checkpoint_error, read_object

# Keys that are read, and the fields that they set.
_KEYS = {
    "max_new_tokens": "max_new_tokens",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "repetition_penalty": "repetition_penalty",
    "stop_strings": "stop",
}


def read_generation_config(directory: Path, n_vocab: int) -> GenerationConfig:
    """Return the defaults that a checkpoint directory sets for its model; our own if it has no such file.

    `do_sample: false` is temperature 0. `eos_token_id` is one id or a list. Ids outside the vocabulary are ignored:
    transformers writes GPT-2's 50256 for any vocabulary. Raises CheckpointError for a malformed file or value.

    >>> read_generation_config(Path("no such directory"), n_vocab=50257)
    GenerationConfig()
    """
    path = directory / GENERATION_CONFIG
    if not path.exists():
        return GenerationConfig()
    raw = {key: value for key, value in read_object(path).items() if value is not None}
    settings = {field: raw[key] for key, field in _KEYS.items() if key in raw}
    do_sample = raw.get("do_sample", True)
    if not isinstance(do_sample, bool):
        raise_checkpoint_error(path, f"do_sample must be true or false, not {quote(do_sample)}")
    if not do_sample:
        settings["temperature"] = 0.0
    end_tokens = _token_ids(raw, "eos_token_id", n_vocab, path)
    first_tokens = _token_ids(raw, "bos_token_id", n_vocab, path)
    settings |= {"eos_token_id": end_tokens} if end_tokens else {}
    settings |= {"bos_token_id": first_tokens[0]} if first_tokens else {}
    try:
        return GenerationConfig().replace(**settings)
    except UsageError as error:
        raise_checkpoint_error(path, str(error))


def generation_config_json(config: GenerationConfig, stored: Mapping[str, object] = {}) -> dict[str, object]:
    """Return the content of `generation_config.json`: values that differ from our defaults, and the keys of a `stored`
    file that only transformers knows.

    >>> generation_config_json(GenerationConfig(temperature=0, eos_token_id=5), stored={"pad_token_id": 7})
    {'pad_token_id': 7, 'do_sample': False, 'eos_token_id': [5]}
    """
    ours = {*_KEYS, "do_sample", "eos_token_id", "bos_token_id"}
    others = {key: value for key, value in stored.items() if key not in ours}
    default = GenerationConfig()
    fields = {key: field for key, field in _KEYS.items() if key != "temperature"}
    fields |= {"eos_token_id": "eos_token_id", "bos_token_id": "bos_token_id"}
    sampling: dict[str, object] = {}
    if config.temperature == 0:
        sampling = {"do_sample": False}
    elif config.temperature != default.temperature:
        sampling = {"do_sample": True, "temperature": config.temperature}
    values = {
        key: getattr(config, field)
        for key, field in fields.items()
        if getattr(config, field) != getattr(default, field)
    }
    return (
        others | sampling | {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    )


def _token_ids(raw: Mapping[str, object], key: str, n_vocab: int, path: Path) -> tuple[int, ...]:
    """Return the ids under a key that holds one id, a list or nothing, without those outside the vocabulary."""
    value = raw.get(key, [])
    if any(type(token) is not int for token in (value if isinstance(value, list) else [value])):
        raise_checkpoint_error(path, f"{key} must be a token id or a list of them, not {quote(value)}")
    return known_ids(value, n_vocab)
