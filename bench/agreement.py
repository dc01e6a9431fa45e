"""Check that engines run the same model: a benchmark of another model would be worthless.

Each engine predicts the next token after 32 random prompts, in two batches, and continues four of them by 20 tokens.
The tokens are compared with those of transformers in float32. If the weights are exactly the same, 90 % of the next
tokens and 70 % of the greedy ones must agree (some peers round activations or the cache). Otherwise half of the next
tokens must agree: random weights prefer one token only slightly, so eight bits change more tokens than with trained
weights. With another model, no tokens would agree.
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
        """Count equal tokens; a continuation counts up to the first token that differs."""
        pairs = zip(self.greedy, truth.greedy, strict=True)
        return {
            "next_same": sum(a == b for a, b in zip(self.next_tokens, truth.next_tokens, strict=True)),
            "next": len(truth.next_tokens),
            "greedy_same": sum(_common_prefix(a, b) for a, b in pairs),
            "greedy": sum(map(len, truth.greedy)),
        }


def random_prompts(seed: int, count: int, n_tokens: int) -> list[list[int]]:
    """Return the same prompts for every engine; no two are equal, so that a prefix cache finds nothing."""
    numbers = random.Random(seed)
    return [[numbers.randrange(END_OF_TEXT) for _ in range(n_tokens)] for _ in range(count)]


def continuations(peer: PeerProcess) -> Continuations:
    """Ask an engine for its continuations."""
    prompts = random_prompts(0, 32, PROMPT_TOKENS)
    batches = [peer.generate(prompts[:16], 3), peer.generate(prompts[16:], 3)]
    greedy = [peer.generate([prompt], 20).tokens[0] for prompt in prompts[:4]]
    return Continuations([row[0] for batch in batches for row in batch.tokens], greedy)


def check(engine: Engine, found: Mapping[str, int]) -> None:
    """Raise PeerFailedError if the tokens are those of another model."""
    same = found["next_same"] / found["next"]
    greedy_same = found["greedy_same"] / found["greedy"]
    if same < (0.9 if engine.exact else 0.5) or (engine.exact and greedy_same < 0.7):
        raise PeerFailedError(
            f"computes another model: {found['next_same']} of {found['next']} next tokens and "
            f"{found['greedy_same']} of {found['greedy']} greedy ones are transformers'"
        )


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))
