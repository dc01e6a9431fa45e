"""Printing generated texts: on standard output as they are generated, or all in one JSON document."""

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict

from cutaway.cli.loading import describe
from cutaway.cli.terminal import BOLD, DIM, safe, style
from cutaway.evaluation.benchmark import ThroughputMeter
from cutaway.generation.config import GenerationConfig
from cutaway.generation.stream import Chunk, Completion, collect
from cutaway.model import Model, Prompt


def print_samples(
    model: Model,
    prompt: Prompt,
    config: GenerationConfig,
    samples: int,
    *,
    flush: bool = False,
    echo: str = "",
    written: list[int] | None = None,
) -> None:
    """Print the texts as they are generated, and a line about them on standard error.

    `flush` writes each chunk into a pipe at once, as on a terminal. `echo` is shown before each text, on a terminal
    only: a pipe gets the new text and nothing else. `written` gets the ids of the last text and its prompt as they are
    generated, so that they remain after Ctrl-C.
    """
    pace = ThroughputMeter()
    config = config.replace(seed=config.pick_seed())
    printer = TextPrinter(model, config, samples, flush)
    shown_prompt = style(safe(echo), BOLD, sys.stdout) if echo and sys.stdout.isatty() else ""
    prompt_ids = model.prompt_ids(prompt)
    written = [] if written is None else written
    try:
        for row, chunk in in_order(pace.watch(model.stream_batch([prompt], config, samples=samples)), samples):
            if row == printer.row + 1:
                printer.begin(shown_prompt)
                written[:] = prompt_ids
            written.extend(chunk.ids)
            printer.add(chunk)
    finally:
        printer.end_line()
    sys.stdout.flush()  # the text comes before the line about it, even if both streams are the same
    print(style(_summary(model, pace, printer), DIM, sys.stderr), file=sys.stderr)


def in_order(events: Iterator[tuple[int, Chunk]], samples: int) -> Iterator[tuple[int, Chunk]]:
    """Yield the chunks of the first text as they come, then those of the second, and so on, holding back later texts.

    >>> events = [(1, Chunk("b", finish_reason="stop")), (0, Chunk("a", finish_reason="stop"))]
    >>> [chunk.text for _, chunk in in_order(iter(events), 2)]
    ['a', 'b']
    """
    waiting: list[deque[Chunk]] = [deque() for _ in range(samples)]
    row = 0
    for early, chunk in events:
        waiting[early].append(chunk)
        while row < samples and waiting[row]:
            chunk = waiting[row].popleft()
            yield row, chunk
            row += chunk.finish_reason is not None


class TextPrinter:
    """Writes texts to standard output, each under a heading if there are several."""

    def __init__(self, model: Model, config: GenerationConfig, samples: int, flush: bool) -> None:
        self.seeds = range(config.pick_seed(), config.pick_seed() + samples)
        self.row = -1
        self.finish_reasons: list[str] = []
        self._label = model.codec.label if model.codec else lambda token: ""
        self._has_text = model.tokenizer is not None
        self._has_logprobs = config.logprobs
        self._to_terminal = sys.stdout.isatty()
        self._flushes = flush or self._to_terminal
        self._line_is_open = False

    def begin(self, prompt: str) -> None:
        """Begin the next text, after its prompt if that is shown; on a new line if each token has its own line."""
        self.row += 1
        self.end_line()
        if len(self.seeds) > 1:
            heading = f"--- {self.row + 1} of {len(self.seeds)}, seed {self.seeds[self.row]} ---"
            self._write(style(heading, DIM, sys.stdout) + "\n")
        self._write(prompt)
        if self._has_logprobs:
            self.end_line()

    def add(self, chunk: Chunk) -> None:
        """Write a chunk of the text that was begun last."""
        text = self._text(chunk)
        self._write(safe(text) if self._to_terminal else text)
        if chunk.finish_reason:
            self.finish_reasons.append(chunk.finish_reason)
        if self._flushes:
            sys.stdout.flush()

    def end_line(self) -> None:
        """Leave the cursor at the beginning of a line."""
        if self._line_is_open:
            self._write("\n")

    def _text(self, chunk: Chunk) -> str:
        if self._has_logprobs:
            lines = zip(chunk.ids, chunk.logprobs, map(self._label, chunk.ids), strict=True)
            return "".join(f"{token:6}  {logprob:8.3f}  {text}".rstrip() + "\n" for token, logprob, text in lines)
        return chunk.text if self._has_text else "".join(f"{token} " for token in chunk.ids)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        if text:
            self._line_is_open = not text.endswith("\n")


def _summary(model: Model, pace: ThroughputMeter, printer: TextPrinter) -> str:
    speed = pace.tokens_per_second
    seeds = printer.seeds
    parts = [
        f"{pace.tokens} tokens",
        *([f"{speed:.1f} tokens/s"] if speed else []),
        f"first after {pace.first:.2f} s",
        f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}",
        model.description,
        f"finished by {' and '.join(dict.fromkeys(printer.finish_reasons))}",
    ]
    return ", ".join(parts)


def sample_document(model: Model, prompt: Prompt, config: GenerationConfig, samples: int) -> dict[str, object]:
    """Return all texts and the settings that they were generated with, as `cutaway generate --json` writes them."""
    pace = ThroughputMeter()
    first = config.pick_seed()
    config = config.replace(seed=first)
    events = pace.watch(model.stream_batch([prompt], config, samples=samples))
    completions = collect(events, range(first, first + samples), model.description)
    return {
        **describe(model),
        "prompt_ids": model.prompt_ids(prompt),
        **asdict(config),
        "samples": [_completion_document(completion, config) for completion in completions],
        "first_token_seconds": pace.first,
        "tokens_per_second": pace.tokens_per_second,
    }


def _completion_document(completion: Completion, config: GenerationConfig) -> dict[str, object]:
    document: dict[str, object] = {"text": completion.text, "ids": completion.ids}
    if config.logprobs:
        document["logprobs"] = completion.logprobs
    if config.top_logprobs:
        document["top_logprobs"] = [[token._asdict() for token in tokens] for tokens in completion.top_logprobs]
    return document | {"finish_reason": completion.finish_reason, "seed": completion.seed}
