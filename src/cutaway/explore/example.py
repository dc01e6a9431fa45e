"""Examples of models that read no plain text."""

from cutaway.explore.translation import directions
from cutaway.model import Model
from cutaway.music.codecs import music_codec

EXAMPLE_SENTENCE = "Where is the station?"  # in the first language of a translator


def example_ids(model: Model) -> list[int] | None:
    """Return the ids of an example of what a model reads if that is no plain text: of music the codec's, of
    translations one that the model itself writes. None for a model of plain text.

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
