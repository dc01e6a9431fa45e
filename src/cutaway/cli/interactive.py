"""`cutaway generate --interactive`: prompt for one text after the other."""

import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping

from cutaway.cli import terminal
from cutaway.cli.loading import load_model
from cutaway.cli.reading import read_prompt, special_ids, typed_lines, utf8
from cutaway.cli.samples import print_samples
from cutaway.errors import CutawayError
from cutaway.model import Prompt

HELP = "A prompt and Enter; Enter alone continues the last text; Ctrl-C stops a text, Ctrl-D ends."


def converse(options: Namespace, overrides: Mapping[str, object]) -> None:
    """Continue the prompt in the arguments, if any, then each line of standard input; an error ends one text only."""
    model = load_model(options)
    config = model.generation_config.replace(**overrides)
    seed = config.pick_seed()
    written: list[int] = []  # the last text, with its prompt
    for prompt in _prompts(options):
        try:
            text = utf8(prompt, "the line") if isinstance(prompt, str) else prompt
            checked = special_ids(model, options, text)
            print_samples(
                model,
                checked or written,
                config.replace(seed=seed),
                options.samples,
                flush=options.stream,
                written=written,
            )
        except CutawayError as error:
            terminal.note(str(error))
        except KeyboardInterrupt:
            print(file=sys.stderr)
        seed += options.samples


def _prompts(options: Namespace) -> Iterator[Prompt]:
    if options.prompt or options.file or options.ids:
        yield read_prompt(options)
    yield from typed_lines(HELP)
