"""Finished corpora: preparing one again returns it unchanged; it is never replaced by another."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from cutaway.data.dataset import open_dataset
from cutaway.data.manifest import MANIFEST, Manifest, Source
from cutaway.data.writer import CorpusPlan, describe_options, describe_sources, describe_tokenizer
from cutaway.errors import UsageError
from cutaway.tokenizer.codec import TokenCodec
from cutaway.untrusted import quote, quote_path


def find_finished(directory: Path, codec: TokenCodec, name: str, plan: CorpusPlan) -> Manifest | None:
    """Return the manifest of the corpus if this preparation has already finished; None if the directory has none.

    Raises UsageError if the directory holds a different corpus, naming what differs, or a damaged one. Sources are
    compared by path and size, and must not have been modified after the manifest.

    >>> from cutaway.data.inputs import Inputs
    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> plan = Inputs((), valid_share=0.0, field="text", block_bytes=100, part_bytes=100)
    >>> find_finished(Path("nowhere"), Tokenizer.gpt2(), "gpt2", plan) is None
    True
    """
    if not (directory / MANIFEST).exists():
        return None
    place = quote_path(directory)
    dataset = open_dataset(directory)
    with TemporaryDirectory() as scratch:
        codec.write(Path(scratch))
        tokenizer = describe_tokenizer(codec, name, Path(scratch))
    there = dataset.manifest
    different = [
        *_different_tokenizers(there.tokenizer.name, name, same=there.tokenizer.sha256 == tokenizer.sha256),
        *_different_options(there.options, describe_options(plan)),
        *_different_sources(there.sources, describe_sources(plan)),
    ]
    if not different:
        written = (directory / MANIFEST).stat().st_mtime_ns
        changed = [source.path for source in plan.sources if source.path.stat().st_mtime_ns > written]
        different = [f"{quote_path(path)} changed since" for path in changed[:1]]
    if different:
        raise UsageError(
            f"{place}: holds another corpus already ({', '.join(different)}); choose another --out, or remove it"
        )
    for split in there.splits:
        dataset.split(split)  # raises UsageError if a shard is missing
    return there


def _different_tokenizers(there: str, asked: str, *, same: bool) -> Iterator[str]:
    if not same:
        yield f"tokenizer {quote(asked)} instead of {quote(there)}" if asked != there else "another tokenizer"


def _different_options(there: Mapping[str, object], asked: Mapping[str, object]) -> Iterator[str]:
    """Describe the options that differ between corpora of the same kind; an old corpus may not record its options."""
    if not there:
        yield "its options are not recorded"
    elif there.keys() == asked.keys():
        different = [name for name in asked if there[name] != asked[name]]
        yield from (f"{_option(name, asked[name])} instead of {_option(name, there[name])}" for name in different)


def _option(name: str, value: object) -> str:
    if name == "valid_share" and isinstance(value, int | float):
        return f"valid {100 * value:g}%"
    return f"{name} {value if isinstance(value, int) else quote(value)}"


def _different_sources(there: tuple[Source, ...], asked: tuple[Source, ...]) -> Iterator[str]:
    """Describe the first source that differs."""
    others = [f"{quote(source.path)} is new or changed" for source in asked if source not in there]
    left = [f"{quote(source.path)} is missing or changed" for source in there if source not in asked]
    order = [] if there == asked else ["the files are in another order"]
    yield from [*others, *left, *order][:1]
