"""Is it the same model? A benchmark of another one would be worth nothing.

Each engine says what comes next after 32 random prompts, in two batches, and continues four of them by 20 tokens. The
tokens are compared with those of transformers in float32. Where the weights are exactly the same, 90 % of the next
tokens and 70 % of the greedy ones must agree (some peers round activations or the cache); elsewhere half of the next
tokens: random weights prefer one token only by a little, so eight bits change more tokens than they do with trained
ones. Of another model none would be the same.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.engines import Engine
from bench.process import PeerFailedError, PeerProcess

END_OF_TEXT = 50256  # never in a prompt: it means something to some libraries
PROMPT_TOKENS = 48


@dataclass(frozen=True)
class Continuations:
    """An engine's output: the next token after each prompt, and greedy continuations of the first few."""

    next_tokens: list[int]
    greedy: list[list[int]]

    def agreement(self, truth: "Continuations") -> dict[str, int]:
        """Count equal tokens; a continuation counts up to the first other token, and is another text after it."""
        pairs = zip(self.greedy, truth.greedy, strict=True)
        return {
            "next_same": sum(a == b for a, b in zip(self.next_tokens, truth.next_tokens, strict=True)),
            "next": len(truth.next_tokens),
            "greedy_same": sum(_common_prefix(a, b) for a, b in pairs),
            "greedy": sum(map(len, truth.greedy)),
        }


def random_prompts(seed: int, count: int, n_tokens: int) -> list[list[int]]:
    """The same prompts for every engine; never twice the same, so a prefix cache would find nothing."""
    numbers = random.Random(seed)
    return [[numbers.randrange(END_OF_TEXT) for _ in range(n_tokens)] for _ in range(count)]


def continuations(peer: PeerProcess) -> Continuations:
    """Ask an engine for them."""
    prompts = random_prompts(0, 32, PROMPT_TOKENS)
    batches = [peer.generate(prompts[:16], 3), peer.generate(prompts[16:], 3)]
    greedy = [peer.generate([prompt], 20).tokens[0] for prompt in prompts[:4]]
    return Continuations([row[0] for batch in batches for row in batch.tokens], greedy)


def check(engine: Engine, found: Mapping[str, int]) -> None:
    """Raises PeerFailedError where the tokens are those of another model."""
    same = found["next_same"] / found["next"]
    greedy_same = found["greedy_same"] / found["greedy"]
    if same < (0.9 if engine.exact else 0.5) or (engine.exact and greedy_same < 0.7):
        raise PeerFailedError(
            f"computes another model: {found['next_same']} of {found['next']} next tokens and "
            f"{found['greedy_same']} of {found['greedy']} greedy ones are transformers'"
        )


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))
