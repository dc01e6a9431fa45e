"""The C++ engine under sanitizers: random calls, from one thread and from several, end in no report.

The library is compiled once more with AddressSanitizer and UndefinedBehaviorSanitizer, and with ThreadSanitizer, and a
process that has loaded the sanitizer's run-time makes the calls through `CpuEngine`, as everybody does. Models are of
every mathematics that a config can ask for. Logits of float32 models are compared with the reference engine's.
"""

import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hatch_build import BUILD, SOURCES, X86_64, fingerprint, flags_of
from tests.reliability import sabotage
from tests.reliability.harness import Result, scratch
from tests.reliability.process import ROOT, VARIABLES

if TYPE_CHECKING:
    from cutaway.engines.protocol import Cache, Engine, Logits

SANITIZERS = {
    "address": ("libasan.so", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("libtsan.so", "-fsanitize=thread"),
}
UNOPTIMISED = ("-O0", "-g")  # of the flags of a build
OPTIONS = {  # Python itself leaks and is not instrumented
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
    "TSAN_OPTIONS": "exitcode=99:halt_on_error=1:report_signal_unsafe=0:ignore_noninstrumented_modules=1",
    "OPENBLAS_NUM_THREADS": "1",
}
CALLS = 40  # of one sequence
TIMEOUT = 5  # seconds for each sequence, on a busy machine


def can_sanitize() -> bool:
    """Return True where g++ has both run-time libraries."""
    return X86_64 and shutil.which("g++") is not None and all(map(_run_time, SANITIZERS))


def sanitized_calls(sanitizer: str, sequences: int, seed: int = 1) -> Result:
    """Make sequences of random calls in one process; they end at the first report."""
    result = Result()
    with scratch() as place:
        library = _build(sanitizer, place)
        command = [sys.executable, "-m", "tests.reliability.sanitizers", str(library), str(sequences), str(seed)]
        environment = os.environ | VARIABLES | OPTIONS
        environment |= {"LD_PRELOAD": _run_time(sanitizer), "PYTHONMALLOC": "malloc"}
        seconds = 300 + TIMEOUT * sequences
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return Result(1, [f"{sanitizer}: no end in {seconds} s"])
    for number in range(done.stdout.count("sequence")):
        result.add(f"sequence {number} of seed {seed}", [])
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line or "WARNING" in line or "Error" in line]
        result.add(f"{sanitizer}: exit code {done.returncode}", [(lines or done.stderr.splitlines() or ["?"])[0][:300]])
    return result


@cache
def _run_time(sanitizer: str) -> str:
    """Return the path of the run-time library, "" if there is none."""
    name = SANITIZERS[sanitizer][0]
    command = ["g++", f"-print-file-name={name}"]
    path = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return str(Path(path).resolve()) if Path(path).is_absolute() else ""


def _build(sanitizer: str, place: Path) -> Path:
    """Link the library. Its objects are kept, and of sabotaged sources the files that differ are compiled again."""
    kept = ROOT / BUILD / f"{sanitizer}-{fingerprint(ROOT)[:16]}"
    if not kept.exists():
        _compile(sanitizer, sorted((ROOT / SOURCES).glob("*.cpp")), place / "objects")
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(place / "objects", kept)
    sources = shutil.copytree(ROOT / SOURCES, place / "native")
    for name in sabotage.applied():
        sabotage.NATIVE[name](sources)
    changed = [path for path in sources.glob("*.cpp") if path.read_bytes() != (ROOT / SOURCES / path.name).read_bytes()]
    objects = {path.name: path for path in kept.iterdir()} | _compile(sanitizer, changed, place / "changed")
    library = place / "sanitized.so"
    linked = ["-shared", "-pthread", *SANITIZERS[sanitizer][1:], *map(str, objects.values()), "-o", str(library)]
    subprocess.run(["g++", *linked], check=True)
    return library


def _compile(sanitizer: str, sources: Sequence[Path], out: Path) -> dict[str, Path]:
    """Compile files side by side; returns the objects by name."""
    out.mkdir()
    compiling = []
    for path in sources:
        flags = [*flags_of(path), *UNOPTIMISED, *SANITIZERS[sanitizer][1:]]
        compiling.append(subprocess.Popen(["g++", *flags, "-c", str(path), "-o", str(out / f"{path.stem}.o")]))
    codes = [process.wait() for process in compiling]
    assert not any(codes)
    return {path.name: path for path in out.iterdir()}


def _make_calls(library: Path, sequences: int, seed: int) -> None:
    """Load the library in place of the usual one, and call it."""
    from cutaway.engines.cpu import library as loader

    loader.PATH = library
    for number in range(sequences):
        _sequence(random.Random(f"{seed} {number}"))
        print("sequence", flush=True)


def _sequence(rng: random.Random) -> None:
    """Make an engine of a random shape and let one or three threads use it, each with a cache of its own."""
    from cutaway.checkpoints import ArrayWeights
    from cutaway.config import ACTIVATIONS, GPT2Config
    from cutaway.engines.cpu.engine import CpuEngine
    from cutaway.engines.reference import ReferenceEngine
    from tests.random_weights import random_weights

    n_head = rng.choice((1, 2, 3))
    config = GPT2Config(
        n_vocab=rng.choice((3, 17, 50)),
        n_ctx=rng.choice((1, 5, 33)),
        n_embd=n_head * rng.choice((1, 4, 16, 20)),
        n_head=n_head,
        n_layer=rng.choice((1, 2)),
        tie_word_embeddings=rng.random() < 0.5,
        activation_function=rng.choice(ACTIVATIONS),
        scale_attn_by_inverse_layer_idx=rng.random() < 0.5,
        relative_positions=rng.choice((0, 0, 1, 5, 17, 40)),
    )
    weights = random_weights(config, rng.randrange(1000), spread=0.2)
    dtype = rng.choice(("float32", "int8"))
    engine = CpuEngine(weights, dtype, threads=rng.choice((1, 2, 3)))
    engine.lock = nullcontext()  # type: ignore[assignment]  # Python's own, which would hide what the library's does
    reference = ReferenceEngine(ArrayWeights(config, {name: weights.read(name) for name in config.tensors}))
    users = [random.Random(rng.random()) for _ in range(rng.choice((1, 1, 3)))]
    failures: list[BaseException] = []

    def use(user: random.Random) -> None:
        try:
            _calls(user, (engine, reference) if dtype == "float32" else (engine,))
        except BaseException as error:  # noqa: BLE001 - a thread's error is raised below
            failures.append(error)

    threads = [threading.Thread(target=use, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _calls(rng: random.Random, engines: "Sequence[Engine]") -> None:
    """Make the same calls of each engine; their logits are compared with the first one's."""
    lengths = [0] * rng.randrange(1, 4)
    caches = [engine.new_cache(len(lengths)) for engine in engines]

    def forward() -> None:
        _forward(rng, list(zip(engines, caches, strict=True)), lengths)

    def add_rows() -> None:
        count = rng.randrange(1, 3)
        for each in caches:
            each.add_rows(count)
        lengths.extend([0] * count)

    def copy_row() -> None:
        source = rng.randrange(len(lengths))
        target = rng.randrange(len(lengths))
        for each in caches:
            each.copy_row(source, target)
        lengths[target] = lengths[source]

    def truncate() -> None:
        lengths[:] = [rng.randint(0, length) for length in lengths]
        for each in caches:
            each.truncate(lengths)

    calls: Sequence[Callable[[], None]] = (forward, forward, forward, truncate, copy_row, add_rows)
    for _ in range(CALLS):
        rng.choice(calls if len(lengths) < 8 else calls[:-1])()
        assert all(list(each.lengths) == lengths for each in caches)


def _forward(rng: random.Random, engines: "Sequence[tuple[Engine, Cache]]", lengths: list[int]) -> None:
    """Continue some rows, of so many tokens, in each engine's own cache."""
    config = engines[0][0].config
    rows = rng.sample(range(len(lengths)), rng.randrange(1, len(lengths) + 1))
    rows = [row for row in rows if lengths[row] < config.n_ctx]
    if not rows:
        return
    sizes = [rng.randint(1, config.n_ctx - lengths[row]) for row in rows]
    new = [[rng.randrange(config.n_vocab) for _ in range(size)] for size in sizes]
    prefixes = [
        0 if lengths[row] or config.relative_positions else rng.choice((0, rng.randint(0, size)))
        for row, size in zip(rows, sizes, strict=True)
    ]
    wanted: Logits = rng.choice(("last", "all"))
    exact = rng.random() < 0.5
    first, *others = [
        engine.forward(new, own, wanted, rows=rows, exact=exact, n_prefix=prefixes) for engine, own in engines
    ]
    for row, size in zip(rows, sizes, strict=True):
        lengths[row] += size
    assert all(np.allclose(first, each, atol=1e-3) for each in others), "other logits than the reference engine's"


if __name__ == "__main__":
    _make_calls(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
