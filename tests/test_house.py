"""The rules the house is built on (docs/architecture.md), read off the source itself."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "cutaway"
FILES = sorted(PACKAGE.rglob("*.py"))
FILE_SET = set(FILES)

# From the cellar up: what stands in a row may import what stands in the rows above it here, nothing beside or below it.
# "__init__" is what `import cutaway` shows; the rooms under the roof may use it like anybody else.
ROOMS = (
    ("errors", "tensors"),
    ("checks", "config", "disk", "layout", "numerics", "untrusted"),
    ("formats", "tokenizer"),
    ("music",),
    ("checkpoints", "data"),
    ("engines",),
    ("generation", "trace"),
    ("tasks",),
    ("evaluation", "parameters"),
    ("figures", "model"),
    ("loading",),
    ("training", "web"),
    ("explore",),
    ("__init__",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}

RUN_TIME = {"numpy", "tokenizers", "huggingface_hub", "starlette", "uvicorn"}
TORCH = {"torch", "triton"}  # PyTorch's CUDA builds bring Triton
TORCH_ROOMS = {"engines/pytorch", "training"}
UNPICKLER = (
    PACKAGE / "checkpoints" / "unpickle.py"
)  # a program of its own, which reads pickles in a process without rights
RUNS_CODE_FROM_FILES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
RUNS_CODE = {"__import__", "compile", "eval", "exec"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, whether at its top or in a function, by its full name."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are written in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_rooms(path: Path) -> set[str]:
    parts = [name.split(".") for name in imports(path)]
    return {p[1] if len(p) > 1 and p[1] in FLOOR else "__init__" for p in parts if p[0] == "cutaway"}


def third_parties(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names - {"cutaway"}


def file_of(name: str) -> Path | None:
    """Return the file that holds a module or what it defines; for a package that is its `__init__.py`."""
    parts = name.split(".")
    while parts:
        module = PACKAGE.parent.joinpath(*parts)
        for path in (module.with_suffix(".py"), module / "__init__.py"):
            if path in FILE_SET:
                return path
        parts.pop()
    return None


def imported_files(path: Path) -> set[Path]:
    """Return the package's files that a file names in its imports, wherever they stand in it.

    `from cutaway.figures import draw` names the package's `__init__.py`; `from cutaway.figures.panels import Grid` does
    not, although Python runs it.
    """
    found = {file_of(name) for name in imports(path) if name.split(".")[0] == "cutaway"}
    return {other for other in found if other is not None}


def circle(graph: Mapping[Path, set[Path]]) -> list[Path]:
    """Return files of which each imports the next and the last the first; none if there is no such circle."""
    done: set[Path] = set()

    def visit(path: Path, trail: list[Path]) -> list[Path]:
        if path in trail:
            return trail[trail.index(path) :]
        if path in done:
            return []
        found = next(filter(None, (visit(other, [*trail, path]) for other in sorted(graph[path]))), [])
        done.add(path)
        return found

    return next(filter(None, (visit(path, []) for path in sorted(graph))), [])


def test_no_file_imports_another_in_a_circle() -> None:
    graph = {path: imported_files(path) for path in FILES}
    assert [str(path.relative_to(PACKAGE)) for path in circle(graph)] == []


def test_finds_a_circle() -> None:
    a, b, c, d = (Path(name) for name in "abcd")
    assert circle({a: {b}, b: {c, d}, c: {d}, d: set()}) == []
    assert circle({a: {b}, b: {c}, c: {b}, d: {a}}) == [b, c]
    assert circle({a: {a}}) == [a]


def test_every_room_has_a_place() -> None:
    assert {room_of(path) for path in FILES} == set(FLOOR)


def test_imports_point_down() -> None:
    imported = {path: imported_rooms(path) - {room_of(path)} for path in FILES}
    pairs = [(path, other) for path, rooms in imported.items() for other in rooms]
    assert [(str(path), other) for path, other in pairs if FLOOR[other] >= FLOOR[room_of(path)]] == []


def may_import(path: Path) -> set[str]:
    in_torch_room = path.relative_to(PACKAGE).as_posix().startswith(tuple(f"{room}/" for room in TORCH_ROOMS))
    return RUN_TIME | TORCH if in_torch_room or path == UNPICKLER else RUN_TIME


def test_running_needs_no_framework() -> None:
    assert [(str(path), others) for path in FILES if (others := third_parties(path) - may_import(path))] == []


def test_the_package_asks_for_what_it_imports_and_no_more() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {name.split(">=")[0] for name in project["dependencies"]} == RUN_TIME
    assert set().union(*(third_parties(path) for path in FILES)) == RUN_TIME | TORCH


def test_importing_cutaway_loads_neither_torch_nor_a_web_server_nor_the_hub_client() -> None:
    code = "import sys, cutaway; print(*({'torch', 'starlette', 'uvicorn', 'huggingface_hub'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.split() == []


def test_files_hold_tensors_and_json_never_code() -> None:
    assert [(str(p), name) for p in FILES for name in imports(p) if name.split(".")[0] in RUNS_CODE_FROM_FILES] == []
    calls = [(path, node) for path in FILES for node in nodes(path) if isinstance(node, ast.Call)]
    for path, call in calls:
        if isinstance(call.func, ast.Name):
            assert call.func.id not in RUNS_CODE, f"{path}:{call.lineno}"
        if path != UNPICKLER:
            assert ast.unparse(call.func) != "torch.load", f"{path}:{call.lineno}"
        pickled = [k.value for k in call.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) != "False"]
        assert pickled == [], f"{path}:{call.lineno}"


def test_pickles_are_read_by_one_program_that_one_command_starts() -> None:
    assert [
        path for path in FILES if "cutaway.checkpoints.unpickle" in {n.rpartition(".")[0] for n in imports(path)}
    ] == []
    users = {path for path in FILES if file_of("cutaway.checkpoints.pickles") in imported_files(path)}
    assert users == {PACKAGE / "cli" / "convert.py"}
    [load] = [n for n in nodes(UNPICKLER) if isinstance(n, ast.Call) and ast.unparse(n.func) == "torch.load"]
    assert {k.arg: ast.unparse(k.value) for k in load.keywords}["weights_only"] == "True"


def test_nothing_else_names_what_runs_code() -> None:
    """Names, so that `load = torch.load` and `getattr(builtins, ...)` are found too; `model.eval()` is PyTorch's."""
    forbidden = {"eval", "exec", "builtins", "torch.load", *RUNS_CODE_FROM_FILES}
    for path in FILES:
        names = {node.id for node in nodes(path) if isinstance(node, ast.Name)} | set(imports(path))
        attributes = {ast.unparse(node) for node in nodes(path) if isinstance(node, ast.Attribute)}
        here = forbidden - {"torch.load"} if path == UNPICKLER else forbidden
        assert (names | attributes) & here == set(), path


PYTHON = sorted(path for folder in ("src", "tests", "bench", "recipes") for path in (ROOT / folder).rglob("*.py"))


QUESTIONS = ("What", "How", "Whether", "Where", "Who", "When", "Why")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def faults(path: Path) -> list[str]:
    """Return the lines of a file that bind two values at once, and its docstrings that begin with a question.

    `a, b = f()` takes one value apart; `a, b = x, y` binds two at once.
    """
    found: list[str] = []
    for node in nodes(path) if path in FILE_SET else ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign):
            if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                found.append(f"{path}:{node.lineno}: binds several values")
        elif isinstance(node, DOCUMENTED) and (ast.get_docstring(node) or "").split(" ")[0] in QUESTIONS:
            found.append(f"{path}: {ast.get_docstring(node)}")
    return found


@pytest.mark.parametrize("folder", ["src", "tests", "bench", "recipes"])
def test_a_line_binds_one_value_and_docstrings_begin_with_a_verb_or_a_name(folder: str) -> None:
    assert [fault for path in PYTHON if path.is_relative_to(ROOT / folder) for fault in faults(path)] == []


def test_two_values_in_a_line_and_a_question_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text('"""What it is."""\na, b = 1, 2\nc, d = divmod(a, b)\n')
    assert faults(path) == [f"{path}: What it is.", f"{path}:2: binds several values"]


# A function's docstring begins with what it does. A noun is found by its article or its plural, or is listed here.
NO_VERB = re.compile(
    r"[^A-Z].*|.*[^s]s|A|An|The|This|That|It|Every|Any|One|Two|Three|Four|Some|Most|First|Last|Of|For|In|On|At|By|After"
    r"|Before|With|Without|From|None|True|False|Whoever|Number|Token|Text|Size|Width|Height|Length|Mean|Row|Column|Layer"
    r"|Head|Key|Query|Masked|Scaled|Residual|Direction|Contribution|Probability|Surprisal|Logarithm|Softmax|KL|Dtype"
    r"|Cross-entropy|Path|File|Directory|Random|Negative|Short|Long"
)


def first_word(docstring: str) -> str:
    return docstring.split(maxsplit=1)[0].strip(",:;.")


def function_docstrings(path: Path) -> Iterator[str]:
    """Yield the first line of each function's docstring; not a property's, which names a value."""
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring and "property" not in " ".join(map(ast.unparse, node.decorator_list)):
                yield docstring.splitlines()[0]


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    lines = [(str(path), line) for path in FILES for line in function_docstrings(path)]
    assert [each for each in lines if NO_VERB.fullmatch(first_word(each[1]))] == []


def test_a_noun_at_the_beginning_is_found() -> None:
    nouns = ("The weights of a head.", "Tokens of a text.", "(T, d) -> (H, T, dh).", "Softmax over the last axis.")
    verbs = ("Pass text on.", "Compress files.", "Compute the logits.", "Return: nothing is left.")
    assert [bool(NO_VERB.fullmatch(first_word(line))) for line in (*nouns, *verbs)] == [True] * 4 + [False] * 4


# What a person calls (CONTRIBUTING.md): functions without an underscore and these classes' methods. Not what is called
# by the command line, by `figures.draw` or by a server, unless another room imports it.
CALLED_BY_US = ("cli/", "figures/article/", "engines/pytorch/kernels.py")
REQUESTS = ("Request", "TraceRequest")
WITHOUT_END = {"encode_on_ray", "serve"}  # needs a cluster, runs until Ctrl-C
PUBLIC_CLASSES = {
    "ArrayWeights",
    "Checkpoint",
    "DecodingBatch",
    "EffectiveWeights",
    "GPT2Config",
    "GenerationConfig",
    "Model",
    "Params",
    "Tokenizer",
    "Trace",
}


@cache
def imported_elsewhere(room: str) -> set[str]:
    """Return the full names that other rooms import from a room."""
    return {name for path in FILES if room_of(path) != room for name in imports(path) if f"cutaway.{room}" in name}


def is_handler(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = next(iter(function.args.args), None)
    return first is not None and first.annotation is not None and ast.unparse(first.annotation) in REQUESTS


def methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    """Yield what is called by its name: no properties, nothing private, and the last of several overloads."""
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and not each.name.startswith("_"):
            decorators = " ".join(map(ast.unparse, each.decorator_list))
            if "overload" not in decorators and "property" not in decorators:
                yield each


def public_functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield the functions and methods of a file that a person calls, by name."""
    called_by_us = path.relative_to(PACKAGE).as_posix().startswith(CALLED_BY_US)
    module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for node in ast.iter_child_nodes(nodes(path)[0]):
        if isinstance(node, ast.ClassDef) and node.name in PUBLIC_CLASSES:
            yield from ((f"{node.name}.{each.name}", each) for each in methods(node))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            ours = called_by_us or is_handler(node)
            if not ours or f"{module}.{node.name}" in imported_elsewhere(room_of(path)):
                yield node.name, node


def test_public_functions_have_an_example() -> None:
    functions = [(str(path), name, function) for path in FILES for name, function in public_functions(path)]
    without = [(path, name) for path, name, each in functions if ">>> " not in (ast.get_docstring(each) or "")]
    assert [each for each in without if each[1] not in WITHOUT_END] == []


def test_public_classes_are_there() -> None:
    assert {node.name for path in FILES for node in nodes(path) if isinstance(node, ast.ClassDef)} >= PUBLIC_CLASSES
