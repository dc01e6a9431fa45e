"""The tables of the translator's card."""

from recipes.translation.card import example_rows, score_rows

RESULT = {
    "choices": {"from": "en", "to": "de"},
    "scores": {
        "model": {"bleu": {"value": 31.25, "standard_error": 1.04}},
        "copy": {"bleu": {"value": 0.5, "standard_error": 0.1}},
    },
    "likelihood": {"model": {"nats_per_token": 1.5, "bits_per_byte": 0.75}},
    "outputs": ["Nacht"],
}


def test_floors_have_no_likelihood() -> None:
    assert score_rows([RESULT]).splitlines() == [
        "| en to de: model | 31.2 ± 1.0 | 1.500 | 0.750 |",
        "| en to de: copy | 0.5 ± 0.1 | | |",
    ]


def test_outputs_stand_beside_the_records_of_their_direction() -> None:
    records = [
        {"from": "de", "to": "en", "source": "Tag", "target": "day"},
        {"from": "en", "to": "de", "source": "night", "target": "die Nacht"},
    ]
    assert example_rows(records, RESULT).splitlines()[2:] == ["| night | Nacht | die Nacht |"]
