"""Whether two models can be held against each other: number against number, token against token."""

from cutaway.errors import UsageError
from cutaway.model import Model
from cutaway.tokenizer.fast import Tokenizer

SHAPE = ("n_layer", "n_head", "n_embd", "n_inner", "n_vocab")


def check_alike(model: Model, other: Model) -> None:
    """Raises UsageError unless the tensors and the token ids of two models stand for the same."""
    for name in SHAPE:
        mine, theirs = getattr(model.config, name), getattr(other.config, name)
        if mine != theirs:
            raise UsageError(f"{other.name} cannot be held against {model.name}: its {name} is {theirs}, not {mine}")
    vocabularies = [each.tokenizer.vocabulary.ids for each in (model, other) if isinstance(each.tokenizer, Tokenizer)]
    if len(vocabularies) == 2 and vocabularies[0] != vocabularies[1]:
        raise UsageError(f"{other.name} cannot be held against {model.name}: it has another tokenizer")
