"""The kind of tokenizer that a checkpoint directory has, so that none is taken for another."""

from pathlib import Path

from cutaway.tokenizer.files import read_settings
from cutaway.untrusted import quote, raise_checkpoint_error

# Classes of transformers that read GPT-2's files, or whatever tokenizer.json says.
_GPT2 = (
    "GPT2Tokenizer",
    "GPT2TokenizerFast",
    "PreTrainedTokenizer",
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
)
# Vocabularies of other kinds, by the names that transformers gives their files.
_FOREIGN = {
    "vocab.txt": "WordPiece, BERT's",
    "spiece.model": "SentencePiece",
    "spm.model": "SentencePiece",
    "sentencepiece.bpe.model": "SentencePiece",
    "tokenizer.model": "SentencePiece",
}


def check_kind(directory: Path, tokenizer_class: str | None = None) -> None:
    """Raise CheckpointError if the files of a directory are of another kind of tokenizer than GPT-2's.

    `tokenizer_class` is the one that `config.json` names, if any; that of `tokenizer_config.json` prevails. A
    `tokenizer.json` says by itself what it is, when it is read.

    >>> check_kind(Path("no such directory"), "BertTokenizer")
    Traceback (most recent call last):
    cutaway.errors.CheckpointError: no such directory: has a 'BertTokenizer'; only GPT-2's byte-level BPE is read
    """
    if (directory / "tokenizer.json").is_file():
        return
    own = read_settings(directory).get("tokenizer_class") or tokenizer_class
    if own is not None and own not in _GPT2:
        raise_checkpoint_error(directory, f"has a {quote(own)}; only GPT-2's byte-level BPE is read")
    if (directory / "vocab.json").is_file():
        return
    for name, kind in _FOREIGN.items():
        if (directory / name).is_file():
            raise_checkpoint_error(
                directory / name,
                f"is the vocabulary of another tokenizer ({kind}); only GPT-2's byte-level BPE is read",
            )
