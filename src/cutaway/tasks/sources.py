"""Finds a task by name or in a file."""

from difflib import get_close_matches
from functools import cache
from pathlib import Path

from cutaway.errors import UsageError
from cutaway.tasks.task import Task
from cutaway.untrusted import quote, quote_path

BUILTIN = Path(__file__).parent / "builtin"


@cache
def builtin_tasks() -> dict[str, Task]:
    """Return the tasks that come with the package, by name.

    >>> "translation" in builtin_tasks()
    True
    """
    return {path.stem: Task.parse(path.read_text(encoding="utf-8")) for path in sorted(BUILTIN.glob("*.toml"))}


def open_task(source: str) -> Task:
    """Return a task by name or from a TOML file. Raises UsageError if it is unknown or invalid.

    >>> open_task("translaton")
    Traceback (most recent call last):
    cutaway.errors.UsageError: unknown task 'translaton'; did you mean translation?
    """
    known = builtin_tasks()
    if source in known:
        return known[source]
    path = Path(source).expanduser()
    if path.suffix != ".toml":
        near = get_close_matches(source[:80], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}, or give a .toml file"
        raise UsageError(f"unknown task {quote(source)}; {hint}")
    try:
        return Task.parse(path.read_text(encoding="utf-8-sig"))  # some Windows editors write a byte order mark
    except OSError as error:
        raise UsageError(f"cannot read {quote_path(path)}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{quote_path(path)}: not UTF-8 at byte {error.start}") from None
    except UsageError as error:
        raise UsageError(f"{quote_path(path)}: {error}") from None
