"""Cutaway's own engine, called as the peers are: forward passes over a cache, the likeliest token each time."""

from importlib.metadata import version
from time import perf_counter

from bench.peers.worker import Generated, serve
from cutaway.checkpoints import open_checkpoint
from cutaway.engines.cpu.engine import CpuCache, CpuEngine


class Cutaway:
    """The compiled engine as `cutaway.load` makes it."""

    def load(self, path: str, precision: str, threads: int) -> str:
        self.engine = CpuEngine(open_checkpoint(path), precision, threads)
        return f"{version('cutaway')} ({self.engine.isa})"

    def generate(self, prompts: list[list[int]], new_tokens: int) -> Generated:
        start = perf_counter()
        cache = self.engine.new_cache(len(prompts))
        steps = [self._step(prompts, cache)]
        first = perf_counter()
        while len(steps) < new_tokens:
            steps.append(self._step([[token] for token in steps[-1]], cache))
        return Generated([list(row) for row in zip(*steps, strict=True)], first - start, perf_counter() - first)

    def _step(self, sequences: list[list[int]], cache: CpuCache) -> list[int]:
        """Read each sequence and return the token that follows it."""
        tokens: list[int] = self.engine.forward(sequences, cache).argmax(axis=-1).tolist()  # logits: (B, V)
        return tokens


if __name__ == "__main__":
    serve(Cutaway())
