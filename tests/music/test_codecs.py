"""Music codecs by name, and the file that names one."""

from pathlib import Path

import pytest

from cutaway.errors import CheckpointError
from cutaway.music.codec_file import CODEC
from cutaway.music.codecs import CODECS, codec_beside
from cutaway.tokenizer.codec import Codec


@pytest.mark.parametrize("name", CODECS)
def test_a_codec_is_written_and_read(name: str, tmp_path: Path) -> None:
    CODECS[name].write(tmp_path)
    assert codec_beside(tmp_path) == CODECS[name]
    assert [path.name for path in tmp_path.iterdir()] == [CODEC]


@pytest.mark.parametrize("name", CODECS)
def test_a_piece_begins_and_ends_with_the_last_id(name: str) -> None:
    codec = CODECS[name]
    assert codec.bos == codec.eos == codec.n_vocab - 1
    assert codec.label(codec.n_vocab - 1) == "end"
    assert codec.label(codec.n_vocab) == f"#{codec.n_vocab}"
    assert codec.decode([codec.n_vocab - 1]).notes == ()


@pytest.mark.parametrize("name", CODECS)
def test_music_has_no_text(name: str) -> None:
    assert not isinstance(CODECS[name], Codec)


def test_without_the_file_there_is_no_codec(tmp_path: Path) -> None:
    assert codec_beside(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{}", "codec must be a name, not None"),
        ('{"codec": 1}', "codec must be a name, not 1"),
        ('{"codec": "midi"}', "unknown codec 'midi'; known are perf388, satb16"),
        ("[", "is not valid JSON"),
    ],
)
def test_a_malformed_file_is_one_line(content: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / CODEC).write_text(content)
    with pytest.raises(CheckpointError, match=reason) as caught:
        codec_beside(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / CODEC))
