from hypothesis import given
from hypothesis import strategies as st

from cutaway.layout import bar, fold, table, visible, width, wrap, wrap_prose, wrapped_table


def test_width_counts_columns_and_not_characters() -> None:
    assert [width(text) for text in ("robot", "机器人", "e\u0301", "🤖", "a\u200bb", "")] == [5, 6, 1, 2, 2, 0]


def test_table_aligns_wide_cells() -> None:
    assert table([["a", "1"], ["机器", "1,000"]], "<>") == ["a         1", "机器  1,000"]


def test_the_last_cells_of_a_table_are_wrapped() -> None:
    rows = [["机器", "1", "a robot must obey the orders"], ["b", "22", ""]]
    assert wrapped_table(rows, "<><", 30) == ["机器   1  a robot must obey", "          the orders", "b     22"]
    assert wrapped_table(rows, "<><", 5) == wrapped_table(rows, "<><", 30)  # no narrower than is to be read
    assert wrapped_table(rows, "<><", 80) == table(rows, "<><")


@given(st.lists(st.text("ab漢é", min_size=1, max_size=12)), st.integers(5, 40))
def test_wrap_keeps_all_words_within_the_columns(words: list[str], columns: int) -> None:
    lines = wrap(words, columns)
    assert " ".join(lines).split() == words
    assert all(width(line) <= columns or " " not in line for line in lines)


def test_bar_is_drawn_in_eighths() -> None:
    assert [bar(share, 2) for share in (0, 1 / 16, 0.5, 0.75, 1)] == ["", "▏", "█", "█▌", "██"]


def test_visible_shows_spaces_and_invalid_utf8() -> None:
    assert visible(b" caf\xc3\xa9") == "␣café"
    assert visible(b"\xe2\x80") == "\\xe2\\x80"
    assert visible(b"\n\t\x1b[0m\x7f") == "\\n\\t\\x1b[0m\\x7f"
    assert visible("\u200b漢".encode()) == "\\u200b漢"
    assert visible("\ufe0f".encode()) == "\\ufe0f"  # it would take no column
    assert visible("e\u0301".encode()) == "e\u0301"


@given(st.binary())
def test_visible_is_printable(data: bytes) -> None:
    assert visible(data).isprintable()


def test_english_breaks_between_words_and_chinese_between_characters() -> None:
    assert wrap_prose("a robot", 7) == ["a robot"]
    assert wrap_prose("a robot", 3) == ["a", "robot"]
    assert wrap_prose("robot", 3) == ["robot"]
    assert wrap_prose("a robot must", 7) == ["a robot", "must"]
    assert wrap_prose("how much of each token", 9) == ["how much", "of each", "token"]
    assert wrap_prose("先取 softmax，再求和（共两步）。", 12) == ["先取", "softmax，再", "求和（共两", "步）。"]


def test_a_percent_sign_stays_with_its_number() -> None:
    assert wrap_prose("a weight of 65.6 %, on robot", 16) == ["a weight of", "65.6 %, on robot"]
    assert wrap_prose("权重为 65.6 %，在这里", 8) == ["权重为", "65.6 %，", "在这里"]


@given(st.text(st.sampled_from("ab 词元，。（）softmax3"), max_size=60), st.integers(8, 40))
def test_wrapping_keeps_every_character_and_the_width(prose: str, columns: int) -> None:
    lines = wrap_prose(prose, columns)
    assert "".join(lines).replace(" ", "") == prose.replace(" ", "")
    assert all(width(line) <= columns or " " not in line for line in lines)


@given(text=st.text(alphabet="ab 机器。", max_size=60), columns=st.integers(2, 20))
def test_folded_lines_fit_and_lose_nothing_but_spaces(text: str, columns: int) -> None:
    lines = fold(text, columns)
    assert max(map(width, lines)) <= columns
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_folding_breaks_chinese_anywhere_and_english_between_words() -> None:
    assert fold("User: 机器人必须服从", 11) == ["User: 机器", "人必须服从"]
    assert fold("obeys unconditionally", 9) == ["obeys", "unconditi", "onally"]
    assert fold("", 9) == [""]
