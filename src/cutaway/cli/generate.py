"""`cutaway generate`: continue a text.

On a terminal, and with --stream in a pipe too, the text appears as it is generated. The last line, on standard error,
says how fast that was, and the seed that reproduces the text.
"""

from argparse import SUPPRESS, ArgumentParser, Namespace, _ArgumentGroup
from collections.abc import Mapping

from cutaway.cli.arguments import add_json, add_model, add_prompt, write_json
from cutaway.cli.loading import load_model
from cutaway.cli.model_command import command_of
from cutaway.cli.reading import read_prompt, special_ids, utf8
from cutaway.cli.terminal import note
from cutaway.errors import UsageError
from cutaway.generation.config import FIELDS, GenerationConfig

EXAMPLES = """\
examples:
  cutaway generate "A robot must obey" --seed 1
  cutaway generate "A robot must obey" --temperature 0 --max-new-tokens 40
  cutaway generate --file opening.txt -n 3 --json
  echo "A robot must obey" | cutaway generate --stream --stop .
  cutaway generate --interactive"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the prompt, the settings of `GenerationConfig`, the output format and the model."""
    parser.description = "Continue a text, token by token. Without a prompt, a new text begins."
    parser.epilog = EXAMPLES
    add_prompt(parser)
    parser.add_argument("--interactive", action="store_true", help="prompt for one text after the other")
    parser.add_argument(
        "--task", metavar="NAME", help="write targets of a task; the prompt is JSON Lines of its fields"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--stream", action="store_true", help="flush each chunk into a pipe too")
    add_json(output)
    add = add_sampling(parser, "sample").add_argument
    add("-n", "--samples", type=int, default=1, metavar="N", help="number of texts; default: %(default)s")
    add("--ignore-eos", action="store_true", help="generate past <|endoftext|>")
    add("--context-shift", action="store_true", help="on a full context, continue from its last half")
    add("--logprobs", action="store_true", help="a line for each token: id, log-probability in nats, text")
    add("--top-logprobs", type=int, metavar="N", help="add the N most likely tokens of each step to --json")
    add_model(parser)


def add_sampling(parser: ArgumentParser, unit: str) -> _ArgumentGroup:
    """Add a group of options for the fields of `GenerationConfig` that choose tokens and end a text, and return it.

    Options that are not given are missing in the namespace. `unit` names what is generated several times.
    """
    about = "a generation_config.json beside the model sets other defaults"
    group = parser.add_argument_group("generation", about, argument_default=SUPPRESS)
    add = group.add_argument
    add("--max-new-tokens", type=int, metavar="N", help="maximum length of a text; default: 100")
    add("--temperature", type=float, metavar="T", help="0: always the most likely token; default: 1.0")
    add("--top-k", type=int, metavar="K", help="sample from the K most likely tokens, 0: all; default: 40")
    nucleus = "nucleus sampling: keep the smallest set with probability >= P; default: 1.0"
    add("--top-p", type=float, metavar="P", help=nucleus)
    add("--repetition-penalty", type=float, metavar="R", help="above 1: repeat less; default: 1.0")
    add("--seed", type=int, metavar="N", help=f"random seed; {unit} i uses seed + i; default: random")
    add("--stop", action="append", metavar="TEXT", help="stop string, not part of the text; repeatable")
    return group


def read_overrides(options: Namespace) -> dict[str, object]:
    """Return the settings that the arguments give; raises UsageError for invalid ones, before a model is loaded."""
    overrides = {name: value for name, value in vars(options).items() if name in FIELDS}
    if "stop" in overrides:
        overrides["stop"] = [utf8(text, "--stop") for text in options.stop]
    GenerationConfig().replace(**overrides)
    return overrides


def run(options: Namespace) -> None:
    """Generate once, or run the interactive loop."""
    overrides = read_overrides(options)
    if options.task is not None:
        from cutaway.cli.targets import print_targets

        print_targets(options, overrides)
    elif options.interactive:
        _converse(options, overrides)
    else:
        _generate(options, overrides)


def _converse(options: Namespace, overrides: Mapping[str, object]) -> None:
    from cutaway.cli.interactive import converse

    if options.json:
        raise UsageError("--json is one document; --interactive cannot write one")
    converse(options, overrides)


def _generate(options: Namespace, overrides: Mapping[str, object]) -> None:
    from cutaway.cli.samples import print_samples, sample_document

    given = read_prompt(options)
    model = load_model(options)
    if model.task is not None and isinstance(given, str) and not options.special:
        use = command_of(options.model)
        note(f"{model.name} has learned the task {model.task.name}: {use} does it, and this only continues a text")
    prompt = special_ids(model, options, given)
    config = model.generation_config.replace(**overrides)
    if options.json:
        write_json(sample_document(model, prompt, config, options.samples))
    else:
        echo = options.prompt if options.prompt == given else ""
        print_samples(model, prompt, config, options.samples, flush=options.stream, echo=echo)
