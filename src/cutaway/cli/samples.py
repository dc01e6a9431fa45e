"""Texts as they are written: one after the other on standard output, or all in one JSON document."""

import secrets
import sys
from argparse import Namespace
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from cutaway.cli.arguments import describe, utf8
from cutaway.cli.terminal import BOLD, DIM, safe, style
from cutaway.evaluation.benchmark import ThroughputMeter
from cutaway.generation.batch import Limits, Piece, collect
from cutaway.generation.sampling import Sampling
from cutaway.layout import visible
from cutaway.model import Model, Prompt


@dataclass(frozen=True)
class Settings:
    """What to write and how to show it."""

    sampling: Sampling
    limits: Limits
    samples: int
    seed: int
    logprobs: bool
    stream: bool


def read_settings(options: Namespace) -> Settings:
    """The settings in the arguments of `cutaway generate`; without a seed one is drawn."""
    stop = tuple(utf8(text, "--stop") for text in options.stop)
    return Settings(
        Sampling(options.temperature, options.top_k, options.top_p, options.repetition_penalty),
        Limits(options.max_new_tokens, stop, not options.no_stop_at_end, options.slide),
        options.samples,
        secrets.randbits(32) if options.seed is None else options.seed,
        options.logprobs,
        options.stream,
    )


def write_samples(
    model: Model, prompt: Prompt, settings: Settings, *, echo: bool = False, written: list[int] | None = None
) -> None:
    """Write the texts and a line about them.

    `echo` shows the prompt before each text, on a terminal only: what a pipe gets is new text and nothing else.
    `written` becomes the ids of the last text with its prompt, as they come: Ctrl-C leaves what there is.
    """
    pace, page = ThroughputMeter(), Page(model, settings)
    shown_prompt = style(safe(str(prompt)), BOLD, sys.stdout) if echo and sys.stdout.isatty() else ""
    prompt_ids = model.prompt_ids(prompt)
    written = [] if written is None else written
    try:
        for row, piece in in_order(pace.watch(_start(model, prompt, settings)), settings.samples):
            if row == page.row + 1:
                page.begin(shown_prompt)
                written[:] = prompt_ids
            written.extend(piece.ids)
            page.add(piece)
    finally:
        page.end_line()
    sys.stdout.flush()  # the text comes before the line about it where both streams are one
    print(style(_summary(model, settings, pace, page), DIM, sys.stderr), file=sys.stderr)


def _start(model: Model, prompt: Prompt, settings: Settings) -> Iterator[tuple[int, Piece]]:
    s = settings
    return model.stream_batch([prompt], s.sampling, s.limits, samples=s.samples, seed=s.seed, logprobs=s.logprobs)


def in_order(events: Iterator[tuple[int, Piece]], samples: int) -> Iterator[tuple[int, Piece]]:
    """The pieces of the first text as they come, then those of the second, and so on; what comes too early waits."""
    waiting: list[deque[Piece]] = [deque() for _ in range(samples)]
    row = 0
    for early, piece in events:
        waiting[early].append(piece)
        while row < samples and waiting[row]:
            piece = waiting[row].popleft()
            yield row, piece
            row += piece.stop_reason is not None


class Page:
    """Standard output with the texts on it."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self.to_terminal = sys.stdout.isatty()
        self.row = -1
        self.stop_reasons: list[str] = []
        self._line_is_open = False

    def begin(self, prompt: str) -> None:
        """Begin the next text, after its prompt where that is shown: on a new line if each token has its own."""
        self.row += 1
        self.end_line()
        if self.settings.samples > 1:
            heading = f"--- {self.row + 1} of {self.settings.samples}, seed {self.settings.seed + self.row} ---"
            self._write(style(heading, DIM, sys.stdout) + "\n")
        self._write(prompt)
        if self.settings.logprobs:
            self.end_line()

    def add(self, piece: Piece) -> None:
        text = self._text(piece)
        self._write(safe(text) if self.to_terminal else text)
        if piece.stop_reason:
            self.stop_reasons.append(piece.stop_reason)
        if self.to_terminal or self.settings.stream:
            sys.stdout.flush()

    def end_line(self) -> None:
        """Leave the cursor at the beginning of a line."""
        if self._line_is_open:
            self._write("\n")

    def _text(self, piece: Piece) -> str:
        tokenizer = self.model.tokenizer
        if self.settings.logprobs:
            tokens = [visible(tokenizer.token_bytes(token)) if tokenizer else "" for token in piece.ids]
            lines = zip(piece.ids, piece.logprobs, tokens, strict=True)
            return "".join(f"{token:6}  {logprob:8.3f}  {text}".rstrip() + "\n" for token, logprob, text in lines)
        return piece.text if tokenizer else "".join(f"{token} " for token in piece.ids)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        if text:
            self._line_is_open = not text.endswith("\n")


def _summary(model: Model, settings: Settings, pace: ThroughputMeter, page: Page) -> str:
    speed = pace.tokens_per_second
    last = settings.seed + settings.samples - 1
    parts = [
        f"{pace.tokens} tokens",
        *([f"{speed:.1f} tokens/s"] if speed else []),
        f"first after {pace.first:.2f} s",
        f"seed {settings.seed}" if settings.samples == 1 else f"seeds {settings.seed} to {last}",
        model.description,
        f"ended by {' and '.join(dict.fromkeys(page.stop_reasons))}",
    ]
    return ", ".join(parts)


def sample_document(model: Model, prompt: Prompt, settings: Settings) -> dict[str, object]:
    """All texts and what was asked for, as `cutaway generate --json` writes them."""
    pace = ThroughputMeter()
    seeds = range(settings.seed, settings.seed + settings.samples)
    completions = collect(pace.watch(_start(model, prompt, settings)), seeds, model.description)
    return {
        **describe(model),
        "prompt_ids": model.prompt_ids(prompt),
        **asdict(settings.sampling),
        **asdict(settings.limits),
        "samples": [
            {
                "text": completion.text,
                "ids": completion.ids,
                **({"logprobs": completion.logprobs} if settings.logprobs else {}),
                "stop_reason": completion.stop_reason,
                "seed": completion.seed,
            }
            for completion in completions
        ],
        "first_token_seconds": pace.first,
        "tokens_per_second": pace.tokens_per_second,
    }
