"""Joining tokens: whatever comes later, what was returned stays."""

import random

import pytest

from cutaway.tokenizer.joining import Cleaner, WindowStream, WordPieceStream, clean_up, decode_by

PARTS = (
    *(" '", "'", " n", "n", "t", " t", "'t", " s", "s", " ", ".", " .", "ve", " 've", "re", "v", "r", "e", "m", " m"),
    *("a", " a", "n't", " n't"),
)


@pytest.mark.parametrize("seed", range(5))
def test_text_cleaned_in_parts_is_the_whole_cleaned(seed: int) -> None:
    generator = random.Random(seed)
    for _ in range(4000):
        parts = [generator.choice(PARTS) for _ in range(generator.randrange(9))]
        cleaner = Cleaner()
        assert "".join(map(cleaner.push, parts)) + cleaner.finish() == clean_up("".join(parts)), parts


def test_a_cleaner_holds_back_only_what_may_change() -> None:
    cleaner = Cleaner()
    assert [cleaner.push(part) for part in ("robots", " n", "o", " '", "v", "an", "！")] == [
        *("robots", "", " no", "", "", " 'van", "！"),
    ]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (("a", "##b", "c"), "ab c"),
        (("##b", "c"), "##b c"),
        (("机", "器", "a", "人"), "机器 a 人"),
        (("“", "机", "”", "，", "“", "a", "”"), "“机”，“ a ”"),
        (("”", "“"), "” “"),
        (("机", "##器", "2020", "年"), "机器 2020 年"),
        (("robots", ".", "don", "'", "t"), "robots. don ' t"),
        ((), ""),
    ],
)
def test_word_pieces_are_joined_as_they_are_written(tokens: tuple[str, ...], text: str) -> None:
    stream = WordPieceStream(dict(enumerate(tokens)).get, prefix="##", cleanup=True)
    assert decode_by(stream, range(len(tokens))) == text
    assert decode_by(stream, range(len(tokens))) == text  # and the next text begins anew


def test_bytes_wait_for_the_token_after_them() -> None:
    tokens = {0: "<0xE4>", 1: "<0xBD>", 2: "<0xA0>", 3: "a"}

    def decode(ids: list[int]) -> str:
        data = b"".join(tokens[i].encode() if i == 3 else bytes([int(tokens[i][3:5], 16)]) for i in ids)
        return data.decode("utf-8", "replace")

    stream = WindowStream(tokens.get, decode)  # type: ignore[arg-type]
    assert [stream.push(index) for index in (3, 0, 1, 2, 3)] == ["a", "", "", "", "你a"]
    assert (stream.push(0), stream.finish()) == ("", "�")
