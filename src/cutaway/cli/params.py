"""`cutaway params`: count a model's parameters by tensor, beside the article's counts for the smallest GPT-2."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict, replace

from cutaway.cli.arguments import SOURCES, add_json, write_json
from cutaway.cli.loading import find_config
from cutaway.cli.terminal import YELLOW, columns, safe, style
from cutaway.layout import table, wrap
from cutaway.parameters import ParameterTable, Row, notes, parameter_table

EXAMPLES = """\
examples:
  cutaway params gpt2
  cutaway params builtin --json"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the model."""
    parser.description = "Count a model's parameters, tensor by tensor; OpenAI's four need no files."
    parser.epilog = EXAMPLES
    parser.add_argument("model", nargs="?", default="builtin", metavar="NAME", help=f"{SOURCES}; default: %(default)s")
    add_json(parser)


def run(options: Namespace) -> None:
    """Print the table."""
    name, config = find_config(options.model)
    counted = parameter_table(config)
    if options.json:
        write_json(_document(name, counted))
    else:
        print("\n".join(_page(name, counted)))


def _document(name: str, counted: ParameterTable) -> dict[str, object]:
    def tensor(row: Row, copies: int = 1) -> dict[str, object]:
        article = {"article": row.article} if counted.matches_article else {}
        return {"tensor": row.tensor, "shape": row.shape, "parameters": row.parameters, "copies": copies, **article}

    return {
        "model": name,
        "config": asdict(counted.config),
        "parameters": counted.parameters,
        "block_parameters": counted.block_parameters,
        "article_parameters": counted.article_parameters if counted.matches_article else None,
        "tensors": [
            *map(tensor, counted.embeddings),
            *(tensor(row, counted.config.n_layer) for row in counted.block),
            *map(tensor, counted.final),
        ],
        "notes": notes(counted),
    }


def _page(name: str, counted: ParameterTable) -> Iterator[str]:
    config = counted.config
    yield (
        f"{safe(name)}: {config.n_layer} blocks, width {config.n_embd:,}, {config.n_head} heads, "
        f"context {config.n_ctx:,}, vocabulary {config.n_vocab:,}"
    )
    yield ""
    cells = list(_cells(counted))
    yield from table(cells, "<<>><" if counted.matches_article else "<<>")
    for paragraph in notes(counted):
        yield ""
        yield from wrap(paragraph.split(), columns())


def _cells(counted: ParameterTable) -> Iterator[list[str]]:
    """List the cells of the table, with the article's counts where they apply and a mark where they differ."""

    def line(label: str, shape: tuple[int, ...], ours: int, articles: int) -> list[str]:
        cells = [label, " × ".join(f"{n:,}" for n in shape), f"{ours:,}"]
        if not counted.matches_article:
            return cells
        mark = "" if articles == ours else style("←", YELLOW, sys.stdout)
        return [*cells, f"{articles:,}" if articles else "-", mark]

    def tensor(row: Row) -> list[str]:
        return line(row.tensor, row.shape, row.parameters, row.article)

    yield ["tensor", "shape", "parameters", *(["the article", ""] if counted.matches_article else [])]
    yield from map(tensor, counted.embeddings)
    yield from (tensor(replace(row, tensor=f"h.*.{row.tensor}")) for row in counted.block)
    yield line("one block", (), counted.block_parameters, counted.article_block)
    yield line(f"all {counted.config.n_layer} blocks", (), counted.blocks_parameters, counted.article_blocks)
    yield from map(tensor, counted.final)
    yield line("total", (), counted.parameters, counted.article_parameters)
