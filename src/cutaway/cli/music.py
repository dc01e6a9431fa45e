"""`cutaway music`: generate and continue pieces, convert them, hear them, and see what a model looks at."""

import re
from argparse import ArgumentParser, Namespace
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.checks import check_float, check_int
from cutaway.cli.arguments import add_actions, add_model, write_json
from cutaway.cli.loading import describe, load_model
from cutaway.cli.reading import read_ids
from cutaway.cli.terminal import note
from cutaway.disk import replacing_file
from cutaway.errors import UsageError
from cutaway.untrusted import quote_path

if TYPE_CHECKING:
    from cutaway.model import Model
    from cutaway.music.codecs import MusicCodec
    from cutaway.music.perf388 import PerformanceCodec
    from cutaway.music.performance import Performance, Reading

EXAMPLES = """\
examples:
  cutaway music generate --seconds 20 --seed 1 -o piece.mid
  cutaway music continue opening.mid --seconds 30 -o piece.wav
  cutaway music render piece.mid -o piece.wav
  cutaway music roll piece.mid -o piece.svg
  cutaway music attend piece.mid --at 8.5 --layer 3 -o arcs.svg
  cutaway music encode piece.mid | cutaway music decode -o again.mid"""

_MAX_SECONDS = 3600.0
_PIECE = (".mid", ".wav", ".midi")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    parser.description = "Generate and continue music, hear it, and see what a model looks at."
    parser.epilog = EXAMPLES
    add = add_actions(parser)
    _add_sampling(add("generate", generate, "Generate pieces."))
    primed = add("continue", continue_, "Continue a piece.")
    primed.add_argument("file", type=Path, metavar="FILE", help="MIDI file that the model reads first")
    primer = "seconds of it to read; default: %(default)s"
    primed.add_argument("--primer-seconds", type=float, default=10.0, metavar="S", help=primer)
    _add_sampling(primed)
    encoder = add("encode", encode, "Write the ids of a MIDI file.")
    encoder.add_argument("file", type=Path, metavar="FILE", help="MIDI file")
    encoder.add_argument("--labels", action="store_true", help="a line for each token: id, event")
    decoder = add("decode", decode, "Write a MIDI file of ids.")
    decoder.add_argument("ids", nargs="*", metavar="ID", help="default: the numbers in standard input")
    decoder.add_argument("--codec", default="perf388", help="perf388 or satb16; default: %(default)s")
    _add_out(decoder, "pieces are", _PIECE)
    renderer = add("render", render, "Write a MIDI file as sound.")
    renderer.add_argument("file", type=Path, metavar="FILE", help="MIDI file")
    soundfont = "for FluidSynth; default: the system's if FluidSynth is installed, else the built-in piano"
    renderer.add_argument("--soundfont", type=Path, metavar="FILE", help=soundfont)
    renderer.add_argument(
        "--builtin", action="store_true", help="use the built-in piano, even if FluidSynth is installed"
    )
    _add_out(renderer, "sound is", (".wav",))
    roll = add("roll", draw_roll, "Draw the piano roll of a MIDI file.")
    roll.add_argument("file", type=Path, metavar="FILE", help="MIDI file")
    _add_out(roll, "pictures are", (".svg",))
    _add_attend(add("attend", attend, "Draw what a model looks at when it reads a note."))


def _add_out(parser: ArgumentParser, written: str, suffixes: tuple[str, ...], more: str = "") -> None:
    """Declare the file to write; `written` is what an error says of it, with the first two of its suffixes."""
    kinds = " or ".join(suffixes[:2])
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help=f"file to write: {kinds}{more}")
    parser.set_defaults(suffixes=suffixes, wrong_suffix=f"{written} written as {kinds}")


def _add_sampling(parser: ArgumentParser) -> None:
    _add_out(parser, "pieces are", _PIECE, "; several samples are numbered")
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="maximum length; default: %(default)s")
    parser.add_argument(
        "-n", "--samples", type=int, default=1, metavar="N", help="number of pieces; default: %(default)s"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="random seed; sample i uses seed + i; default: random")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="T", help="default: %(default)s")
    parser.add_argument("--top-p", type=float, default=0.98, metavar="P", help="nucleus sampling; default: %(default)s")
    free = "do not restrict sampling to what the codec would write"
    parser.add_argument("--no-grammar", action="store_true", help=free)
    add_model(parser, "builtin-piano")


def _add_attend(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="MIDI file")
    at = "time of the note to look from, in seconds; default: the last note"
    parser.add_argument("--at", type=float, metavar="S", help=at)
    parser.add_argument("--layer", type=int, metavar="L", help="counted from 0; default: the last")
    parser.add_argument("--heads", metavar="H", help="such as 0-3 or 1,5; default: all")
    parser.add_argument(
        "--top", type=int, default=30, metavar="N", help="maximum number of arcs of a head; default: %(default)s"
    )
    _add_out(parser, "pictures are", (".svg",))
    add_model(parser, "builtin-piano")


def run(options: Namespace) -> None:
    """Run the chosen action."""
    if "out" in options:
        _check_out(options)
    options.action(options)


def _check_out(options: Namespace) -> None:
    """Raise UsageError for a file that cannot be written, before the work starts."""
    path = options.out
    if path.suffix.lower() not in options.suffixes:
        raise UsageError(f"{quote_path(path)}: {options.wrong_suffix}")
    if not path.parent.is_dir():
        raise UsageError(f"{quote_path(path)}: cannot be written: no such folder: {quote_path(path.parent)}")


def generate(options: Namespace) -> None:
    """Write new pieces."""
    model, codec = _load(options)
    _write_samples(options, model, codec, [])


def continue_(options: Namespace) -> None:
    """Write pieces that begin as a MIDI file does."""
    check_float("--primer-seconds", options.primer_seconds, 0.01, _MAX_SECONDS)
    model, codec = _load(options)
    ids = _performance_codec(codec).encode(_read(options.file))
    primer = ids[: bisect_right(codec.read(ids).times, options.primer_seconds)]
    read = sum(map(codec.seconds, primer))
    if read >= options.seconds:
        raise UsageError(f"--seconds must be more than the {read:g} s that are read first (--primer-seconds)")
    _write_samples(options, model, codec, primer)


def _load(options: Namespace) -> "tuple[Model, MusicCodec]":
    """Load a model of music. Raises UsageError for any other model."""
    from cutaway.music.codecs import music_codec

    model = load_model(options)
    codec = music_codec(model.codec)
    if codec is None:
        raise UsageError(f"{options.model} is not a model of music; builtin-piano is")
    return model, codec


def _performance_codec(codec: "MusicCodec") -> "PerformanceCodec":
    from cutaway.music.perf388 import PerformanceCodec

    if not isinstance(codec, PerformanceCodec):
        raise UsageError(f"{codec.name} does not encode MIDI files; a model of perf388 does")
    return codec


def _read(path: Path) -> "Performance":
    """Read a MIDI file, for one piano and from its first note."""
    performance = _read_as_it_stands(path).on_one_keyboard().from_first_note()
    if not performance.notes:
        raise UsageError(f"{quote_path(path)}: holds no notes")
    return performance


def _read_as_it_stands(path: Path) -> "Performance":
    """Read a MIDI file unchanged; damage is reported on standard error."""
    from cutaway.music.midi import read_midi
    from cutaway.music.performance import Performance

    file = read_midi(path)
    for problem in file.problems:
        note(f"warning: {path}: {problem}")
    return Performance.from_midi(file, quote_path(path))


def _write_samples(options: Namespace, model: "Model", codec: "MusicCodec", primer: list[int]) -> None:
    from cutaway.generation.config import GenerationConfig
    from cutaway.music.generation import generate_piece

    seconds = check_float("--seconds", options.seconds, 0.1, _MAX_SECONDS)
    first = GenerationConfig(seed=options.seed).pick_seed()
    n_read = len(codec.decode(primer).notes)
    written = []
    for number in range(check_int("--samples", options.samples, 1, 1000)):
        seed = first + number
        piece = generate_piece(
            model,
            codec,
            seconds,
            seed=seed,
            primer=primer,
            temperature=options.temperature,
            top_p=options.top_p,
            grammar=not options.no_grammar,
        )
        performance = codec.decode(piece.ids).excerpt(0, seconds)
        path = options.out if options.samples == 1 else _numbered(options.out, number + 1)
        _write_piece(performance, path)
        entry = {"file": str(path), "seconds": performance.seconds, "notes": len(performance.notes)}
        written.append({**entry, "ids": piece.ids, "seed": seed, "finish_reason": piece.finish_reason})
        if not options.json:
            print(f"{path}: {performance.seconds:.1f} s, {len(performance.notes)} notes, seed {seed}")
            if primer and len(performance.notes) <= n_read:
                note(
                    f"warning: {path}: has only the notes that were read; give more --seconds or less --primer-seconds"
                )
    if options.json:
        write_json({**describe(model), "codec": codec.name, "primer_tokens": len(primer), "samples": written})


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def _write_piece(performance: "Performance", path: Path) -> None:
    """Write a piece as MIDI, or as sound with the built-in piano."""
    if path.suffix.lower() == ".wav":
        from cutaway.music.synthesizer import synthesize, wav_bytes

        _write(wav_bytes(synthesize(performance)), path)
    else:
        _write(performance.to_midi().to_bytes(), path)


def _write(data: bytes, path: Path) -> None:
    """Write a file atomically. Raises UsageError if it cannot be written."""
    try:
        with replacing_file(path) as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"{quote_path(path)}: cannot be written: {error.strerror}") from None


def encode(options: Namespace) -> None:
    """Print the ids of a MIDI file."""
    from cutaway.music.perf388 import PerformanceCodec

    codec = PerformanceCodec()
    ids = codec.encode(_read(options.file))
    if options.json:
        write_json({"codec": codec.name, "ids": ids})
    elif options.labels:
        for index in ids:
            print(f"{index:3}  {codec.label(index)}")
    else:
        print(*ids)


def decode(options: Namespace) -> None:
    """Write the piece that ids stand for."""
    from cutaway.music.codecs import CODECS

    if options.codec not in CODECS:
        raise UsageError(f"--codec must be {' or '.join(CODECS)}, not {options.codec!r:.60}")
    codec = CODECS[options.codec]
    ids = read_ids(options.ids)
    if not ids:
        raise UsageError("there are no ids to decode: give some, or pipe them in")
    unknown = next((index for index in ids if index >= codec.n_vocab), None)
    if unknown is not None:
        raise UsageError(f"{unknown} is not an id of {codec.name}, whose ids are 0 to {codec.n_vocab - 1}")
    performance = codec.decode(ids)
    _write_piece(performance, options.out)
    _report(options, performance)


def _report(options: Namespace, performance: "Performance") -> None:
    if options.json:
        write_json({"file": str(options.out), "seconds": performance.seconds, "notes": len(performance.notes)})
    else:
        print(f"{options.out}: {performance.seconds:.1f} s, {len(performance.notes)} notes")


def render(options: Namespace) -> None:
    """Write the sound of a MIDI file, unchanged, including its rests."""
    from cutaway.music.synthesizer import find_fluidsynth, find_soundfont, render_with_fluidsynth

    if options.builtin and options.soundfont:
        raise UsageError("--builtin and --soundfont exclude each other")
    performance = _read_as_it_stands(options.file)
    soundfont = options.soundfont or (find_soundfont() if find_fluidsynth() and not options.builtin else None)
    if soundfont is not None:
        render_with_fluidsynth(performance, soundfont, options.out)
    else:
        _write_piece(performance.on_one_keyboard(), options.out)
    _report(options, performance)


def draw_roll(options: Namespace) -> None:
    """Write the piano roll of a MIDI file."""
    from cutaway.music import roll

    performance = _read(options.file)
    _write(roll.draw_roll(performance, options.file.name).encode(), options.out)
    _report(options, performance)


def attend(options: Namespace) -> None:
    """Write the arcs from a note to what the heads of a layer look at."""
    import numpy as np

    from cutaway.figures.colours import head_colour
    from cutaway.music.roll import Attention, draw_attention

    model, codec = _load(options)
    config = model.config
    layer = config.n_layer - 1 if options.layer is None else options.layer
    check_int("--layer", layer, 0, config.n_layer - 1)
    heads = _heads(options.heads, config.n_head)
    ids = [codec.bos, *_performance_codec(codec).encode(_read(options.file))]
    reading = codec.read(ids)
    if options.at is not None:
        check_float("--at", options.at, 0, reading.times[-1])
    query = _query(reading, options.at)
    before = max(0, query + 1 - config.n_ctx)  # ids that do not fit into the context
    seen = model.trace(ids[before : query + 1]).attention_of(layer, -1)[heads]
    weights = np.pad(seen, [(0, 0), (before, 0)])
    attention = Attention(query, weights, [f"head {head}" for head in heads], [head_colour(head) for head in heads])
    title = f"{options.file.name}: layer {layer} at {reading.times[query]:.2f} s"
    _write(draw_attention(reading, attention, title, options.top).encode(), options.out)
    if options.json:
        document = {"file": str(options.out), "layer": layer, "heads": heads, "query": query}
        write_json({**describe(model), **document, "seconds": reading.times[query], "label": codec.label(ids[query])})
    else:
        print(f"{options.out}: {codec.label(ids[query])} at {reading.times[query]:.2f} s, layer {layer}")


def _query(reading: "Reading", at: float | None) -> int:
    """Return the index of the id that begins the note nearest to a time, or the last note."""
    first: dict[int, int] = {}  # place of each note, in the order of the notes
    for place, owner in enumerate(reading.owners):
        if owner >= 0:
            first.setdefault(owner, place)
    strikes = list(first.values())
    if at is None:
        return strikes[-1]
    return min(strikes, key=lambda place: abs(reading.times[place] - at))


def _heads(given: str | None, n_head: int) -> list[int]:
    """Parse heads such as "0-3,5"."""
    if given is None:
        return list(range(n_head))
    heads: list[int] = []
    for part in given.split(","):
        match = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part)
        if match is None:
            raise UsageError(f"--heads must look like 0-3 or 1,5, not {given!r:.60}")
        first = check_int("--heads", int(match[1]), 0, n_head - 1)
        last = check_int("--heads", int(match[2] or first), first, n_head - 1)
        heads += range(first, last + 1)
    return list(dict.fromkeys(heads))
