"""`cutaway next`: the most likely next tokens, the article's GPT-2 Explorer in a terminal."""

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING

from cutaway.cli.arguments import add_json, add_model, add_prompt, write_json
from cutaway.cli.loading import describe, load_model
from cutaway.cli.reading import read_prompt, special_ids

if TYPE_CHECKING:
    from cutaway.model import Candidate, Model, Prompt

EXAMPLES = """\
examples:
  cutaway next "A robot must obey the orders given"
  cutaway next "Joel is" -k 3 --json"""

BAR_COLUMNS = 30


def add_arguments(parser: ArgumentParser) -> None:
    """Add the prompt, the number of tokens, the output format and the model."""
    parser.description = "Show the most likely next tokens."
    parser.epilog = EXAMPLES
    add_prompt(parser)
    parser.add_argument("-k", type=int, default=10, metavar="K", help="number of tokens; default: %(default)s")
    add_json(parser)
    add_model(parser)


def run(options: Namespace) -> None:
    """Print the candidates."""
    given = read_prompt(options)
    model = load_model(options)
    prompt = special_ids(model, options, given)
    candidates = model.next_tokens(prompt, options.k)
    if options.json:
        write_json(_document(model, prompt, candidates))
    else:
        print("\n".join(_chart(model, candidates)))


def _document(model: "Model", prompt: "Prompt", candidates: "list[Candidate]") -> dict[str, object]:
    found = [asdict(candidate) for candidate in candidates]
    return {**describe(model), "prompt_ids": model.prompt_ids(prompt), "next": found}


def _chart(model: "Model", candidates: "list[Candidate]") -> list[str]:
    """Return a line for each candidate; the bar of the most likely one is full."""
    from cutaway.layout import bar, percent, table

    label = model.codec.label if model.codec else lambda index: ""
    longest = candidates[0].probability
    rows = [
        [percent(c.probability), bar(c.probability / longest, BAR_COLUMNS), f"{c.id}", label(c.id)] for c in candidates
    ]
    return table(rows, "><><")
