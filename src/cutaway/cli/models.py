"""`cutaway models`: list the built-in model, OpenAI's four under their names, and those in the hub's cache."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cutaway.cli.arguments import add_json, write_json
from cutaway.config import PUBLISHED, GPT2Config
from cutaway.errors import CheckpointError, HubError
from cutaway.layout import table

EXAMPLES = """\
examples:
  cutaway generate --model 124M "A robot must obey"
  cutaway models --json"""


@dataclass(frozen=True)
class Listed:
    """A model with the names it can be loaded by; `here` is true if it need not be downloaded."""

    names: tuple[str, ...]
    config: GPT2Config
    here: bool


def add_arguments(parser: ArgumentParser) -> None:
    """Declare --json."""
    parser.description = (
        "List the models that have names: the built-in ones, OpenAI's four, and those in\n"
        "the hub's cache. You can also load a directory, and any GPT-2 on the hub as\n"
        '"owner/name".'
    )
    parser.epilog = EXAMPLES
    add_json(parser)


def run(options: Namespace) -> None:
    """List the models."""
    listed = list(_find())
    if options.json:
        write_json({"models": [{**asdict(model), "parameters": model.config.n_params} for model in listed]})
    else:
        print("\n".join(_lines(listed)))


def _find() -> Iterator[Listed]:
    from cutaway.checkpoints.sources import BUILTIN_MODELS, open_source

    for name in BUILTIN_MODELS:
        with suppress(CheckpointError):  # a build without it
            yield Listed((name,), open_source(name).config, here=True)
    cached = dict(_cached())
    for model in PUBLISHED:
        homes = {model.name, f"openai-community/{model.name}"} & cached.keys()  # on the hub, old and new
        yield Listed((model.name, model.size, model.first_size), model.config, here=bool(homes))
        cached = {name: config for name, config in cached.items() if name not in homes}
    yield from (Listed((name,), config, here=True) for name, config in cached.items())


def _cached() -> Iterator[tuple[str, GPT2Config]]:
    """List the names and configurations of the GPT-2s in the cache of `huggingface_hub`."""
    from cutaway.checkpoints.config_json import read_config
    from cutaway.checkpoints.hub import check_hub

    check_hub()
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return
    except ValueError as error:  # it is not a directory
        raise HubError(" ".join(str(error).split())) from error
    for repository in sorted(repositories, key=lambda repository: repository.repo_id):
        for revision in repository.revisions:
            if _has_weights(revision.snapshot_path) and "main" in revision.refs:
                with suppress(CheckpointError):
                    yield repository.repo_id, read_config(revision.snapshot_path / "config.json").config


def _has_weights(directory: Path) -> bool:
    return any((directory / name).exists() for name in ("model.safetensors", "model.safetensors.index.json"))


def _lines(listed: list[Listed]) -> list[str]:
    rows = [["name", "parameters", "blocks", "width", "context", ""]]
    for model in listed:
        config = model.config
        numbers = [f"{n:,}" for n in (config.n_params, config.n_layer, config.n_embd, config.n_ctx)]
        rows.append([", ".join(model.names), *numbers, "here" if model.here else "to be fetched"])
    return table(rows, "<>>>><")
