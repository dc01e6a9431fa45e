"""Sentences of texts in several scripts."""

import pytest

from cutaway.tasks.sentences import first_sentences


@pytest.mark.parametrize(
    ("text", "n", "expected"),
    [
        ("One. Two! Three? Four.", 3, "One. Two! Three?"),
        ("One. Two.", 3, "One. Two."),
        ('He said "No." Then he left.', 1, 'He said "No."'),
        ("Version 2.5 is out. Good.", 1, "Version 2.5 is out."),
        ("J. K. Rowling wrote. Others read.", 1, "J. K. Rowling wrote."),
        ("猫在睡觉。狗在吃饭。鸟在唱歌。", 2, "猫在睡觉。狗在吃饭。"),
        ("A heading\n\nA sentence. Another.", 2, "A heading\n\nA sentence."),
        ("A sentence.\n\nAnother.", 1, "A sentence."),
        ("A sentence.\n\nAnother. Third.", 2, "A sentence.\n\nAnother."),
        ("  no end  ", 1, "no end"),
        ("", 1, ""),
    ],
)
def test_first_sentences(text: str, n: int, expected: str) -> None:
    assert first_sentences(text, n) == expected
