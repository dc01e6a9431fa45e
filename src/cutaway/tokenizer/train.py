"""Training a byte-level BPE tokenizer that splits text as GPT-2's does."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.checks import check_int
from cutaway.errors import CutawayError, UsageError
from cutaway.tokenizer.bpe import byte_symbols
from cutaway.tokenizer.files import TokenizerFiles
from cutaway.tokenizer.vocabulary import END_OF_TEXT, Vocabulary
from cutaway.untrusted import quote

if TYPE_CHECKING:
    from tokenizers import Tokenizer as FastTokenizer

MIN_VOCAB = 257  # the bytes and <|endoftext|>
MIN_FREQUENCY = 2  # of a pair that is merged
_CONTROL = re.compile(r"<\|[^|<>\s]+\|>")


def train_vocabulary(texts: Iterable[str], n_vocab: int, control: Sequence[str] = ()) -> Vocabulary:
    """Learn merges from texts until there are n_vocab tokens: 256 bytes, the merges, and `<|endoftext|>` as the last.

    `control` names further control tokens, which come before it; they are found in a text only with `allow_special`.
    Only the words and their counts are held in memory. A text may be passed in pieces that are cut before white space.
    Raises UsageError if there is too little text for so many tokens.

    >>> vocabulary = train_vocabulary(["low lower lowest", " low lower"], 260)
    >>> vocabulary.merges, vocabulary.end_of_text
    ([('l', 'o'), ('lo', 'w'), ('Ġ', 'low')], 259)
    """
    from tokenizers import Tokenizer as FastTokenizer
    from tokenizers import models, pre_tokenizers, trainers

    check_int("vocab_size", n_vocab, MIN_VOCAB + len(control))
    n_merged = n_vocab - 1 - len(control)
    for name in control:
        if not _CONTROL.fullmatch(name) or name == END_OF_TEXT or control.count(name) > 1:
            raise UsageError(f"a control token must be named once, as in <|name|>, not {quote(name)}")
    symbols = list(byte_symbols().values())
    fast = FastTokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=n_merged, min_frequency=MIN_FREQUENCY, initial_alphabet=symbols, show_progress=False
    )
    given = _Given(texts)
    fast.train_from_iterator(given, trainer)
    if given.error is not None:
        raise given.error
    model = json.loads(fast.to_str())["model"]
    ids: dict[str, int] = model["vocab"]
    if len(ids) < n_merged:
        there = len(ids) + n_vocab - n_merged
        raise UsageError(f"the text gives only {there} tokens, not {n_vocab}: give more text, or --vocab-size {there}")
    merges = [(left, right) for left, right in model["merges"]]
    names = {name: n_merged + number for number, name in enumerate((*control, END_OF_TEXT))}
    return Vocabulary(ids, merges, names, n_vocab - 1)


class _Given:
    """Texts, and the error that reading them raised, which `tokenizers` would replace by another."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._texts
        except (CutawayError, OSError, MemoryError, KeyboardInterrupt) as error:
            self.error = error


def write_trained(vocabulary: Vocabulary, directory: Path) -> None:
    """Write a vocabulary as files for all libraries: those of `TokenizerFiles.of`, and `tokenizer.json` with
    `special_tokens_map.json`. Raises OSError if that fails.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     write_trained(train_vocabulary(["low lower lowest"], 259), Path(directory))
    ...     sorted(path.name for path in Path(directory).iterdir())
    ['merges.txt', 'special_tokens_map.json', 'tokenizer.json', 'tokenizer_config.json', 'vocab.json']
    """
    directory.mkdir(parents=True, exist_ok=True)
    TokenizerFiles.of(vocabulary).write(directory)
    special = json.dumps(dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT), indent=2)
    (directory / "special_tokens_map.json").write_text(special + "\n", encoding="utf-8")
    _fast(vocabulary).save(str(directory / "tokenizer.json"))


def _fast(vocabulary: Vocabulary) -> "FastTokenizer":
    from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
    from tokenizers import Tokenizer as FastTokenizer

    fast = FastTokenizer(models.BPE(vocabulary.ids | vocabulary.control, vocabulary.merges))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.post_processor = processors.ByteLevel(trim_offsets=False)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in vocabulary.control])
    return fast
