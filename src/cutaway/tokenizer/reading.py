"""Reading the tokenizer of a checkpoint directory, of whatever kind."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.files import (
    TokenizerFiles,
    added_beside,
    control_names,
    known_role,
    name_of_role,
    read_settings,
)
from cutaway.tokenizer.kinds import find_kind
from cutaway.tokenizer.library import LibraryTokenizer, Roles
from cutaway.tokenizer.parts import Json, parse_ids, read_json, read_text, to_list, to_object
from cutaway.untrusted import quote, raise_checkpoint_error

_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt")

FileTokenizer = Tokenizer | LibraryTokenizer

# The control tokens of BERT by role, if no file names others.
_BERT_ROLES = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}


def read_tokenizer(directory: str | Path, tokenizer_class: str | None = None) -> FileTokenizer:
    """Read the tokenizer of a checkpoint directory.

    `tokenizer_class` is the one that `config.json` names, if any. Raises CheckpointError if the files are missing,
    malformed or of an unsupported kind.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     text = "\\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "机", "器", "人"])
    ...     _ = Path(directory, "vocab.txt").write_text(text, encoding="utf-8")
    ...     read_tokenizer(directory).encode("机器人[SEP]")
    [4, 5, 6, 1, 1, 1]
    """
    path = Path(directory)
    kind = find_kind(path, tokenizer_class)
    if kind == "gpt2":
        return Tokenizer.from_known_files(path)
    settings = read_settings(path)
    if kind == "bert":
        return _assemble(path, _bert(path, settings), settings)
    description = dict(read_json(path / "tokenizer.json")) if (path / "tokenizer.json").is_file() else _pair(path)
    if settings.get("tokenizer_class", tokenizer_class) in (None, "GPT2Tokenizer", "GPT2TokenizerFast"):
        description["pre_tokenizer"] = _with_prefix_space(description.get("pre_tokenizer"), settings)
    return _assemble(path, description, settings)


def _pair(directory: Path) -> dict[str, Any]:
    """Describe byte-level BPE in OpenAI's two files as a tokenizer.json would."""
    lines = read_text(directory / "merges.txt").split("\n")
    merges = [line.rstrip("\r") for line in lines if line.rstrip("\r") and not line.startswith("#version")]
    return {
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": dict(read_json(directory / "vocab.json")), "merges": merges},
    }


def _with_prefix_space(pre_tokenizer: object, settings: Json) -> object:
    """Override `add_prefix_space` of a tokenizer.json by that of the settings, as transformers' GPT-2 class does."""
    if not isinstance(pre_tokenizer, dict) or pre_tokenizer.get("type") != "ByteLevel":
        return pre_tokenizer
    return {**pre_tokenizer, "add_prefix_space": bool(settings.get("add_prefix_space"))}


def _bert(directory: Path, settings: Json) -> dict[str, Any]:
    """Describe BERT's tokenizer as a tokenizer.json would, as transformers' BertTokenizer builds it from settings."""
    source = directory / ("tokenizer.json" if (directory / "tokenizer.json").is_file() else "vocab.txt")
    added: object = []
    if source.suffix == ".json":
        whole = read_json(source)
        added = whole.get("added_tokens", [])
        model = to_object(source, "model", whole.get("model"))
        vocabulary = parse_ids(source, to_object(source, "model.vocab", model.get("vocab")))
    else:
        lines = read_text(source).replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
        vocabulary = {line: index for index, line in enumerate(lines)}
    unknown = name_of_role(settings, "unk_token") or _BERT_ROLES["unk_token"]
    if unknown not in vocabulary:
        raise_checkpoint_error(source, f"has no {quote(unknown)}, the token for everything unknown")
    return {
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": _setting(directory, settings, "tokenize_chinese_chars", True),
            "strip_accents": _setting(directory, settings, "strip_accents", None),
            "lowercase": _setting(directory, settings, "do_lower_case", True),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": unknown,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    }


def _setting(directory: Path, settings: Json, name: str, default: bool | None) -> bool | None:
    value = settings.get(name, default)
    if not isinstance(value, bool | None):
        raise_checkpoint_error(directory / "tokenizer_config.json", f"{name} must be true or false, not {quote(value)}")
    return value


def _assemble(directory: Path, description: dict[str, Any], settings: Json) -> LibraryTokenizer:
    """Add the tokens that the settings name, and check that the library gives each of them the id in the files."""
    place = next(filter(Path.is_file, (directory / name for name in _VOCABULARIES)))
    named = control_names(settings)
    if to_object(place, "model", description.get("model")).get("type") == "WordPiece":
        named |= {name_of_role(settings, role) or name for role, name in _BERT_ROLES.items()}
    tokens = {str(token["content"]): token for token in _added(place, description)}
    for token in added_beside(directory, settings):
        tokens.setdefault(token.text, _as_added(token.text, token.index, special=token.control))
    known = _vocabulary(description["model"])
    for name in named & known.keys():
        tokens.setdefault(name, _as_added(name, known[name], special=True))
    description["added_tokens"] = sorted(tokens.values(), key=lambda token: int(token["id"]))
    control = {text: token["id"] for text, token in tokens.items() if token["special"] or text in named}
    everything = {text: token["id"] for text, token in tokens.items()}
    start = known_role(everything, settings, "bos_token")
    end = known_role(everything, settings, "eos_token")
    roles = Roles(control, None if start is None else everything[start], None if end is None else everything[end])
    clean_up = settings.get("clean_up_tokenization_spaces") is True
    codec = LibraryTokenizer(description, roles, clean_up=clean_up, files=TokenizerFiles.read(directory), place=place)
    for text, index in everything.items():
        if codec.token_id(text) != index:
            raise_checkpoint_error(
                place,
                f"the added token {quote(text)} cannot have the id {index}: the next one is {codec.token_id(text)}",
            )
    return codec


def _added(path: Path, description: Json) -> Iterator[dict[str, Any]]:
    for entry in to_list(path, "added_tokens", description.get("added_tokens", [])):
        token = dict(to_object(path, "an added token", entry))
        index = token.get("id")
        text = token.get("content")
        if not isinstance(text, str) or type(index) is not int or index < 0:
            raise_checkpoint_error(path, f"has an added token without text and id: {quote(entry)}")
        yield _as_added(text, index, special=bool(token.get("special", False))) | token


def _as_added(text: str, index: int, *, special: bool) -> dict[str, Any]:
    exact = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": text, **exact, "normalized": not special, "special": special}


def _vocabulary(model: Mapping[str, Any]) -> dict[str, int]:
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, list):  # Unigram's: pieces with their scores
        return {str(entry[0]): index for index, entry in enumerate(vocabulary) if isinstance(entry, list) and entry}
    return dict(vocabulary) if isinstance(vocabulary, dict) else {}
