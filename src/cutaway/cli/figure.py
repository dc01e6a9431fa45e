"""`cutaway figure`: one of the article's figures, computed from the loaded model, or the list of them all."""

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING

from cutaway.cli.arguments import add_json, add_model, write_json
from cutaway.cli.loading import describe, load_model
from cutaway.cli.reading import utf8
from cutaway.cli.terminal import columns, safe
from cutaway.cli.view import add_view, view_ids, view_selection
from cutaway.errors import UsageError
from cutaway.layout import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cutaway.figures import Check, Figure
    from cutaway.trace import Trace

STATUS_ZH = {"live": "实时", "drawn": "示意"}

EXAMPLES = """\
examples:
  cutaway figure --list
  cutaway figure F40 --layer 5 --head 5
  cutaway figure F22 --text "It fell" --format svg > it.svg
  cutaway figure F55 --language zh
  cutaway figure F60 --fields '{"from": "en", "to": "de", "source": "Run!"}'"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the figure, the text, the layer, head and token, and the output format."""
    parser.description = "Draw one of the article's figures with the numbers of a model, and check what it\nclaims."
    parser.epilog = EXAMPLES
    parser.add_argument("figure", nargs="?", metavar="FIGURE", help="F01 to F66 or T1 to T5")
    parser.add_argument("--list", action="store_true", help="list all figures and check each on the model")
    add_view(parser)
    example = "an example of the model's task, instead of a text; without a target, the model writes one"
    parser.add_argument("--fields", metavar="JSON", help=example)
    parser.add_argument("--language", choices=("en", "zh"), default="en", help="default: %(default)s")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--format", choices=("text", "json", "svg"), default="text", help="default: %(default)s")
    add_json(form)
    add_model(parser)


def run(options: Namespace) -> None:
    """Draw the figure, or list all."""
    from cutaway.figures import draw

    if bool(options.figure) == options.list:
        raise UsageError("name one figure, such as F40, or ask for --list")
    if options.list and options.format == "svg":
        raise UsageError("the list has no picture; ask for it as text or json")
    fields = _read_fields(options)
    model = load_model(options)
    trace = model.trace(view_ids(model, options)) if fields is None else model.trace_example(fields)
    if options.list:
        _list(trace, options)
        return
    drawn = draw(trace, options.figure, layer=options.layer, head=options.head, position=options.position)
    if options.json or options.format == "json":
        write_json({**describe(model), **drawn.document()})
    elif options.format == "svg":
        print(drawn.svg(options.language), end="")
    else:
        print(safe(drawn.text(options.language, columns())))


def _read_fields(options: Namespace) -> "Mapping[str, str] | None":
    """Read the object of `--fields`. Raises UsageError for any other value, and if a text is given too."""
    from cutaway.data.json_lines import parse_json_line

    if options.fields is None:
        return None
    if options.text is not None or options.ids:
        raise UsageError("give --fields, or a text")
    value = parse_json_line(utf8(options.fields, "--fields").encode(), "--fields")
    fields = {name: text for name, text in value.items() if isinstance(text, str)}
    if len(fields) < len(value):
        raise UsageError("--fields: all values must be text")
    return fields


def _list(trace: "Trace", options: Namespace) -> None:
    from cutaway.figures import all_figures, check_figure

    chosen = view_selection(options)
    listed = [(figure, check_figure(figure, trace, chosen)) for figure in all_figures().values()]
    if options.json or options.format == "json":
        write_json([_row(*each) for each in listed])
    else:
        print("\n".join(_lines(listed, options.language)))


def _row(figure: "Figure", check: "Check | None") -> dict[str, object]:
    return {
        "id": figure.id,
        "status": figure.status,
        "ok": check.ok if check else None,
        "title": asdict(figure.title),
        "part": figure.part,
        "picture": figure.picture,
        "check": {"en": check.statement.en, "zh": check.statement.zh} if check else None,
    }


def _lines(listed: "Sequence[tuple[Figure, Check | None]]", language: str) -> list[str]:
    """Yield a line for each figure, the measurement if a claim does not hold, and how many figures are live."""
    from cutaway.figures.panels import localize

    rows = []
    failures = []
    for figure, check in listed:
        mark = "" if check is None else "✓" if check.ok else "✗"
        status = STATUS_ZH[figure.status] if language == "zh" else figure.status
        rows.append([mark, figure.id, status, localize(figure.title, language)])
        if check and not check.ok:
            failures.append(f"✗ {figure.id}  {check.statement.text(language)}")
    live = sum(figure.status == "live" for figure, _ in listed)
    count = f"{len(listed)} 幅图，其中 {live} 幅实时计算" if language == "zh" else f"{live} of {len(listed)} live"
    return [*table(rows, "<<<<"), "", *failures, count]
