"""Check that a run that is killed with SIGKILL, again and again, ends bit for bit as the run that never was.

Each life of a run is `cutaway train` or `cutaway finetune` with the same arguments, in a process forked from this one,
which has imported PyTorch but computed nothing. Half of the lives end at a random moment, half at a named fault point.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

from torch import _dynamo  # noqa: F401 - imported once, before the forks: the first optimizer of a process does

from cutaway.checkpoints import save_checkpoint
from cutaway.cli import main
from cutaway.config import GPT2Config
from cutaway.tokenizer.fast import Tokenizer
from cutaway.training import finetuning, pretraining  # noqa: F401 - imported once, before the forks
from cutaway.training.metrics_log import read_metrics
from tests.random_weights import random_weights
from tests.reliability.harness import FINISHED, Result, scratch, started

_KILLED = -signal.SIGKILL
LOG = "metrics.jsonl"
STEPS = 36
SMALL = f"--n-layer 1 --n-head 2 --n-embd 16 --n-ctx 16 --max-steps {STEPS} --warmup-steps 5 --device cpu"
_VARIANTS = {
    "one thread": "--batch-size 4 --threads 1 --dropout 0.1 --micro-batch-size 3 --eval-every 20 --save-every 4",
    "two threads": "--batch-size 8 --threads 2 --dropout 0.2 --optimizer adamw --sampled-vocab 99 --save-every 7",
}
_TUNED = "--max-steps 30 --batch-size 4 --eval-every 5 --patience 0 --lr 0.01 --device cpu"
_TUNED_VARIANTS = {
    "LoRA": "--threads 1 --method lora --lora-dropout 0.1 --micro-batch-size 3",
    "all weights": "--threads 2 --dropout 0.1 --sampled-vocab 99",
}
_POINTS = (
    *("save.after_write", "save.before_rename", "save.after_rename", "save.after_sync", "prune.after_rename"),
    *("save.after_write:3", "save.after_rename:2", "save.after_sync:4", "prune.after_rename:2"),
)


def training_kills(kills: int) -> Result:
    """Kill runs of `cutaway train` until there were so many kills."""
    with scratch() as directory:
        command = ["train", "--data", str(make_corpus(directory)), "--json", *SMALL.split()]
        return _kill_chains(directory, command, _VARIANTS, kills)


def fine_tuning_kills(kills: int) -> Result:
    """Kill runs of `cutaway finetune` until there were so many kills."""
    with scratch() as directory:
        make_corpus(directory)
        tokenizer = Tokenizer.from_files(directory / "tokenizer")
        shape = GPT2Config(n_vocab=tokenizer.n_vocab, n_ctx=16, n_embd=16, n_head=2, n_layer=2)
        save_checkpoint(directory / "base", random_weights(shape, std=0.05), tokenizer=tokenizer)
        pairs = [{"prompt": f"{n} and one is", "completion": f" {n + 1}."} for n in range(40)]
        data = directory / "pairs.jsonl"
        data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
        command = ["finetune", "--model", str(directory / "base"), "--data", str(data), "--json", *_TUNED.split()]
        return _kill_chains(directory, command, _TUNED_VARIANTS, kills)


def _kill_chains(directory: Path, command: list[str], variants: Mapping[str, str], kills: int, seed: int = 1) -> Result:
    """Kill runs until there were so many kills, equally many with each variant; a trial is a kill."""
    generator = random.Random(seed)
    result = Result()
    for variant, settings in variants.items():
        part = _kill_variant(directory, [*command, *settings.split()], kills // len(variants), generator)
        result.trials += part.trials
        result.violations += [f"{variant}, seed {seed}: {violation}" for violation in part.violations]
        if result.violations:
            break
    return result


def _kill_variant(directory: Path, command: list[str], kills: int, generator: random.Random) -> Result:
    began = time.monotonic()
    code = _live(directory / "clean", command, "", None)
    whole = time.monotonic() - began
    if code != FINISHED:
        return Result(1, [f"the run that is not killed ended with {code}: {last_words(directory)}"])
    expected = digest_of(directory / "clean")
    result = Result()
    while result.trials < kills and not result.violations:
        died, problems = _chain(directory / "killed", command, kills - result.trials, whole, generator)
        problems += differences(expected, digest_of(directory / "killed")) if not problems else []
        result = Result(result.trials + died, result.violations + [f"after {died} kills, {each}" for each in problems])
        shutil.rmtree(directory / "killed")
    shutil.rmtree(directory / "clean")
    return result


def _chain(
    run: Path, command: list[str], at_most: int, whole: float, generator: random.Random
) -> tuple[int, list[str]]:
    """Kill one run at most so many times, then let it end; return the kills, and what went wrong."""
    died = 0
    while True:
        point = ""
        moment = None
        if died < at_most:
            point = generator.choice(("", generator.choice(_POINTS)))
            moment = None if point else generator.uniform(0, 0.7 * whole)
        code = _live(run, command, point, moment)
        if code == FINISHED:
            return died, []
        if code != _KILLED:
            return died, [f"exit code {code}: {last_words(run.parent)}"]
        died += 1


def _live(run: Path, command: list[str], point: str, moment: float | None) -> int:
    """Start a run, or start it again; kill it at a named point, or after `moment` seconds; return its exit code."""
    child = start_command(run, command, point)
    killer = threading.Timer(moment or 0, lambda: os.kill(child, signal.SIGKILL))
    if moment is not None:
        killer.start()
    status = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # keeps the number from being given to another
    assert status is not None
    killer.cancel()
    if moment is not None:
        killer.join()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def start_command(run: Path, command: list[str], point: str = "") -> int:
    """Start a command on a run in a forked process, to be killed at a named point if there is one; return it."""

    def work() -> int:
        os.environ["CUTAWAY_FAULT"] = point
        words = os.open(run.parent / "words", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(words, 1)
        os.dup2(words, 2)
        return main([*command, "--out", str(run)])

    return started(work)


def last_words(directory: Path) -> str:
    return " ".join((directory / "words").read_text().splitlines()[-3:])


def digest_of(run: Path, without: str = "") -> dict[str, str]:
    """Return the SHA-256 of all that a run leaves, and the lines of its log without the seconds that steps took.

    Events of the kind `without` are left out.
    """
    last = max((run / "checkpoints").iterdir())
    files = [*(run / "model").glob("*.safetensors"), *last.glob("*.safetensors"), *run.glob("*.json")]
    found = {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    logged = [event for event in read_metrics(run) if event["kind"] != without]
    events = [{key: value for key, value in event.items() if key != "seconds"} for event in logged]
    return found | {LOG: "\n".join(map(json.dumps, events))}


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Name what differs, and the first line of the log that does: there it began."""
    names = [name for name in sorted(expected.keys() | found.keys()) if expected.get(name) != found.get(name)]
    return [f"{name} differs{_first_difference(expected[LOG], found[LOG]) if name == LOG else ''}" for name in names]


def _first_difference(expected: str, found: str) -> str:
    for line, other in zip_longest(expected.splitlines(), found.splitlines(), fillvalue="nothing"):
        if line != other:
            return f": {other} instead of {line}"
    return ""


def make_corpus(directory: Path) -> Path:
    """Prepare a corpus of a few hundred made-up sentences, with a vocabulary of 300 tokens of their own."""
    generator = random.Random(0)
    words = ["".join(generator.choices("aeioulnrst", k=generator.randint(2, 6))) for _ in range(60)]
    sentences = [" ".join(generator.choices(words, k=generator.randint(4, 12))) + "." for _ in range(80)]
    (directory / "text").mkdir()
    for number in range(40):
        (directory / "text" / f"{number:02d}.txt").write_text("\n".join(sentences[2 * number : 2 * number + 2]))
    text = str(directory / "text")
    tokenizer = str(directory / "tokenizer")
    corpus = str(directory / "corpus")

    def work() -> int:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = main(["tokenizer", "train", text, "--vocab-size", "300", "--out", tokenizer])
        prepare = [
            "data",
            "prepare",
            text,
            "--tokenizer",
            tokenizer,
            "--out",
            corpus,
            "--valid",
            "10%",
            "--workers",
            "1",
        ]
        return code or main(prepare)

    code = os.waitstatus_to_exitcode(os.waitpid(started(work), 0)[1])
    assert code == FINISHED, code
    return Path(corpus)
