"""`cutaway translate`: translate sentences with a model that has learned to."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.checks import check_int
from cutaway.cli.arguments import add_json, add_model, write_json
from cutaway.cli.loading import describe, load_model
from cutaway.cli.reading import note_cut, read_text, typed_lines, utf8
from cutaway.cli.terminal import note, safe
from cutaway.errors import CutawayError, UsageError
from cutaway.untrusted import quote

if TYPE_CHECKING:
    from cutaway.model import Model
    from cutaway.tasks.decoding import Output
    from cutaway.tasks.task import Decoding, Task

EXAMPLES = """\
examples:
  cutaway translate "Where is the station?"
  cutaway translate "Wo ist der Bahnhof?" --from de
  cutaway translate --file lines.txt --model run/model > translated.txt
  cutaway translate --interactive --beams 1 --model run/model"""

HELP = "A sentence and Enter; Ctrl-D ends."
AT_ONCE = 256  # lines of a file that are translated before the first is printed


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the text, the languages, the search and the model."""
    parser.description = "Translate line by line, with a model that has learned to."
    parser.epilog = EXAMPLES
    text = parser.add_mutually_exclusive_group()
    text.add_argument(
        "text", nargs="?", metavar="TEXT", help="- reads standard input, and so does a pipe without a TEXT"
    )
    text.add_argument("--file", type=Path, metavar="PATH", help="translate each line of a file")
    text.add_argument("--interactive", action="store_true", help="prompt for one sentence after the other")
    parser.add_argument("--from", dest="source", metavar="LANG", help="language of the text; default: the task's first")
    parser.add_argument("--to", dest="target", metavar="LANG", help="language to translate to; default: another one")
    parser.add_argument("--beams", type=int, metavar="N", help="beams of the search, 1: greedy; default: the task's")
    parser.add_argument("--alpha", type=float, metavar="A", help="length penalty, 0: none; default: the task's")
    parser.add_argument(
        "--n-best", type=int, default=1, metavar="N", help="translations of each line; default: %(default)s"
    )
    add_json(parser)
    add_model(parser, "builtin-translation")


def run(options: Namespace) -> None:
    """Translate a text, the lines of a file or of a pipe, or one sentence after the other."""
    check_int("--n-best", options.n_best, 1)
    if options.interactive and options.json:
        raise UsageError("--json is one document; --interactive cannot write one")
    lines = [] if options.interactive else _lines(options)
    model = load_model(options)
    translator = Translator(model, options)
    if options.interactive:
        _converse(translator)
    elif options.json:
        write_json(translator.document(lines))
    else:
        for start in range(0, len(lines), AT_ONCE):
            translator.show(lines[start : start + AT_ONCE])


class Translator:
    """A model that has learned to translate, with the languages and the search that the arguments name."""

    def __init__(self, model: "Model", options: Namespace) -> None:
        self.model = model
        if model.task is None:
            raise UsageError(f"{options.model} has not learned to translate; builtin-translation has")
        self.encoder = model.encoder()
        task = self.encoder.task
        if not task.translates:
            raise UsageError(f"{options.model} has learned {task.name}, and not to translate")
        self.languages = find_languages(task, options.source, options.target)
        self.decoding = _decoding(task, options)
        self.n_best = options.n_best

    def translate(self, lines: Sequence[str]) -> "list[list[Output]]":
        """Return the translations of each line, best first; that of an empty line is empty."""
        from cutaway.tasks.decoding import Output, decode_fields

        fields = [self._fields(line) for line in lines]
        wanted = [each for each in fields if each["source"]]
        found = decode_fields(self.model.engine, self.encoder, wanted, self.decoding, n_best=self.n_best)
        results = iter(found)
        return [next(results) if each["source"] else [Output("", 0.0, 0.0, True)] for each in fields]

    def cut_tokens(self, line: str) -> int:
        """Return the number of tokens of a line that do not fit the context, and are not read."""
        return self.encoder.prompt_and_count(self._fields(line))[1]

    def show(self, lines: Sequence[str]) -> None:
        """Print a line for each translation, with its score if several were asked for; note what is not read."""
        for line, found in zip(lines, self.translate(lines), strict=True):
            if cut := self.cut_tokens(line):
                note_cut(self.encoder, quote(line), cut)
            for each in found:
                text = safe(each.text.replace("\n", " "))
                print(text if self.n_best == 1 else f"{each.score:8.3f}  {text}", flush=True)

    def document(self, lines: Sequence[str]) -> dict[str, object]:
        """Return what `--json` writes."""
        translations = [
            {
                "source": line,
                "cut_tokens": self.cut_tokens(line),
                "translations": [
                    {"text": each.text, "logprob": each.logprob, "score": each.score, "finished": each.is_finished}
                    for each in found
                ],
            }
            for line, found in zip(lines, self.translate(lines), strict=True)
        ]
        return {**describe(self.model), **self.languages, "beams": self.decoding.beams, "lines": translations}

    def _fields(self, line: str) -> dict[str, str]:
        return {**self.languages, "source": line.strip()}


def find_languages(task: "Task", source: str | None, target: str | None) -> Mapping[str, str]:
    """Return the languages to translate from and to: those given, else the task's first that fit.

    >>> from cutaway.tasks import open_task
    >>> find_languages(open_task("translation"), None, None), find_languages(open_task("translation"), "de", None)
    ({'from': 'en', 'to': 'de'}, {'from': 'de', 'to': 'en'})
    """
    from cutaway.tasks.task import FROM, TO

    for flag, value, known in (("--from", source, task.choices[FROM]), ("--to", target, task.choices[TO])):
        if value is not None and value not in known:
            raise UsageError(f"{flag}: {task.name} knows {', '.join(known)}, not {value!r}")
    fitting = [pair for pair in task.languages if source in (None, pair[FROM]) and target in (None, pair[TO])]
    if not fitting:
        raise UsageError(f"{task.name} does not translate from {source or 'any'} to {target or 'any'}")
    return fitting[0]


def _decoding(task: "Task", options: Namespace) -> "Decoding":
    from cutaway.generation.beam import BeamConfig

    beams = max(task.decoding.beams, options.n_best) if options.beams is None else options.beams
    alpha = task.decoding.alpha if options.alpha is None else options.alpha
    BeamConfig(beams, alpha, options.n_best)  # raises UsageError for settings that are out of range
    return replace(task.decoding, beams=beams, alpha=alpha, temperature=0.0)


def _lines(options: Namespace) -> list[str]:
    lines = read_text(options, "translate", "give a TEXT, --file or --interactive, or pipe lines in").split("\n")
    ends_in_line = not lines[-1] and options.text != ""  # an empty TEXT is a line, an empty file has none
    return lines[:-1] if ends_in_line else lines


def _converse(translator: Translator) -> None:
    for line in typed_lines(HELP):
        try:
            translator.show([utf8(line, "the line")])
        except CutawayError as error:
            note(str(error))
