"""recipes/gutenberg.py on a made-up book, a rule at a time."""

import pytest

from recipes import gutenberg

OPENING = (
    "Once upon a time there lived a weaver whose loom stood by the weir, and " + "day after day " * 6 + "she wove."
)
START = "*** START OF THIS PROJECT GUTENBERG EBOOK THE WEIR ***\n"
END = "*** END OF THIS PROJECT GUTENBERG EBOOK THE WEIR ***\n"


def told(*paragraphs: str) -> list[str]:
    """Return what is left of the paragraphs that follow the opening of a book."""
    opening, *rest = gutenberg.story("\n\n".join((OPENING, *paragraphs))).split("\n\n")
    assert opening == OPENING
    return rest


def test_the_story_is_between_the_markers() -> None:
    text = f"Title: The Weir\n\n{OPENING}\n\n{START}\n{OPENING}\n\nIt stopped.\n\n{END}\nSection 1. Terms.\n"
    assert gutenberg.story(text) == f"{OPENING}\n\nIt stopped."
    small_print = f"**START**THE SMALL PRINT!\n\n{OPENING}\n\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN*\n\n"
    assert gutenberg.story(small_print + OPENING + "\n\nIt ran." * 30) == OPENING + "\n\nIt ran." * 30


def test_the_story_opens_with_a_full_paragraph_of_prose() -> None:
    remark = OPENING.replace("Once upon a time", "This book tells of the time when")
    unfinished = OPENING.removesuffix(".")
    front = ("By Ann Reed.", remark, unfinished, "Too short to open it.")
    assert gutenberg.story("\n\n".join((*front, OPENING, "It ran."))) == f"{OPENING}\n\nIt ran."


def test_a_book_that_never_opens_is_kept_whole() -> None:
    assert gutenberg.story("It ran.\n\nIt stopped.") == "It ran.\n\nIt stopped."


@pytest.mark.parametrize(
    "furniture",
    [
        "CHAPTER I.",
        "Chapter II.\nThe Weir.",
        "THE WEAVER'S LOOM",
        "To FRED FENTON,",
        "The Loom",
        "The Loom      12\nThe Weir      34\nHome",
        "I will not, and I shall\nnot, and nobody ever will\nwant it.",  # for it looks like a table of contents
        "[Illustration: THE LOOM\n\nby the weir]",
        "* * * * *",
        "Fully illustrated. 12mo. Cloth.",
        "Price, $1.25 a volume.",
        "Page 12, a comma was added.",
        "Obvious typographical errors have been corrected.",
    ],
)
def test_what_is_no_part_of_the_story_is_left_out(furniture: str) -> None:
    assert told("It ran.", furniture, "It stopped.") == ["It ran.", "It stopped."]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("It _was_\n  cold,  [12] very\n=cold=.[A]", "It was cold, very cold."),
        ("a\ttab\xa0and {3}more\n\tlines of it.", "a\ttab and more lines of it."),
        (
            "    The river ran,\n    And the loom stood\n      still.\n    “O!”",
            "The river ran,\nAnd the loom stood\nstill.\n“O!”",
        ),
        (
            "    The river ran,\n    the loom stood,\n    and all was still.",
            "The river ran, the loom stood, and all was still.",
        ),
    ],
)
def test_lines_are_joined_unless_they_are_verse(source: str, text: str) -> None:
    assert told(source, "It stopped.") == [text, "It stopped."]


def test_the_story_ends_at_the_last_end() -> None:
    body = ["THE END", *["It ran."] * 9, "THE END.", "The Weir Library is sold by all booksellers."]
    assert told(*body) == ["It ran."] * 9
    assert told(*["It ran."] * 9, "End of Project Gutenberg's The Weir, by Ann Reed.", "It ran.") == ["It ran."] * 9


def test_invalid_utf8_is_read_as_windows_1252() -> None:
    assert gutenberg.decode("\ufeff“Æsop”\r\n".encode()) == "“Æsop”\n"
    assert gutenberg.decode("“Æsop”\r".encode("cp1252")) == "“Æsop”\n"


def test_missing_fields_are_empty() -> None:
    assert gutenberg.field("Title: The Weir\n  Retold\n", "Title") == "The Weir\n  Retold"
    assert gutenberg.field("Author: Ann Reed\n", "Title") == ""
