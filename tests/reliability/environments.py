"""Odd environments: whatever surrounds a command, it gives its usual output or one line and a documented exit code."""

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability.harness import Result, scratch
from tests.reliability.process import VARIABLES, cutaway

EXIT_CODES = (0, 1, 2, 3, 4, 5, 6, 130, 141, 143)
TIMEOUT = 120
COMMANDS = (
    ("generate", "A robot", "-n", "1", "--max-new-tokens", "4", "--seed", "1", "--threads", "1"),
    ("tokenizer", "explain", " café"),
    ("next", "A robot", "-k", "2", "--json", "--threads", "1"),
    ("eval", "--text", "A robot must obey the orders given it", "--threads", "1"),
    ("figure", "F40", "--format", "svg", "--language", "zh"),
    ("params", "gpt2"),
    ("models",),
)


@dataclass(frozen=True)
class Environment:
    """Variables (None: unset), what the child does before the command, and how its streams are given."""

    variables: Mapping[str, str | None] = field(default_factory=dict)
    before: Callable[[], object] | None = None
    streams: str = ""  # redirections as a shell writes them


def _limit(what: int, value: int) -> Callable[[], object]:
    return lambda: resource.setrlimit(what, (value, value))


def _leave_the_ground() -> None:
    """Stand in a directory that is gone."""
    place = Path(f"/tmp/cutaway-gone-{os.getpid()}")
    place.mkdir()
    os.chdir(place)
    place.rmdir()


def _one_processor() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


ENVIRONMENTS = {
    "standard output full": Environment(streams=">/dev/full"),
    "no HOME": Environment({"HOME": None, "XDG_CACHE_HOME": None}),
    "HOME is a file": Environment({"HOME": "/dev/null"}),
    "no PATH": Environment({"PATH": None}),
    "nothing set": Environment(dict.fromkeys(os.environ)),
    "locale C": Environment({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "unknown locale": Environment({"LC_ALL": "xx_YY.UTF-77", "LANG": "?"}),
    "streams in ASCII": Environment({"PYTHONIOENCODING": "ascii:strict"}),
    "streams in UTF-16": Environment({"PYTHONIOENCODING": "utf-16"}),
    "no terminal type": Environment({"TERM": None}),
    "unknown terminal": Environment({"TERM": "\x1b[31m", "COLORTERM": "?"}),
    "no columns": Environment({"COLUMNS": "0", "LINES": "-1"}),
    "a billion columns": Environment({"COLUMNS": "1000000000"}),
    "columns in words": Environment({"COLUMNS": "many"}),
    "forced colours": Environment({"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "NO_COLOR": ""}),
    "no temporary directory": Environment({"TMPDIR": "/nonexistent", "TEMP": "", "TMP": "/dev/null"}),
    "invalid hub variables": Environment({"HF_HOME": "/dev/null", "HF_ENDPOINT": "?", "HF_HUB_OFFLINE": "maybe"}),
    "warnings are errors": Environment({"PYTHONWARNINGS": "error"}),
    "development mode": Environment({"PYTHONDEVMODE": "1"}),
    "no assertions, no docstrings": Environment({"PYTHONOPTIMIZE": "2"}),
    "unbuffered": Environment({"PYTHONUNBUFFERED": "1"}),
    "threads in words": Environment({"OMP_NUM_THREADS": "two", "OPENBLAS_NUM_THREADS": "two", "MKL_NUM_THREADS": "-"}),
    "no threads": Environment({"OMP_NUM_THREADS": "0", "OPENBLAS_NUM_THREADS": "0"}),
    "a timezone that is none": Environment({"TZ": ":/dev/zero"}),
    "standard input closed": Environment(streams="<&-"),
    "standard error closed": Environment(streams="2>&-"),
    "standard output closed": Environment(streams=">&-"),
    "few descriptors": Environment(before=_limit(resource.RLIMIT_NOFILE, 16)),
    "no descriptors": Environment(before=_limit(resource.RLIMIT_NOFILE, 5)),
    "little memory": Environment(before=_limit(resource.RLIMIT_AS, 300 << 20)),
    "some memory": Environment(before=_limit(resource.RLIMIT_AS, 900 << 20)),
    "no file may grow": Environment(before=_limit(resource.RLIMIT_FSIZE, 0)),
    "small stack": Environment(before=_limit(resource.RLIMIT_STACK, 256 << 10)),
    "no core dump": Environment(before=_limit(resource.RLIMIT_CORE, 0)),
    "one processor": Environment(before=_one_processor),
    "lowest priority": Environment(before=lambda: os.nice(19)),
    "SIGINT ignored": Environment(before=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)),
    "SIGPIPE ignored": Environment(before=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN)),
    "nobody may read new files": Environment(before=lambda: os.umask(0o777)),
    "directory deleted": Environment(before=_leave_the_ground),
    "root directory": Environment(before=lambda: os.chdir("/")),
}


def odd_environments(n_commands: int = len(COMMANDS)) -> Result:
    """Run the first commands in every environment."""
    result = Result()
    with scratch() as place:
        for command in COMMANDS[:n_commands]:
            usual = _run(command, Environment(), place).stdout
            for name, environment in ENVIRONMENTS.items():
                done = _run(command, environment, place)
                result.add(f"{command[0]}, {name}", _problems(done, environment, usual, command[0]))
    return result


def _run(command: Sequence[str], environment: Environment, place: Path) -> subprocess.CompletedProcess[bytes]:
    changed = os.environ | environment.variables | VARIABLES
    variables = {name: value for name, value in changed.items() if value is not None}
    program = cutaway(*command)
    shell = ["/bin/sh", "-c", f'exec "$@" {environment.streams}', "sh", *program]
    return subprocess.run(
        shell if environment.streams else program,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=place,
        env=variables,
        preexec_fn=environment.before,
        timeout=TIMEOUT,
    )


def _problems(
    done: subprocess.CompletedProcess[bytes], environment: Environment, usual: bytes, command: str
) -> list[str]:
    """Return what a person would complain about."""
    said = done.stderr.decode("utf-8", "replace")
    problems = []
    if done.returncode not in EXIT_CODES:
        problems.append(f"exit code {done.returncode}: {said[-300:]!r}")
    if "Traceback" in said or "Error:" in said:
        problems.append(f"a traceback: {said[-300:]!r}")
    if done.returncode and said.count("cutaway: ") != 1 and "2>&-" not in environment.streams:
        problems.append(f"exit code {done.returncode} without one line that says why: {said[-300:]!r}")
    if not done.returncode and not environment.variables and not environment.streams and done.stdout != usual:
        problems.append("another output than usual")
    if not done.returncode and not done.stdout and ">&-" not in environment.streams:
        problems.append(f"no output of {command}")
    return problems
