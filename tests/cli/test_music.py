"""`cutaway music`: pieces generated and continued, converted, heard and drawn."""

import json
import wave
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from cutaway.checkpoints import save_checkpoint
from cutaway.loading import load
from cutaway.music import synthesizer
from cutaway.music.grammar import count_illegal
from cutaway.music.midi import read_midi
from cutaway.music.perf388 import PerformanceCodec
from cutaway.music.performance import Note, Performance
from cutaway.music.satb16 import ChoraleCodec
from tests.cli.invoke import invoke
from tests.tiny import tiny_weights

CODEC = PerformanceCodec()
PIECE = Performance.of([Note(0.5 * n, 0.5 * n + 0.7, 60 + 2 * n, 80) for n in range(8)])


@pytest.fixture
def song(tmp_path: Path) -> str:
    PIECE.to_midi().write(tmp_path / "song.mid")
    return str(tmp_path / "song.mid")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("music") / "tiny"
    save_checkpoint(directory, tiny_weights(n_vocab=389, n_ctx=32, n_layer=2, n_head=2, n_embd=8), tokenizer=CODEC)
    return str(directory)


@pytest.fixture(scope="module")
def chorales(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("music") / "chorales"
    save_checkpoint(
        directory, tiny_weights(n_vocab=48, n_ctx=32, n_layer=1, n_head=1, n_embd=8), tokenizer=ChoraleCodec()
    )
    return str(directory)


def performance(path: Path | str) -> Performance:
    return Performance.from_midi(read_midi(path))


def test_a_piece_is_generated_as_long_as_asked_and_legal(model: str, tmp_path: Path) -> None:
    out = str(tmp_path / "piece.mid")
    arguments = ("--model", model, "--seconds", "12", "--seed", "3", "-o", out, "--json")
    result = invoke("music", "generate", *arguments)
    assert result.code == 0
    document = json.loads(result.out)
    [sample] = document["samples"]
    assert document["codec"] == "perf388"
    assert count_illegal(CODEC, sample["ids"]) == 0
    assert len(sample["ids"]) > 64  # further than the context
    assert sample["notes"] == len(performance(out).notes) > 0
    assert performance(out).seconds <= 12
    assert sum(map(CODEC.seconds, sample["ids"])) >= 12 or sample["finish_reason"] == "eos"
    first = Path(out).read_bytes()
    assert invoke("music", "generate", *arguments).code == 0
    assert Path(out).read_bytes() == first


def test_without_the_grammar_ids_are_free(model: str, tmp_path: Path) -> None:
    arguments = ("--model", model, "--seconds", "6", "--seed", "3", "-o", str(tmp_path / "a.mid"), "--json")
    [sample] = json.loads(invoke("music", "generate", *arguments, "--no-grammar").out)["samples"]
    assert count_illegal(CODEC, sample["ids"]) > 0


def test_several_samples_are_numbered(model: str, tmp_path: Path) -> None:
    out = str(tmp_path / "piece.wav")
    result = invoke("music", "generate", "--model", model, "--seconds", "1", "-n", "2", "--seed", "5", "-o", out)
    assert [line.split(": ")[0] for line in result.out.splitlines()] == [
        str(tmp_path / "piece-1.wav"),
        str(tmp_path / "piece-2.wav"),
    ]
    assert [line.rsplit(" ", 1)[1] for line in result.out.splitlines()] == ["5", "6"]
    with wave.open(str(tmp_path / "piece-2.wav")) as file:
        assert file.getnframes() > 0


def test_a_chorale_is_generated(chorales: str, tmp_path: Path) -> None:
    out = str(tmp_path / "piece.mid")
    result = invoke("music", "generate", "--model", chorales, "--seconds", "3", "--seed", "1", "-o", out, "--json")
    [sample] = json.loads(result.out)["samples"]
    assert len(sample["ids"]) == 67 or sample["finish_reason"] == "eos"
    assert performance(out).seconds <= 3


def test_a_piece_is_continued_from_its_first_seconds(model: str, song: str, tmp_path: Path) -> None:
    out = str(tmp_path / "piece.mid")
    arguments = ("--model", model, "--primer-seconds", "2", "--seconds", "5", "--seed", "1", "-o", out, "--json")
    document = json.loads(invoke("music", "continue", song, *arguments).out)
    primer = CODEC.encode(PIECE)[: document["primer_tokens"]]
    [sample] = document["samples"]
    assert sample["ids"][: len(primer)] == primer
    assert 1.5 < sum(map(CODEC.seconds, primer)) <= 2
    ours = [note[2] for note in performance(out).notes if note.onset < 1.99]
    assert ours == [note.pitch for note in PIECE.notes if note.onset < 1.99]


def test_a_piece_without_a_new_note_says_so(model: str, song: str, tmp_path: Path) -> None:
    arguments = ("--model", model, "--primer-seconds", "1.9", "--seed", "2", "-o", str(tmp_path / "piece.mid"))
    result = invoke("music", "continue", song, *arguments, "--seconds", "1.71")
    assert "piece.mid: has only the notes that were read; give more --seconds or less --primer-seconds" in result.err
    assert invoke("music", "continue", song, *arguments, "--seconds", "5").err == ""
    assert invoke("music", "continue", song, *arguments, "--seconds", "1.71", "--json").err == ""


def test_ids_are_written_and_read(song: str, tmp_path: Path) -> None:
    document = invoke("music", "encode", song, "--json").out
    ids = json.loads(document)["ids"]
    assert ids == CODEC.encode(PIECE)
    printed = invoke("music", "encode", song).out
    assert [int(word) for word in printed.split()] == ids
    labels = invoke("music", "encode", song, "--labels").out.splitlines()
    assert labels[:2] == ["376  velocity 80", " 60  C4 on"]
    out = str(tmp_path / "again.mid")
    for given in (json.dumps(ids), document):
        assert invoke("music", "decode", "-o", out, stdin=given.encode()).code == 0
        assert CODEC.encode(performance(out)) == ids
    assert invoke("music", "decode", *printed.split(), "-o", out).out == f"{out}: 4.2 s, 8 notes\n"


def test_ids_of_a_chorale_are_read(tmp_path: Path) -> None:
    out = str(tmp_path / "a.mid")
    assert invoke("music", "decode", "38", "34", "29", "22", "--codec", "satb16", "-o", out).code == 0
    assert [note.pitch for note in performance(out).notes] == [58, 65, 70, 74]


def test_a_file_is_rendered_by_the_builtin_piano(song: str, tmp_path: Path) -> None:
    out = tmp_path / "song.wav"
    assert invoke("music", "render", song, "--builtin", "-o", str(out)).code == 0
    with wave.open(str(out)) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(4.7)


def test_a_roll_is_drawn(song: str, tmp_path: Path) -> None:
    out = tmp_path / "song.svg"
    assert invoke("music", "roll", song, "-o", str(out)).code == 0
    notes = [e for e in ET.fromstring(out.read_text("utf-8")).iter() if e.get("class") == "note"]
    assert [int(note.attrib["data-pitch"]) for note in notes] == [note.pitch for note in PIECE.notes]


def arcs(path: Path, kind: str, head: str) -> list[ET.Element]:
    elements = ET.fromstring(path.read_text("utf-8")).iter()
    return [e for e in elements if e.get("class") == kind and e.get("data-head") == head]


def test_arcs_are_the_attention_of_the_model(model: str, song: str, tmp_path: Path) -> None:
    out = tmp_path / "arcs.svg"
    arguments = ("--model", model, "--at", "1.1", "--layer", "0", "--heads", "1", "-o", str(out), "--json")
    document = json.loads(invoke("music", "attend", song, *arguments).out)
    assert (document["layer"], document["heads"], document["label"], document["seconds"]) == (0, [1], "E4 on", 1.0)
    ids = [CODEC.bos, *CODEC.encode(PIECE)][: document["query"] + 1]
    weights = load(model).trace(ids)["attn.0"][1, -1]
    owners = CODEC.read(ids).owners
    for arc in arcs(out, "arc", "head 1"):
        mine = [place for place, owner in enumerate(owners) if owner == int(arc.attrib["data-note"])]
        assert float(arc.attrib["data-w"]) == pytest.approx(weights[mine].sum(), abs=1e-5)
    total = [float(e.attrib["data-w"]) for kind in ("arc", "rest") for e in arcs(out, kind, "head 1")]
    assert sum(total) == pytest.approx(1, abs=1e-3)
    assert arcs(out, "rest", "head 0") == []


def test_a_note_beyond_the_context_sees_what_fits(model: str, song: str, tmp_path: Path) -> None:
    out = tmp_path / "arcs.svg"
    long = Performance.of(
        note._replace(onset=note.onset + t, offset=note.offset + t) for t in (0, 9) for note in PIECE.notes
    )
    long.to_midi().write(Path(song))
    result = invoke("music", "attend", song, "--model", model, "-o", str(out), "--json")
    document = json.loads(result.out)
    assert document["layer"] == 1
    assert document["query"] + 1 > 32
    for head in ("head 0", "head 1"):
        total = [float(e.attrib["data-w"]) for kind in ("arc", "rest") for e in arcs(out, kind, head)]
        assert sum(total) == pytest.approx(1, abs=1e-3)


def test_the_note_that_asks_is_the_last_or_the_nearest(model: str, song: str, tmp_path: Path) -> None:
    arguments = ("music", "attend", song, "--model", model, "-o", str(tmp_path / "arcs.svg"), "--heads", "1,0-1")
    assert ": D5 on at 3.50 s, layer 1" in invoke(*arguments).out
    document = json.loads(invoke(*arguments, "--at", "0.8", "--json").out)
    assert (document["label"], document["seconds"], document["heads"]) == ("E4 on", 1.0, [1, 0])


def test_commands_for_ids_name_the_events(chorales: str) -> None:
    labels = {ChoraleCodec().label(index) for index in range(48)}
    rows = invoke("next", "--ids", "47", "--model", chorales, "-k", "5").out.splitlines()
    assert {row.split()[-1] for row in rows} <= labels
    arguments = ("--model", chorales, "--max-new-tokens", "5", "--seed", "1")
    events = [line.split() for line in invoke("generate", "--ids", "47", *arguments, "--logprobs").out.splitlines()]
    assert [event for _, _, event in events] == [ChoraleCodec().label(int(index)) for index, _, _ in events]
    assert invoke("generate", "--ids", "47", *arguments).out.split() == [index for index, _, _ in events]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("decode", "999", "-o", "a.mid"), "999 is not an id of perf388, whose ids are 0 to 388"),
        (("generate", "--model", "builtin", "-o", "a.mid"), "builtin is not a model of music; builtin-piano is"),
        (
            ("generate", "--model", "MODEL", "-o", "a.txt", "--seconds", "0.1"),
            "a.txt: pieces are written as .mid or .wav",
        ),
        (
            ("generate", "--model", "MODEL", "-o", "nowhere/a.mid", "--seconds", "0.1"),
            "nowhere/a.mid: cannot be written",
        ),
        (
            ("generate", "--model", "MODEL", "-o", "a.mid", "--seconds", "0"),
            "--seconds must be from 0.1 to 3600, not 0.0",
        ),
        (("generate", "--model", "nowhere", "-o", "a.txt"), "a.txt: pieces are written as .mid or .wav"),
        (("generate", "--model", "nowhere", "-o", "b/a.mid"), "b/a.mid: cannot be written: no such folder: b"),
        (("decode", "x", "-o", "a.txt"), "a.txt: pieces are written as .mid or .wav"),
        (("roll", "nowhere.mid", "-o", "a.png"), "a.png: pictures are written as .svg"),
        (("attend", "nowhere.mid", "-o", "a.png"), "a.png: pictures are written as .svg"),
        (("render", "nowhere.mid", "-o", "a.mid"), "a.mid: sound is written as .wav"),
        (("decode", "60", "-o", "folder.mid"), "folder.mid: cannot be written: Is a directory"),
        (("decode", "60", "-o", "folder.wav"), "folder.wav: cannot be written: Is a directory"),
        (("roll", "SONG", "-o", "folder.svg"), "folder.svg: cannot be written: Is a directory"),
        (
            ("continue", "SONG", "--model", "MODEL", "--primer-seconds", "2", "--seconds", "2", "-o", "a.mid"),
            "--seconds must be more than the 2 s that are read first (--primer-seconds)",
        ),
        (("continue", "SONG", "--model", "CHORALES", "-o", "a.mid"), "satb16 does not encode MIDI files"),
        (("encode", "nowhere.mid"), "nowhere.mid: cannot be read: No such file or directory"),
        (("decode", "x", "-o", "a.mid"), "'x' is not a token id"),
        (("decode", "1", "--codec", "midi", "-o", "a.mid"), "--codec must be perf388 or satb16, not 'midi'"),
        (("render", "SONG", "-o", "a.mp3"), "a.mp3: sound is written as .wav"),
        (("render", "SONG", "--builtin", "--soundfont", "a.sf2", "-o", "a.wav"), "--builtin and --soundfont exclude"),
        (("render", "SONG", "--soundfont", "nowhere.sf2", "-o", "a.wav"), "nowhere.sf2: no such file"),
        (("roll", "SONG", "-o", "a.png"), "a.png: pictures are written as .svg"),
        (("roll", "SONG", "-o", "nowhere/a.svg"), "nowhere/a.svg: cannot be written"),
        (("attend", "SONG", "--model", "MODEL", "--heads", "x", "-o", "a.svg"), "--heads must look like 0-3 or 1,5"),
        (("attend", "SONG", "--model", "MODEL", "--heads", "0-2", "-o", "a.svg"), "--heads must be from 0 to 1, not 2"),
        (("attend", "SONG", "--model", "MODEL", "--heads", "1-0", "-o", "a.svg"), "--heads must be from 1 to 1, not 0"),
        (("attend", "SONG", "--model", "MODEL", "--layer", "2", "-o", "a.svg"), "--layer must be from 0 to 1, not 2"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...],
    reason: str,
    model: str,
    chorales: str,
    song: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for suffix in ("mid", "wav", "svg"):
        Path(f"folder.{suffix}").mkdir()
    names = {"MODEL": model, "CHORALES": chorales, "SONG": song}
    result = invoke("music", *(names.get(word, word) for word in arguments))
    assert result.code == 2
    assert result.err.startswith(f"cutaway: {reason}")
    assert len(result.err.splitlines()) == 1


def test_a_file_without_notes_is_refused(tmp_path: Path) -> None:
    Performance(()).to_midi().write(tmp_path / "a.mid")
    result = invoke("music", "encode", str(tmp_path / "a.mid"))
    assert (result.code, result.err) == (2, f"cutaway: {tmp_path}/a.mid: holds no notes\n")


def test_damage_is_a_warning(song: str, tmp_path: Path) -> None:
    data = Path(song).read_bytes()
    (tmp_path / "cut.mid").write_bytes(data[:-10])
    for action in (("encode",), ("render", "--builtin", "-o", str(tmp_path / "a.wav"))):
        result = invoke("music", action[0], str(tmp_path / "cut.mid"), *action[1:])
        assert result.code == 0
        assert "it is cut short; read up to tick" in result.err


def test_nothing_is_no_piece(tmp_path: Path) -> None:
    result = invoke("music", "decode", "-o", str(tmp_path / "piece.mid"), stdin=b"")
    assert (result.code, "there are no ids to decode: give some, or pipe them in" in result.error) == (2, True)
    assert not list(tmp_path.iterdir())


def test_the_built_in_pianist_plays(tmp_path: Path) -> None:
    """The same seed, the same piece; and a time outside of it is refused."""
    path = tmp_path / "piece.mid"
    first = invoke("music", "generate", "--seconds", "3", "--seed", "1", "-o", str(path))
    data = path.read_bytes()
    assert first.code == 0
    assert invoke("music", "generate", "--seconds", "3", "--seed", "1", "-o", str(path)).out == first.out
    assert path.read_bytes() == data
    late = invoke("music", "attend", str(path), "--at", "900", "-o", str(tmp_path / "arcs.svg"))
    assert late.code == 2
    assert "--at must be from 0 to " in late.error


def test_fluidsynth_plays_with_the_soundfont_of_the_system_unless_the_built_in_piano_is_asked_for(
    song: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[Path] = []
    monkeypatch.setattr(synthesizer, "find_fluidsynth", lambda: "fluidsynth")
    monkeypatch.setattr(synthesizer, "find_soundfont", lambda: Path("system.sf2"))
    monkeypatch.setattr(synthesizer, "render_with_fluidsynth", lambda _, soundfont, path: played.append(soundfont))
    for more in ((), ("--soundfont", "own.sf2"), ("--builtin",)):
        assert invoke("music", "render", song, *more, "-o", str(tmp_path / "a.wav")).code == 0
    assert played == [Path("system.sf2"), Path("own.sf2")]
