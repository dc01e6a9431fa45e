"""Data of a fine-tuning run: the contents of its files, tokenized and split."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.checkpoints.directory import CHAT_TEMPLATE_FILE, TASK
from cutaway.data.batches import BatchSource, Rows, Windows, padded_batches
from cutaway.data.chat import CHAT_TEMPLATE
from cutaway.data.dataset import Split
from cutaway.data.examples import ExampleSet, make_examples
from cutaway.data.records import AnyRecord, Record, Turn, read_records, split_records, take_share
from cutaway.data.sources import is_plain_text
from cutaway.errors import UsageError
from cutaway.layout import counted
from cutaway.tasks import Task, TaskEncoder, open_task
from cutaway.tasks.records import TaskRecord, read_task_records
from cutaway.tokenizer.codec import Codec
from cutaway.training.finetune_config import FineTuneConfig
from cutaway.training.held_out import SamplePrompt, Validation, text_prompt
from cutaway.training.task_corpus import example_prompt
from cutaway.untrusted import quote_path

SAMPLES = 3


@dataclass(frozen=True)
class Material:
    """Data of a run: batches, held-out examples, and prompts for samples.

    `texts` are the token ids to train on, `digest` the SHA-256 of the files. `is_chat` is True for conversations.
    """

    source: BatchSource
    valid: ExampleSet | None
    texts: Sequence[NDArray[np.integer]]
    prompts: Sequence[SamplePrompt]
    rows_per_epoch: float
    tokens_per_row: float
    bytes_per_token: float
    digest: str
    summary: str
    task: Task | None = None
    is_chat: bool = False

    @property
    def side_files(self) -> dict[str, str]:
        """Side files by name, which describe what a model learns from this (see `save_checkpoint`)."""
        texts = {TASK: self.task.toml} if self.task else {}
        return texts | ({CHAT_TEMPLATE_FILE: CHAT_TEMPLATE} if self.is_chat else {})

    def validation(self, n_tokens: int) -> list[Validation]:
        """Return the held-out examples, if any, with at most `n_tokens` learned tokens."""
        if self.valid is None:
            return []
        batches = padded_batches(self.valid.examples, n_tokens)
        return [Validation(lambda n_ctx: batches, self.valid.n_bytes / self.valid.n_learned)]

    def rows_per_evaluation(self, n_tokens: int) -> float:
        """Return how many training rows have as many tokens as `validation(n_tokens)`."""
        batches = [batch for part in self.validation(n_tokens) for batch in part.windows(0)]
        return sum(batch.inputs.size for batch in batches) / self.tokens_per_row

    def frequent(self, n_vocab: int, count: int) -> torch.Tensor:
        """Return the ids of the most frequent tokens, (count,) at most."""
        counts = sum(np.bincount(text, minlength=n_vocab) for text in self.texts)
        return torch.from_numpy(np.argsort(-np.asarray(counts), kind="stable")[:count].copy())


def open_material(config: FineTuneConfig, codec: Codec, n_ctx: int) -> Material:
    """Read, split and tokenize the files of a run. Raises UsageError, naming file and line, if one is invalid.

    >>> from tempfile import TemporaryDirectory
    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "robots.jsonl"
    ...     _ = path.write_text('{"text": "A robot must obey."}\\n{"text": "A robot must serve."}\\n')
    ...     open_material(FineTuneConfig(data=str(path), valid="50%"), Tokenizer.gpt2(), n_ctx=16).summary
    '6 tokens to learn in 1 example, 1 to validate on'
    """
    if config.task:
        return _open_task_material(config, codec, n_ctx)
    path = Path(config.data).expanduser()
    records = read_records(path)
    train, held, n_both = _divide(config, records, read_records)
    valid = make_examples(held, codec, n_ctx) if held else None
    digest = hashlib.sha256(b"".join(record.digest for record in (*train, *held))).hexdigest()
    is_text = is_plain_text(path)
    if is_text:
        train = join_neighbours(records, {record.digest for record in train})
    made = make_examples(train, codec, n_ctx)
    source, texts, rows = _source(train, made, codec, n_ctx, config.seed, is_text=is_text)
    prompts = [turn.prompt for record in (*held, *train) for turn in record.turns if turn.prompt][:SAMPLES]
    if config.sample_prompt is not None:
        prompts = [config.sample_prompt]
    return Material(
        source,
        valid,
        texts,
        [text_prompt(shorten(prompt, codec, n_ctx // 2), codec) for prompt in prompts or [""]],
        rows,
        sum(len(example.ids) for example in made.examples) / rows,
        made.n_bytes / made.n_learned,
        digest,
        _summary(made, valid, n_both, "left"),
        is_chat=any(record.is_conversation for record in train),
    )


def _divide(
    config: FineTuneConfig, records: list[AnyRecord], read: Callable[[Path], list[AnyRecord]]
) -> tuple[list[AnyRecord], list[AnyRecord], int]:
    """Return the training records, the held-out records, and how many held-out records are also in the training data.

    Raises UsageError if all held-out records are.
    """
    share = config.valid_share
    if share is not None:
        train, held = split_records(records, share)
        return take_share(train, config.share), held, 0
    path = Path(config.valid).expanduser()
    held = read(path)
    digests = {record.digest for record in records}
    n_both = sum(record.digest in digests for record in held)
    if n_both == len(held):
        raise UsageError(
            f"{quote_path(Path(config.valid))}: every example in it is in {quote_path(Path(config.data).expanduser())} "
            "too: validate on other examples, or hold out a share of these with --valid 5%"
        )
    return take_share(records, config.share), held, n_both


def _open_task_material(config: FineTuneConfig, codec: Codec, n_ctx: int) -> Material:
    """Read, split and encode the records of a task."""
    task = open_task(config.task)
    encoder = TaskEncoder(task, codec, n_ctx)

    def read(path: Path) -> list[TaskRecord]:
        return read_task_records(path, task)

    train, held, n_both = _divide(config, read(Path(config.data).expanduser()), read)
    made = encoder.encode_all(train)
    valid = encoder.encode_all(held) if held else None
    return Material(
        Rows(made.examples, config.seed, pad=codec.eos or 0),
        valid,
        made.texts,
        [example_prompt(example, codec) for example in (valid or made).examples[:SAMPLES]],
        len(made.examples),
        sum(len(example.ids) for example in made.examples) / len(made.examples),
        made.n_bytes / made.n_learned,
        hashlib.sha256(b"".join([task.toml.encode(), *(record.digest for record in (*train, *held))])).hexdigest(),
        _summary(made, valid, n_both, task.truncation.side),
        task,
    )


def _summary(made: ExampleSet, valid: ExampleSet | None, n_both: int, side: str) -> str:
    sets = [made] if valid is None else [made, valid]
    n_valid = 0 if valid is None else len(valid.examples)
    examples = counted(len(made.examples), "example")
    summary = f"{counted(made.n_learned, 'token')} to learn in {examples}, {n_valid:,} to validate on"
    if n_both:
        summary += f"; {n_both:,} of those to validate on are to be trained on too"
    if truncated := sum(each.n_truncated for each in sets):
        summary += f"; {counted(truncated, 'prompt')} truncated on the {side} to fit"
    if literals := sum(each.n_literals for each in sets):
        summary += f"; control tokens occur by name in the texts, {counted(literals, 'time')}, as plain text"
    return summary


def shorten(prompt: str, codec: Codec, n_tokens: int) -> str:
    """Truncate a prompt on the left to at most `n_tokens` tokens.

    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> shorten("A robot must obey", Tokenizer.gpt2(), 2)
    ' must obey'
    """
    ids = codec.encode(prompt)
    return prompt if len(ids) <= n_tokens else codec.decode(ids[-n_tokens:])


def join_neighbours(records: Sequence[Record], chosen: set[bytes]) -> list[Record]:
    """Join consecutive chosen blocks of a text into one document each.

    >>> blocks = [Record(f"text:{n}", (Turn("", str(n)),), is_document=True) for n in range(5)]
    >>> [record.turns[0].completion for record in join_neighbours(blocks, {blocks[n].digest for n in (0, 1, 3)})]
    ['01', '3']
    """
    joined: list[Record] = []
    open_ended = False
    for record in records:
        if record.digest not in chosen:
            open_ended = False
        elif open_ended:
            last = joined.pop()
            text = last.turns[0].completion + record.turns[0].completion
            joined.append(Record(last.place, (Turn("", text),), is_document=True))
        else:
            joined.append(record)
            open_ended = True
    return joined


def _source(
    records: Sequence[Record], made: ExampleSet, codec: Codec, n_ctx: int, seed: int, *, is_text: bool
) -> tuple[BatchSource, Sequence[NDArray[np.integer]], float]:
    """Return the batches, the texts and the rows per epoch: windows of a text if it is long enough, else examples."""
    if is_text and made.n_learned > 4 * n_ctx:
        bos = [] if codec.bos is None else [codec.bos]
        documents = [[*bos, *codec.encode(record.turns[0].completion)] for record in records]
        split = Split.from_documents(documents)
        return Windows([split], [1.0], seed), [np.array(ids) for ids in documents], split.n_tokens / n_ctx
    rows = Rows(made.examples, seed, pad=0 if codec.eos is None else codec.eos)
    return rows, made.texts, len(made.examples)
