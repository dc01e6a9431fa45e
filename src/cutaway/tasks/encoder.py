"""Encoding: convert the fields of an example to token ids, for a model's tokenizer and context."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import numpy as np

from cutaway.data.examples import Example, ExampleSet
from cutaway.errors import UsageError
from cutaway.tasks.records import TaskRecord
from cutaway.tasks.task import Task
from cutaway.tasks.template import Control, Field, Part
from cutaway.tokenizer.codec import Codec
from cutaway.tokenizer.joining import decode_by
from cutaway.tokenizer.vocabulary import END_OF_TEXT
from cutaway.untrusted import quote


class TaskEncoder:
    """Encodes examples of a task for one tokenizer, in contexts of `n_ctx` tokens.

    The ids of a prompt are exactly the first ids of its example. Raises UsageError if the tokenizer lacks a control
    token of the task.

    >>> from cutaway.tasks.sources import open_task
    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> encoder = TaskEncoder(open_task("reverse"), Tokenizer.gpt2(), n_ctx=32)
    >>> example = encoder.encode({"source": "a b c", "target": "c b a"})
    >>> example.ids.tolist(), example.n_prefix
    ([64, 275, 269, 198, 66, 275, 257, 50256], 4)
    >>> encoder.prompt({"source": "a b c"})
    [64, 275, 269, 198]
    """

    def __init__(self, task: Task, codec: Codec, n_ctx: int) -> None:
        self.task = task
        self.codec = codec
        self.n_ctx = n_ctx
        self._controls = {name: _control_id(name, codec, task.name) for name in task.controls}
        names = [part.name if isinstance(part, Field) else "" for part in task.parts]
        start = names.index(task.target)
        self._before = task.parts[:start]
        self._after = task.parts[start:]
        self.room = max(1, int(n_ctx * (1 - task.truncation.target_share)))  # tokens for a prompt

    def prompt(self, fields: Mapping[str, str]) -> list[int]:
        """Return the ids before the target, at most `room`; the task's `truncation.field` is truncated to fit.

        Raises UsageError for a missing field, an unknown choice, or if the other parts alone are too long.
        """
        return self.prompt_and_count(fields)[0]

    def prompt_and_count(self, fields: Mapping[str, str]) -> tuple[list[int], int]:
        """Return the ids of `prompt` and the number of truncated tokens."""
        parts = [self._ids(part, fields) for part in self._before]
        excess = sum(map(len, parts)) - self.room
        if excess <= 0:
            return [token for ids in parts for token in ids], 0
        truncation = self.task.truncation
        names = [part.name if isinstance(part, Field) else "" for part in self._before]
        place = names.index(truncation.field)
        kept = len(parts[place]) - excess
        if kept < 1:
            raise UsageError(
                f"a context of {self.n_ctx} is too short: of a prompt {self.room} tokens fit, and "
                f"{self.room - kept} are needed beside its {truncation.field}"
            )
        parts[place] = parts[place][:kept] if truncation.side == "right" else parts[place][-kept:]
        return [token for ids in parts for token in ids], excess

    def n_prefix(self, prompt: list[int]) -> int:
        """Return how many of a prompt's tokens attend to each other: all, or 0 with causal attention."""
        return len(prompt) if self.task.attention == "prefix" else 0

    def find_prefix(self, ids: Sequence[int]) -> int:
        """Return how many ids attend to each other: those up to the start of the target (see `find_target`).

        All ids, if the target has not begun; 0 with causal attention.

        >>> from cutaway.tasks.sources import open_task
        >>> from cutaway.tokenizer.fast import Tokenizer
        >>> encoder = TaskEncoder(open_task("reverse"), Tokenizer.gpt2(), n_ctx=32)
        >>> encoder.find_prefix([64, 275, 269, 198, 66, 275]), encoder.find_prefix([64, 275])
        (4, 2)
        """
        return 0 if self.task.attention == "causal" else self.find_target(ids)

    def find_target(self, ids: Sequence[int]) -> int:
        """Return the index at which the target begins: after the first mark that precedes targets, or len(ids) if none.

        >>> from cutaway.tasks.sources import open_task
        >>> from cutaway.tokenizer.fast import Tokenizer
        >>> TaskEncoder(open_task("reverse"), Tokenizer.gpt2(), n_ctx=32).find_target([64, 275, 269, 198, 66, 275])
        4
        """
        last = self._before[-1]
        ids = list(ids)
        marks = self._marks(last)
        for end in range(len(ids) + 1):  # a mark at index 0 belongs to another part
            if any(ids[end - len(mark) : end] == mark for mark in marks if len(mark) < end):
                return end
        return len(ids)

    def parse_prompt(self, ids: Sequence[int]) -> dict[str, str] | None:
        """Return the fields of a prompt with one text field, inverting `prompt`; None if `ids` are not a prompt.

        >>> from cutaway.tasks.sources import open_task
        >>> from cutaway.tokenizer.fast import Tokenizer
        >>> encoder = TaskEncoder(open_task("reverse"), Tokenizer.gpt2(), n_ctx=32)
        >>> encoder.parse_prompt([64, 275, 269, 198]), encoder.parse_prompt([64, 275, 269])
        ({'source': 'a b c'}, None)
        """
        texts = [part for part in self._before if isinstance(part, Field)]
        if len(texts) != 1:
            return None
        [text] = texts
        place = self._before.index(text)
        names = list(dict.fromkeys(part.choice for part in self._before if isinstance(part, Control) and part.choice))
        for values in product(*(self.task.choices[name] for name in names)):
            fields = dict(zip(names, values, strict=True))
            head = [token for part in self._before[:place] for token in self._ids(part, fields)]
            tail = [token for part in self._before[place + 1 :] for token in self._ids(part, fields)]
            end = len(ids) - len(tail)
            if end > len(head) and list(ids) == [*head, *ids[len(head) : end], *tail]:
                source = decode_by(self.codec.stream(), ids[len(head) : end])
                return {**fields, text.name: source.removeprefix(" ") if text.after_space else source}
        return None

    def _marks(self, part: Part) -> list[list[int]]:
        """Return the possible ids of a part before the target; none for a field, whose text is arbitrary."""
        if isinstance(part, Control):
            return [[self._controls[part.named(value)]] for value in self.task.choices.get(part.choice, ("",))]
        return [] if isinstance(part, Field) else [self.codec.encode(part.text)]

    def encode(self, fields: Mapping[str, str]) -> Example:
        """Encode an example.

        Raises UsageError as `prompt` does, or if the target does not fit the context, or if there is nothing to learn.
        """
        return self.encode_and_count(fields)[0]

    def encode_and_count(self, fields: Mapping[str, str]) -> tuple[Example, int]:
        """Encode an example; return it and the number of tokens truncated from its prompt."""
        prompt, cut = self.prompt_and_count(fields)
        completion = [token for part in self._after for token in self._ids(part, fields)]
        if not completion:
            raise UsageError(f"nothing to learn: the {self.task.target} is empty, and no token ends it")
        ids = np.array([*prompt, *completion], np.int64)
        if len(ids) > self.n_ctx + 1:
            raise UsageError(
                f"the {self.task.target} has {len(completion)} tokens with its end, and {self.n_ctx + 1 - len(prompt)} "
                f"fit a context of {self.n_ctx}; it is never cut, so shorten it"
            )
        first = len(prompt) if self.task.learn == "completion" else 1
        return Example(ids, np.arange(len(ids)) >= first, self.n_prefix(prompt)), cut

    def decode(self, ids: Iterable[int]) -> str:
        """Decode generated ids up to the end token; ids that the tokenizer does not know have no text."""
        [target] = [part for part in self._after if isinstance(part, Field) and part.name == self.task.target]
        text = decode_by(self.codec.stream(), ids)
        return text.removeprefix(" ") if target.after_space else text

    def encode_all(self, records: Iterable[TaskRecord]) -> ExampleSet:
        """Encode records. Raises UsageError, beginning with the place of the record, if one cannot be encoded.

        >>> from cutaway.tasks.sources import open_task
        >>> from cutaway.tokenizer.fast import Tokenizer
        >>> encoder = TaskEncoder(open_task("reverse"), Tokenizer.gpt2(), n_ctx=32)
        >>> encoder.encode_all([TaskRecord("a.jsonl:1", {"source": "a b c", "target": "c b a"})]).n_learned
        4
        """
        examples: list[Example] = []
        n_truncated = 0
        n_literals = 0
        n_bytes = 0
        for record in records:
            try:
                example, cut = self.encode_and_count(record.fields)
            except UsageError as error:
                raise UsageError(f"{record.place}: {error}") from None
            examples.append(example)
            n_truncated += cut > 0
            n_literals += sum(text.count(name) for text in record.fields.values() for name in self._controls)
            n_bytes += len(record.fields[self.task.target].encode(errors="replace"))
        return ExampleSet(examples, [example.ids for example in examples], n_truncated, n_literals, n_bytes)

    def _ids(self, part: Part, fields: Mapping[str, str]) -> list[int]:
        if isinstance(part, Control):
            return [self._controls[part.named(self._choice(part.choice, fields))]]
        if isinstance(part, Field):
            text = _field(fields, part.name)
            return self.codec.encode(f" {text}" if part.after_space else text)
        return self.codec.encode(part.text)

    def _choice(self, name: str, fields: Mapping[str, str]) -> str:
        if not name:
            return ""
        value = _field(fields, name)
        values = self.task.choices[name]
        if value not in values:
            raise UsageError(f"{name} must be {' or '.join(values)}, not {quote(value)}")
        return value


def _field(fields: Mapping[str, str], name: str) -> str:
    if name not in fields:
        raise UsageError(f"missing field {name!r}")
    return fields[name]


def find_control(name: str, codec: Codec) -> int | None:
    """Return the id of a control token; None if there is none. `<|endoftext|>` is the tokenizer's own end token.

    >>> from cutaway.tokenizer.fast import Tokenizer
    >>> find_control("<|endoftext|>", Tokenizer.gpt2()), find_control("<|en|>", Tokenizer.gpt2())
    (50256, None)
    """
    if name == END_OF_TEXT and codec.eos is not None:
        return codec.eos
    ids = codec.encode(name, allow_special=True)
    is_control = len(ids) == 1 and codec.token_bytes(ids[0]) == name.encode() and codec.encode(name) != ids
    return ids[0] if is_control else None


def _control_id(name: str, codec: Codec, task: str) -> int:
    found = find_control(name, codec)
    if found is None:
        raise UsageError(
            f"the tokenizer has no control token {name}, which the task {task} needs: {_remedy(name, task)}"
        )
    return found


def _remedy(name: str, task: str) -> str:
    """Say how to get a tokenizer with a control token. `<|endoftext|>` is a role, which no other token can take."""
    if name == END_OF_TEXT:
        return "name its own end of text, eos_token in tokenizer_config.json"
    return (
        f'train one with `cutaway tokenizer train --control "{name}"` and give it as --tokenizer, or add it to a model '
        f"with `cutaway finetune --task {task}`"
    )
