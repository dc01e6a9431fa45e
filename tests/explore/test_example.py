import cutaway
from cutaway.explore.example import example_ids
from cutaway.explore.schemas import model_document
from cutaway.music.codecs import CODECS
from tests.explore.served import chinese, musical, mute


def test_a_model_of_music_has_the_example_of_its_codec() -> None:
    for name, codec in CODECS.items():
        assert example_ids(musical(name)) == [codec.bos, *codec.example]


def test_a_translator_has_a_translation_that_it_writes() -> None:
    model = cutaway.load("builtin-translation")
    document = model_document(model, 0)
    ids = document["example_ids"]
    assert isinstance(ids, list)
    assert model.decode(ids) == "<|en|> Where is the station?<|de|> Wo ist der Bahnhof?"
    assert document["task"] == "translation"


def test_others_have_none() -> None:
    assert [example_ids(model) for model in (mute(), chinese())] == [None, None]
