"""Compatibility of two models: the same tensor shapes and the same token ids."""

from cutaway.errors import UsageError
from cutaway.model import Model
from cutaway.tokenizer.fast import Tokenizer

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
    vocabularies = [each.tokenizer.vocabulary.ids for each in (model, other) if isinstance(each.tokenizer, Tokenizer)]
    if len(vocabularies) == 2 and vocabularies[0] != vocabularies[1]:
        raise UsageError(f"{other.name} cannot be compared with {model.name}: it has another tokenizer")
