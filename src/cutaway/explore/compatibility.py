"""Compatibility of two models: the same tensor shapes and the same token ids."""

from cutaway.errors import UsageError
from cutaway.model import Model
from cutaway.tokenizer.codec import Codec
from cutaway.tokenizer.fast import Tokenizer
from cutaway.tokenizer.library import LibraryTokenizer

SHAPE_FIELDS = ("n_layer", "n_head", "n_embd", "n_inner", "n_vocab")


def check_compatible(model: Model, other: Model) -> None:
    """Raise UsageError unless the tensors and the token ids of two models correspond one to one.

    >>> import cutaway
    >>> check_compatible(cutaway.load(), cutaway.load())
    """
    for field in SHAPE_FIELDS:
        ours = getattr(model.config, field)
        theirs = getattr(other.config, field)
        if ours != theirs:
            raise UsageError(f"{other.name} cannot be compared with {model.name}: its {field} is {theirs}, not {ours}")
    ours = _tokens(model.tokenizer)
    theirs = _tokens(other.tokenizer)
    if ours is not None and theirs is not None and ours != theirs:
        raise UsageError(f"{other.name} cannot be compared with {model.name}: it has another tokenizer")


def _tokens(tokenizer: Codec | None) -> object:
    """Return the tokens to compare two vocabularies by; None if they are unknown."""
    match tokenizer:
        case Tokenizer():
            return tokenizer.vocabulary.ids
        case LibraryTokenizer():
            return tokenizer.description["model"].get("vocab")
    return None
