"""Reading and writing the tokenizer files of GPT-2 checkpoints.

A tokenizer is read from `tokenizer.json`, or else from OpenAI's pair, `vocab.json` and `merges.txt`, with
`tokenizer_config.json` and its predecessors. A tokenizer that was read from files is written as the same files, byte
for byte; any other is written as the pair with `tokenizer_config.json`. A file that is malformed, or describes anything
but GPT-2's byte-level BPE, raises a CheckpointError of one line, so that no text gets the ids of other tokens.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from cutaway.disk import replacing_file
from cutaway.tokenizer.bpe import byte_symbols, is_symbols
from cutaway.tokenizer.codec import Codec
from cutaway.tokenizer.gpt2 import N_VOCAB, is_published
from cutaway.tokenizer.parts import (
    MAX_BYTES,
    AddedToken,
    Json,
    Pair,
    parse_added,
    parse_ids,
    parse_pair,
    read_json,
    read_text,
    to_list,
    to_object,
)
from cutaway.tokenizer.vocabulary import END_OF_TEXT, Vocabulary
from cutaway.untrusted import quote, raise_checkpoint_error, read_bytes

FILES = (  # of every kind of tokenizer that transformers saves beside a GPT-2
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True)
class TokenizerFiles:
    """The tokenizer files of a directory, of any kind, unparsed: their contents by name.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     (Path(directory) / "vocab.txt").write_bytes(b"[PAD]")
    ...     TokenizerFiles.read(Path(directory)).contents
    5
    {'vocab.txt': b'[PAD]'}
    """

    contents: Mapping[str, bytes]

    @classmethod
    def read(cls, directory: Path) -> "TokenizerFiles":
        """Read the files that exist. Raises CheckpointError if one cannot be read."""
        paths = [directory / name for name in FILES]
        return cls({path.name: read_bytes(path, MAX_BYTES) for path in paths if path.is_file()})

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "TokenizerFiles":
        """Return `vocab.json`, `merges.txt` and `tokenizer_config.json` of a vocabulary.

        >>> from cutaway.tokenizer.vocabulary import gpt2_vocabulary
        >>> json.loads(TokenizerFiles.of(gpt2_vocabulary()).contents["vocab.json"])["Ġrobot"]
        9379
        """
        # All tokens: transformers would renumber tokens that are missing here if a higher id is taken.
        tokens = sorted({**vocabulary.ids, **vocabulary.control, **vocabulary.added}.items(), key=itemgetter(1))
        merges = "".join(f"{left} {right}\n" for left, right in vocabulary.merges)
        settings = json.dumps(_settings(vocabulary), indent=2)
        return cls(
            {
                "vocab.json": json.dumps(dict(tokens)).encode(),
                "merges.txt": ("#version: 0.2\n" + merges).encode(),
                "tokenizer_config.json": (settings + "\n").encode(),
            }
        )

    def write(self, directory: Path) -> None:
        """Write the files, each replaced atomically. Raises OSError if that fails."""
        for name, content in self.contents.items():
            with replacing_file(directory / name) as file:
                file.write(content)


def holds_gpt2(directory: Path) -> bool:
    """Return True if the tokenizer files of a checkpoint directory are OpenAI's, and need not be parsed.

    False proves nothing: `read_vocabulary` may find the same vocabulary, written in another way.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     holds_gpt2(Path(directory))
    False
    """
    names = ("tokenizer.json",) if (directory / "tokenizer.json").is_file() else ("vocab.json", "merges.txt")
    paths = [directory / name for name in names]
    if not all(path.is_file() and is_published(path) for path in paths):
        return False
    settings = read_settings(directory)
    if any(name_of_role(settings, role) not in (None, END_OF_TEXT) for role in ("bos_token", "eos_token")):
        return False
    added = (
        added_in_settings(directory, settings) if names == ("tokenizer.json",) else added_beside(directory, settings)
    )
    return not settings.get("add_prefix_space") and all(
        (token.text, token.index) == (END_OF_TEXT, N_VOCAB - 1) for token in added
    )


def read_settings(directory: Path) -> Json:
    """Read `tokenizer_config.json` over the older `special_tokens_map.json`; empty if there is neither.

    >>> read_settings(Path("no such directory"))
    {}
    """
    settings: dict[str, object] = {}
    for path in (directory / "special_tokens_map.json", directory / "tokenizer_config.json"):  # the newer one wins
        settings |= read_json(path) if path.is_file() else {}
    return settings


def read_vocabulary(directory: Path) -> Vocabulary:
    """Read the vocabulary of a checkpoint directory. Raises CheckpointError if it is missing or not GPT-2's kind.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.tokenizer.vocabulary import gpt2_vocabulary
    >>> with TemporaryDirectory() as directory:
    ...     TokenizerFiles.of(gpt2_vocabulary()).write(Path(directory))
    ...     read_vocabulary(Path(directory)) == gpt2_vocabulary()
    True
    """
    settings = read_settings(directory)
    if settings.get("add_prefix_space"):
        raise_checkpoint_error(directory / "tokenizer_config.json", "sets add_prefix_space; GPT-2 takes text as it is")
    if (directory / "tokenizer.json").is_file():
        return _read_whole(directory / "tokenizer.json", settings)
    if not directory.is_dir():
        raise_checkpoint_error(directory, "no such directory")
    if not ((directory / "vocab.json").is_file() and (directory / "merges.txt").is_file()):
        raise_checkpoint_error(directory, "holds no tokenizer: expected tokenizer.json, or vocab.json and merges.txt")
    return _read_pair(directory, settings)


def _read_whole(path: Path, settings: Json) -> Vocabulary:
    """Read a `tokenizer.json`, as the `tokenizers` library writes it."""
    data = read_json(path)
    model = to_object(path, "model", data.get("model"))
    difference = difference_from_gpt2(data, model)
    if difference is not None:
        raise_checkpoint_error(path, difference)
    known = parse_ids(path, to_object(path, "model.vocab", model.get("vocab")))
    merges = enumerate(to_list(path, "model.merges", model.get("merges")), 1)
    added = [parse_added(path, entry) for entry in to_list(path, "added_tokens", data.get("added_tokens", []))]
    listed = {(token.text, token.index) for token in added}
    _check_unique(path, [*known.items(), *listed])
    more = [t for t in added_in_settings(path.parent, settings) if (t.text, t.index) not in listed]
    _check_unique(
        path.with_name("tokenizer_config.json"), [*known.items(), *listed, *((t.text, t.index) for t in more)]
    )
    return _assemble(
        path,
        known,
        [parse_pair(path, f"merge {number}", entry) for number, entry in merges],
        [*added, *more],
        settings,
    )


def _read_pair(directory: Path, settings: Json) -> Vocabulary:
    """Read OpenAI's two files, which Hugging Face calls `vocab.json` and `merges.txt`."""
    path = directory / "merges.txt"
    known = parse_ids(directory / "vocab.json", read_json(directory / "vocab.json"))
    _check_unique(directory / "vocab.json", known.items())
    added = added_beside(directory, settings)
    source = "tokenizer_config.json" if "added_tokens_decoder" in settings else "added_tokens.json"
    _check_unique(directory / source, [*known.items(), *((token.text, token.index) for token in added)])
    lines = [(number, line.rstrip("\r")) for number, line in enumerate(read_text(path).split("\n"), 1)]
    return _assemble(
        path,
        known,
        [parse_pair(path, f"line {n}", line) for n, line in lines if line and not line.startswith("#version")],
        added,
        settings,
    )


def added_beside(directory: Path, settings: Json) -> list[AddedToken]:
    """Read the tokens added to a vocabulary: from `tokenizer_config.json`, or the older `added_tokens.json`.

    The older file holds only their ids: control tokens are then those that have a role in the settings.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     _ = Path(directory, "added_tokens.json").write_text('{"<pad>": 7}')
    ...     added_beside(Path(directory), {"pad_token": "<pad>"})
    [AddedToken(text='<pad>', index=7, control=True)]
    """
    older = directory / "added_tokens.json"
    if "added_tokens_decoder" in settings or not older.is_file():
        return added_in_settings(directory, settings)
    control = control_names(settings)
    ids = parse_ids(older, read_json(older))
    return [AddedToken(text, index, control=text in control) for text, index in ids.items()]


def added_in_settings(directory: Path, settings: Json) -> list[AddedToken]:
    """Parse the tokens that a `tokenizer_config.json`, read as settings, adds.

    >>> added_in_settings(Path("."), {"added_tokens_decoder": {"7": {"content": "<end>", "special": True}}})
    [AddedToken(text='<end>', index=7, control=True)]
    """
    path = directory / "tokenizer_config.json"
    entries = to_object(path, "added_tokens_decoder", settings.get("added_tokens_decoder", {}))
    return [parse_added(path, entry, key) for key, entry in entries.items()]


def control_names(settings: Json) -> set[str]:
    """Return the control tokens: those that have a role in the settings, and "<|endoftext|>".

    >>> sorted(control_names({"pad_token": "[PAD]"}))
    ['<|endoftext|>', '[PAD]']
    """
    more: list[object] = []
    for key in ("additional_special_tokens", "extra_special_tokens"):
        listed = settings.get(key)
        more += listed.values() if isinstance(listed, dict) else listed if isinstance(listed, list) else []
    names = [*(name_of_role(settings, role) for role in _ROLES), *map(_text_of, more)]
    return {END_OF_TEXT, *(name for name in names if name is not None)}


def name_of_role(settings: Json, role: str) -> str | None:
    """Return the token that the settings give a role, such as "eos_token".

    >>> name_of_role({"eos_token": {"content": "<end>"}}, "eos_token")
    '<end>'
    """
    return _text_of(settings.get(role))


def known_role(known: Mapping[str, int], settings: Json, role: str) -> str | None:
    """Return the token that the settings give a role, or else OpenAI's, if it is among the known ones.

    >>> known_role({"<end>": 7}, {"eos_token": "<end>"}, "eos_token"), known_role({"<end>": 7}, {}, "eos_token")
    ('<end>', None)
    """
    names = (name_of_role(settings, role), END_OF_TEXT)
    return next((name for name in names if name is not None and name in known), None)


def _text_of(token: object) -> str | None:
    """Return the text of a token, which transformers writes as a string or as an object."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


_FOREIGN = ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges", "dropout")


def difference_from_gpt2(data: Json, model: Json) -> str | None:
    """Say how a `tokenizer.json` differs from byte-level BPE with GPT-2's pattern; None if it does not.

    >>> difference_from_gpt2({}, {"type": "Unigram"})
    "is a 'Unigram' tokenizer; GPT-2's is byte-level BPE"
    """
    if model.get("type", "BPE") != "BPE":
        return f"is a {quote(model['type'])} tokenizer; GPT-2's is byte-level BPE"
    for key in _FOREIGN:
        if model.get(key):
            return f"sets model.{key} to {quote(model[key])}; GPT-2's byte-level BPE has no such thing"
    if data.get("normalizer") is not None:
        return "has a normalizer; GPT-2 takes text as it is"
    splitter = data.get("pre_tokenizer")
    if not isinstance(splitter, dict) or splitter.get("type") != "ByteLevel":
        return f"splits text with {quote(splitter)}; GPT-2's pre_tokenizer is ByteLevel"
    if splitter.get("add_prefix_space") is not False or splitter.get("use_regex", True) is not True:
        return "the pre_tokenizer must have add_prefix_space false and use_regex true, as GPT-2's has"
    return None


def _assemble(
    path: Path, known: Mapping[str, int], merges: list[Pair], added: list[AddedToken], settings: Json
) -> Vocabulary:
    """Separate the tokens that merging makes from those that are looked up, and check that they are consistent."""
    ids = _mergeable(path, known, merges)
    looked_up = {text: index for text, index in known.items() if text not in ids}
    looked_up |= {token.text: token.index for token in added}
    everything = {**known, **looked_up}
    end = known_role(everything, settings, "eos_token")
    start = known_role(everything, settings, "bos_token") or end
    roles = {text: everything[text] for text in (start, end) if text is not None}
    always = {token.text: token.index for token in added if not token.control and token.text not in roles}
    control = {text: index for text, index in looked_up.items() if text not in always} | roles
    return Vocabulary(
        ids,
        merges,
        control,
        None if end is None else everything[end],
        always,
        None if start == end or start is None else everything[start],
    )


def _check_unique(path: Path, entries: Iterable[tuple[str, int]]) -> None:
    texts: dict[str, int] = {}
    ids: dict[int, str] = {}
    for text, index in entries:
        if texts.setdefault(text, index) != index:
            raise_checkpoint_error(path, f"the token {quote(text)} has two ids, {texts[text]} and {index}")
        if ids.setdefault(index, text) != text:
            raise_checkpoint_error(path, f"the id {index} has two tokens, {quote(ids[index])} and {quote(text)}")


def _mergeable(path: Path, known: Mapping[str, int], merges: list[Pair]) -> dict[str, int]:
    """Return the tokens that merging can make: every byte, and the result of every merge."""
    symbols = byte_symbols().values()
    made = [left + right for left, right in merges]
    missing = [symbol for symbol in symbols if symbol not in known]
    if missing:
        raise_checkpoint_error(
            path, f"not byte-level BPE: {len(missing)} of the 256 bytes have no token, such as {missing[0]!r}"
        )
    for token in made:
        if token not in known or not is_symbols(token):
            raise_checkpoint_error(path, f"a merge makes {quote(token)}, which is not a token of bytes")
    ids = {token: known[token] for token in [*symbols, *made]}
    for left, right in merges:
        if left not in ids or right not in ids:
            raise_checkpoint_error(
                path, f"there is a merge of {quote(left)} and {quote(right)}, but none that makes the two"
            )
    return ids


def save_tokenizer(tokenizer: Codec | TokenizerFiles, directory: Path) -> None:
    """Write a tokenizer's files into a directory, which is created if missing. Raises CheckpointError.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     save_tokenizer(TokenizerFiles({"vocab.txt": b"[PAD]"}), Path(directory) / "new")
    ...     (Path(directory) / "new" / "vocab.txt").read_text(encoding="utf-8")
    '[PAD]'
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tokenizer.write(directory)
    except OSError as error:
        raise_checkpoint_error(directory, f"cannot be saved: {error.strerror}")


def _settings(vocabulary: Vocabulary) -> Json:
    end = vocabulary.texts[vocabulary.end_of_text] if vocabulary.end_of_text is not None else None
    start = vocabulary.texts[vocabulary.start_of_text] if vocabulary.start_of_text is not None else end
    exact = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False)
    return {
        "tokenizer_class": "GPT2Tokenizer",
        "add_prefix_space": False,
        "bos_token": start,
        "eos_token": end,
        "unk_token": end,
        "added_tokens_decoder": {
            str(index): {"content": text, "special": text in vocabulary.control, **exact}
            for text, index in (vocabulary.control | vocabulary.added).items()
        },
    }
