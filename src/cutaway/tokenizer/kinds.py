"""The kind of tokenizer that a checkpoint directory has, so that none is taken for another."""

from pathlib import Path
from typing import Literal

from cutaway.tokenizer.files import difference_from_gpt2, read_settings
from cutaway.tokenizer.gpt2 import is_published
from cutaway.tokenizer.parts import Json, read_json
from cutaway.untrusted import quote, raise_checkpoint_error

Kind = Literal["gpt2", "bert", "library"]  # OpenAI's byte-level BPE, BERT's WordPiece, whatever tokenizer.json says

# Classes of transformers that read GPT-2's files, or whatever tokenizer.json says.
_GPT2 = (
    "GPT2Tokenizer",
    "GPT2TokenizerFast",
    "PreTrainedTokenizer",
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
)
_BERT = ("BertTokenizer", "BertTokenizerFast")
# Vocabularies of kinds that cannot be read.
_SENTENCE_PIECE = ("spiece.model", "spm.model", "sentencepiece.bpe.model", "tokenizer.model")
_READ = "what is read: any tokenizer.json, vocab.json with merges.txt, and BERT's vocab.txt"


def find_kind(directory: Path, tokenizer_class: str | None = None) -> Kind:
    """Return the kind of the tokenizer files of a directory. Raises CheckpointError for an unsupported kind.

    `tokenizer_class` is the one that `config.json` names, if any; that of `tokenizer_config.json` takes precedence.
    BERT's classes process a text by their settings, whatever their `tokenizer.json` says, as in transformers. Otherwise
    `tokenizer.json` decides.

    >>> find_kind(Path("nowhere"), "XLNetTokenizer")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cutaway.errors.CheckpointError: nowhere: has a 'XLNetTokenizer' without a tokenizer.json; what is read: ...
    """
    settings = read_settings(directory)
    own = settings.get("tokenizer_class") or tokenizer_class
    prefixed = bool(settings.get("add_prefix_space"))  # which our GPT-2 tokenizer lacks
    whole = directory / "tokenizer.json"
    if own in _BERT and (whole.is_file() or (directory / "vocab.txt").is_file()):
        return "bert"
    if whole.is_file():
        if prefixed:
            return "library"
        return "gpt2" if is_published(whole) or not _is_other(read_json(whole)) else "library"
    if own is not None and own not in _GPT2:
        raise_checkpoint_error(directory, f"has a {quote(own)} without a tokenizer.json; {_READ}")
    if (directory / "vocab.json").is_file():
        return "library" if prefixed else "gpt2"
    if (directory / "vocab.txt").is_file():
        return "bert"
    for name in _SENTENCE_PIECE:
        if (directory / name).is_file():
            raise_checkpoint_error(
                directory / name, f"is a vocabulary of SentencePiece without a tokenizer.json; {_READ}"
            )
    return "gpt2"


def _is_other(description: Json) -> bool:
    model = description.get("model")
    return isinstance(model, dict) and difference_from_gpt2(description, model) is not None
