"""`cutaway finetune`: fine-tune a model on a text file or JSON Lines; the same command resumes."""

import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cutaway.cli.arguments import add_json, write_json
from cutaway.cli.model_command import command_of
from cutaway.cli.settings import add_settings, fine_tune_config
from cutaway.cli.terminal import DIM, columns, note, safe, style
from cutaway.cli.training_progress import TrainingProgress
from cutaway.errors import EngineError
from cutaway.layout import fold
from cutaway.training.finetune_config import FineTuneConfig

if TYPE_CHECKING:
    from cutaway.training.finetuning import Result

EXAMPLES = """\
examples:
  cutaway finetune --data poems.txt --out run
  cutaway finetune --model gpt2 --data answers.jsonl --method lora --out run
  cutaway generate --model run/model "Shall I compare"

A line of JSON Lines is {"text"}, {"prompt", "completion"} or {"messages"}.
The same command on a run that exists resumes it."""

PROMPT_END = 160  # characters shown of a prompt: its last ones
SAMPLE_LINES = 8


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the run, and a flag for each setting."""
    parser.usage = "cutaway finetune --data FILE --out RUN [--SETTING VALUE]..."
    parser.description = "Fine-tune a model on a text file or on JSON Lines; the best checkpoint is kept."
    parser.epilog = EXAMPLES
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="run directory; resumes if it exists")
    add_json(parser)
    add_settings(parser, FineTuneConfig)


def run(options: Namespace) -> None:
    """Fine-tune, and show the model before and after. After SIGINT the exit code is 130; the run is saved."""
    config = fine_tune_config(options)
    try:
        from cutaway.training.distributed import is_first_process
        from cutaway.training.finetuning import finetune
        from cutaway.training.loop import Silent
    except ModuleNotFoundError as error:
        raise EngineError("fine-tuning needs PyTorch: pip install torch") from error
    result = finetune(config, options.out, Silent() if options.json else TrainingProgress())
    if not is_first_process():
        return
    if options.json:
        write_json(_document(options.out, result))
    elif result.after is None:
        note(f"{options.out}: saved at step {result.outcome.steps}; the same command resumes")
    else:
        _show("before", result.before)
        _show("after", result.after)
        assert result.outcome.model is not None  # the run has ended
        kept = f"step {result.after['step']} of {result.outcome.steps} is kept"
        print(f"{safe(str(result.outcome.model))}: {kept}; {command_of(str(result.outcome.model))}")
    if result.outcome.signal is signal.SIGINT:
        raise KeyboardInterrupt


def _document(directory: Path, result: "Result") -> dict[str, object]:
    model = result.outcome.model
    return {
        "run": str(directory),
        "steps": result.outcome.steps,
        "model": model and str(model),
        "before": result.before,
        "after": result.after,
    }


def _show(title: str, found: Mapping[str, Any]) -> None:
    """Print a line of measurements, and the first sample under it."""
    words = [f"{title:<6}"]
    if "valid_loss" in found:
        words.append(f"validation loss {found['valid_loss']:.4f}")
    if "bits_per_byte" in found:
        words.append(f"{found['bits_per_byte']:.4f} bits/byte")
    if found["copy_rate"] is not None:
        words.append(f"copy rate {found['copy_rate']:.0%}")
    print("  ".join(words))
    sample = found["samples"][0]
    prompt = sample["prompt"]
    text = safe(f"{prompt if len(prompt) <= PROMPT_END else '…' + prompt[-PROMPT_END:]}{sample['text']}")
    lines = [part for line in text.split("\n") for part in fold(line, columns() - 4)]
    for line in lines[:SAMPLE_LINES]:
        print(style(f"  | {line}", DIM, sys.stdout))
