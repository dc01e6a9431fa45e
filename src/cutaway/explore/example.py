"""Example inputs for models that do not read plain text."""

from cutaway.explore.translation import directions
from cutaway.model import Model
from cutaway.music.codecs import music_codec

EXAMPLE_SENTENCE = "Where is the station?"  # in the first language of a translator


def example_ids(model: Model) -> list[int] | None:
    """Return the token ids of an example for a model that does not read plain text: the codec's example for music, or a
    translation that the model writes. None for a model of plain text.

    >>> import cutaway
    >>> example_ids(cutaway.load())
    >>> model = cutaway.load("builtin-translation")
    >>> model.decode(example_ids(model))
    '<|en|> Where is the station?<|de|> Wo ist der Bahnhof?'
    """
    codec = music_codec(model.codec)
    if codec is not None:
        return [codec.bos, *codec.example]
    known = directions(model)
    if not known:
        return None
    source, target = known[0]
    return list(model.trace_example({"from": source, "to": target, "source": EXAMPLE_SENTENCE}).ids)
