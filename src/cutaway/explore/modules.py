"""The import graph of the page's modules, read from their import statements."""

import posixpath
import re
from collections import deque
from collections.abc import Callable

ENTRY = "main.js"
IMPORT = re.compile(r"""((?:from|import)\s*\(?\s*)"(\.{1,2}/[^"]+)\"""")  # the text before the path, and the path


def imported_name(name: str, path: str) -> str:
    """Return the name of the module that a module imports by a relative path.

    >>> imported_name("ui/widgets.js", "../lib/cells.js")
    'lib/cells.js'
    """
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), path))


def module_texts(read: Callable[[str], str]) -> dict[str, str]:
    """Return the modules that the page imports, by name, each before its imports; `read` returns a module's text.

    >>> texts = {"main.js": 'import { a } from "./lib/a.js";', "lib/a.js": "", "lib/unused.js": ""}
    >>> list(module_texts(texts.__getitem__))
    ['main.js', 'lib/a.js']
    """
    found: dict[str, str] = {}
    wanted = deque([ENTRY])
    while wanted:
        name = wanted.popleft()
        if name not in found:
            found[name] = read(name)
            wanted += [imported_name(name, path) for _, path in IMPORT.findall(found[name])]
    return found
