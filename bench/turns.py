"""Measure engines in turns: all are loaded and take turns at each task, so that other work disturbs all alike."""

import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

from bench import machine
from bench.agreement import Continuations, check, continuations, random_prompts
from bench.engines import ENGINES, REFERENCE, Engine, Plan, Task
from bench.probe import read_bandwidth
from bench.process import PeerFailedError, PeerProcess
from bench.results import Record, weight_bytes

USE = Task("use", prompt=128, batch=1, new_tokens=65)  # the task that memory is measured with


class Bench:
    """The engines of one run. A failure is written into the engine's record, and the others go on."""

    def __init__(self, engines: Sequence[Engine], threads: int) -> None:
        self.threads = threads
        self.records = [Record(engine) for engine in engines]
        self.bandwidths: list[float] = []
        self._processes: dict[str, PeerProcess] = {}

    def run(self, plan: Plan) -> None:
        """Load all engines, measure all in turns, and then measure the memory of each in a new process."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # or stopped peers would stay forever
        try:
            self._load()
            self._measure(plan)
        finally:
            for process in self._processes.values():
                process.close()
        self._each("memory", self._measure_memory)

    def _load(self) -> None:
        """Start each engine and compare its tokens with those of transformers; both are its warm-up."""
        reference = next(engine for engine in ENGINES if engine.name == REFERENCE)
        with closing(PeerProcess(reference, self.threads)) as process:
            process.load()
            truth = continuations(process)
        self._each("load", lambda record: self._load_one(record, truth))

    def _load_one(self, record: Record, truth: Continuations) -> None:
        if record.engine.needs and record.engine.needs not in machine.simd():
            raise PeerFailedError(f"too slow to wait for without {record.engine.needs}")
        process = self._processes[record.engine.name] = PeerProcess(record.engine, self.threads)
        with process.turn():
            record.version = process.load()
            record.agreement = continuations(process).agreement(truth)
            check(record.engine, record.agreement)

    def _measure(self, plan: Plan) -> None:
        for turn in range(max(plan.repeats.values())):
            for task in (task for task, repeats in plan.repeats.items() if turn < repeats):
                bandwidth = read_bandwidth(weight_bytes(), self.threads)
                self.bandwidths += [bandwidth] if bandwidth else []
                title = f"{task.name}, {turn + 1} of {plan.repeats[task]}"
                self._each(title, partial(self._measure_one, task=task, turn=turn))

    def _measure_one(self, record: Record, task: Task, turn: int) -> None:
        process = self._processes[record.engine.name]
        with process.turn():
            answer = process.generate(random_prompts(turn + 1, task.batch, task.prompt), task.new_tokens)
        record.seconds.setdefault(task.name, []).append(answer.first if task.prefill else answer.rest)

    def _measure_memory(self, record: Record) -> None:
        """Measure the peak memory of one load and one short generation."""
        with closing(PeerProcess(record.engine, self.threads)) as process:
            process.load()
            record.peak = process.generate(random_prompts(0, USE.batch, USE.prompt), USE.new_tokens).peak

    def _each(self, title: str, do: Callable[[Record], None]) -> None:
        """Call `do` for every engine that has not failed."""
        for record in (record for record in self.records if record.failed is None):
            _say(f"{title}: {record.engine.name}")
            try:
                do(record)
            except PeerFailedError as error:
                record.failed = str(error)
                _say(f"{record.engine.name} failed: {error}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
