"""Check that what was reported as saved survives a power cut.

Everything written is on the disk before the rename gives it its name, and the rename before the save is reported. Two
witnesses: the functions that Python calls (`calls`), and the system calls that strace sees.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cutaway.training.runs import RunDirectory
from tests.reliability import sabotage
from tests.reliability.calls import Calls
from tests.reliability.harness import FINISHED, Result, forked, save, scratch

Trace = list[tuple[str, str]]  # calls and their paths, in order; ("reported", "") when the save returned
_LINE = re.compile(r"(?:\[pid +\d+\] )?(\w+)\((.*)\) += (-?\d+)")


def unsafe_order(trace: Trace, target: str) -> list[str]:
    """Return which file or directory of a save was not on the disk when it had to be. `target` is its final name."""
    renamed = next((i for i, (name, path) in enumerate(trace) if name == "rename" and path.startswith(target)), None)
    reported = next((i for i, (name, _) in enumerate(trace) if name == "reported"), None)
    if renamed is None or reported is None or renamed > reported:
        return ["reported before it had its name"]
    staging = trace[renamed][1]
    before = trace[:renamed]
    written = {path for name, path in before if name in ("open", "write") and path.startswith(staging + "/")}
    problems = [f"{path} was not synced after its last write" for path in sorted(written) if not _synced(before, path)]
    if not written:
        problems.append("no write was seen")
    last = max((i for i, (name, path) in enumerate(before) if name == "open" and path in written), default=0)
    if ("fsync", staging) not in before[last:]:
        problems.append("the directory was not synced before it was renamed")
    if ("fsync", str(Path(target).parent)) not in trace[renamed:reported]:
        problems.append("the rename was not synced before the save was reported")
    return problems


def _synced(trace: Trace, path: str) -> bool:
    last = max((i for i, call in enumerate(trace) if call == ("write", path)), default=0)
    return ("fsync", path) in trace[last:]


def order() -> Result:
    """Check the order of the calls of a save, and of saving a step again, as Python makes them."""
    result = Result()
    for again in (False, True):
        with scratch() as root:
            trace = _observed(root, again)
        result.add(f"order, again={again}", unsafe_order(trace, str(root / "checkpoints" / "step-00000001")))
    return result


def _observed(root: Path, again: bool) -> Trace:
    """Return the calls of a save in a forked process."""

    def work() -> int:
        run = RunDirectory.open(root)
        if again:
            save(run, 1, 1)
        calls = Calls()
        calls.install()
        save(run, 1, 2)
        (root / "trace").write_text(json.dumps([*calls.made, ("reported", "")]))
        return FINISHED

    assert forked(work) == FINISHED
    trace: Trace = [(name, path) for name, path in json.loads((root / "trace").read_text())]
    return _without_aside(trace)


def _without_aside(trace: Trace) -> Trace:
    """Leave out the rename that puts an old checkpoint aside: only the new one's has to be in order."""
    return [(name, path) for name, path in trace if not (name == "rename" and re.fullmatch(r".*/step-\d+", path))]


def traced_order() -> Result:
    """Check the order of the system calls of a save, as strace sees them."""
    result = Result()
    with scratch() as root:
        saving = [sys.executable, "-m", "tests.reliability", "--save-once", str(root), *sabotage.arguments()]
        seen = "trace=openat,write,fsync,fdatasync,rename,renameat,renameat2"
        strace = ["strace", "-f", "-y", "-s", "16", "-o", str(root / "trace"), "-e", seen, *saving]
        done = subprocess.run(strace, capture_output=True, text=True, check=False)
        lines = (root / "trace").read_text().splitlines()
        problems = unsafe_order(_parse(lines), str(root / "checkpoints" / "step-00000001"))
    result.add("order by strace", problems if done.returncode == 0 else [done.stderr])
    return result


def _parse(lines: list[str]) -> Trace:
    trace: Trace = []
    for line in lines:
        match = _LINE.search(line)
        if not match or int(match[3]) < 0:
            continue
        name = match[1]
        arguments = match[2]
        quoted = re.findall(r'"([^"]*)"', arguments)
        held = re.match(r"\d+<([^>]*)>", arguments)
        if name == "openat" and ("O_WRONLY" in arguments or "O_RDWR" in arguments):
            trace.append(("open", quoted[0]))
        elif name in ("fsync", "fdatasync", "write") and held:
            trace.append(("write" if name == "write" else "fsync", held[1]))
            if name == "write" and "reported" in arguments:
                trace.append(("reported", ""))
        elif name.startswith("rename"):
            trace.append(("rename", quoted[0]))
    return trace


def has_strace() -> bool:
    """Return True if strace is installed and may trace a process here."""
    if not shutil.which("strace"):
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0
