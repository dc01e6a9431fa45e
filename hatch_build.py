"""Compile the C++ engine while the package is built: `cpu/native/*.cpp` becomes `cpu/_native.so`.

The library has a plain C interface and is loaded with ctypes, so it needs no Python headers and one wheel serves every
Python of a platform. It depends on the C library alone: the C++ run-time is linked in.
The compiler is `$CXX`, else the system's, else Zig's from the `ziglang` package, which the build front end is asked
for where nothing else works. A compiler that fails is an error; where there is none at all, and with
`CUTAWAY_NATIVE=0`, the package is built without the library, and Cutaway runs on its NumPy reference.

`python hatch_build.py` compiles in place, for work on the C++.
"""

import hashlib
import importlib.util
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

LIBRARY = Path("src/cutaway/engines/cpu/_native.so")  # this name on macOS too: ctypes does not mind
SOURCES = Path("src/cutaway/engines/cpu/native")
BUILD = Path("build/native")
ZIG = "ziglang==0.17.1"

X86_64 = platform.machine().lower() in ("x86_64", "amd64")
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-pthread")
AVX2 = ("-mavx2", "-mfma", "-mf16c")
AVX512 = (*AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni")
AMX = (*AVX512, "-mamx-tile", "-mamx-int8")

# Some distributions package the static C++ run-time apart from the compiler; macOS has only the shared one.
RUNTIMES = ((),) if sys.platform == "darwin" else (("-static-libstdc++", "-static-libgcc"), ())
# For the linker: the C++ run-time inside this library is no business of the other libraries in the process.
EXPORTS = "{ global: cutaway_*; local: *; };"

PROBE = """
#include <thread>
extern "C" int probe() { int x = 0; std::thread([&] { x = 1; }).join(); return x; }
"""


class BuildError(Exception):
    """The library cannot be built; the message says what to do."""


class Compiler(NamedTuple):
    """A C++ compiler's command line, and what makes it link the C++ run-time in."""

    command: tuple[str, ...]
    runtime: tuple[str, ...] = ()


def find_compiler() -> Compiler | None:
    """The compiler to use, tried out on a small program, or None; raises BuildError where `$CXX` is none."""
    chosen = shlex.split(os.environ.get("CXX", ""))
    for command in [chosen] if chosen else [["c++"], ["g++"], ["clang++"]]:
        for runtime in RUNTIMES:
            compiler = Compiler(tuple(command), runtime)
            if can_build(compiler):
                return compiler
    if chosen:
        raise BuildError(f"CXX={shlex.join(chosen)} cannot build a C++17 library: name another compiler, or unset CXX")
    if importlib.util.find_spec("ziglang"):
        return Compiler((sys.executable, "-m", "ziglang", "c++", *zig_target()))
    return None


def can_build(compiler: Compiler) -> bool:
    """Whether the compiler exists, knows the flags, and links a program that uses the C++ library."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "probe.cpp")
        source.write_text(PROBE)
        flags = (*FLAGS, *AMX) if X86_64 else FLAGS
        arguments = [*flags, "-shared", *compiler.runtime, str(source), "-o", f"{directory}/probe.so"]
        try:
            return subprocess.run([*compiler.command, *arguments], check=False, capture_output=True).returncode == 0
        except OSError:
            return False


def zig_target() -> tuple[str, ...]:
    """Zig compiles for the very machine it runs on unless told otherwise: ask for what all of its kind can run."""
    if sys.platform != "linux":
        return ("-mcpu=baseline", "-fno-sanitize=undefined")
    libc = "gnu.2.17" if platform.libc_ver()[0] == "glibc" else "musl"
    return ("-target", f"{platform.machine()}-linux-{libc}", "-fno-sanitize=undefined")


def sources(root: Path) -> dict[Path, tuple[str, ...]]:
    """Every file to compile on this machine, with its flags, in the order to link them.

    Of an inline function that several objects have, the linker keeps the first: the one every machine can run.
    """
    found = {path: flags_of(path) for path in sorted((root / SOURCES).glob("*.cpp"))}
    in_order = sorted(found, key=lambda path: len(found[path]))
    return {path: found[path] for path in in_order if X86_64 or found[path] == FLAGS}


def flags_of(source: Path) -> tuple[str, ...]:
    """The instruction sets a file may use are in its name; which file runs is decided at run time."""
    for suffix, extra in (("_amx", AMX), ("_avx512", AVX512), ("_avx2", AVX2)):
        if source.stem.endswith(suffix):
            return FLAGS + extra
    return FLAGS


def fingerprint(root: Path) -> str:
    """Changes when anything does that the library is made from."""
    digest = hashlib.sha256(f"{sys.platform} {platform.machine()} {os.environ.get('CXX', '')}".encode())
    for path in (root / "hatch_build.py", *sorted(p for p in (root / SOURCES).rglob("*") if p.is_file())):
        digest.update(f"\n{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def is_current(root: Path) -> bool:
    """Whether the library that is there was made from what is there now."""
    stamp = root / BUILD / "fingerprint"
    return (root / LIBRARY).exists() and stamp.exists() and stamp.read_text() == fingerprint(root)


def build(root: Path, compiler: Compiler) -> None:
    """Compile and link; the library appears in one step, so that a process which has the old one open keeps it."""
    (root / BUILD).mkdir(parents=True, exist_ok=True)
    made_from = fingerprint(root)
    with tempfile.TemporaryDirectory(dir=root / BUILD) as directory, ThreadPoolExecutor(os.cpu_count()) as threads:
        flags = sources(root)
        objects = [f"{directory}/{path.stem}.o" for path in flags]
        commands = [["-c", *flags[path], str(path), "-o", o] for path, o in zip(flags, objects, strict=True)]
        list(threads.map(lambda arguments: run(root, compiler, arguments), commands))
        library, exports = Path(directory, LIBRARY.name), Path(directory, "exports")
        exports.write_text(EXPORTS)
        only = [] if sys.platform == "darwin" else ["-s", f"-Wl,--version-script={exports}"]
        run(root, compiler, ["-shared", "-O3", "-pthread", *compiler.runtime, *only, *objects, "-o", str(library)])
        library.replace(root / LIBRARY)
    (root / BUILD / "fingerprint").write_text(made_from)


def run(root: Path, compiler: Compiler, arguments: list[str]) -> None:
    """Run the compiler; raises BuildError with all that it said."""
    zig_cache = str((root / BUILD / "zig").absolute())
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": zig_cache, "ZIG_LOCAL_CACHE_DIR": zig_cache}
    command = [*compiler.command, *arguments]
    result = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise BuildError(
            f"{shlex.join(command)}\n{result.stdout}{result.stderr}\n"
            "The compiler failed, see above: set CXX to another one, or CUTAWAY_NATIVE=0 to install without the library"
        )


def ensure_library(root: Path) -> bool:
    """Make the library unless it is current; False where it cannot or shall not be made."""
    if not wanted():
        return False  # one that is there may serve an editable install, and is left alone
    if is_current(root):
        return True
    if compiler := find_compiler():
        build(root, compiler)
        return True
    (root / LIBRARY).unlink(missing_ok=True)  # made from other sources, it might not fit these
    return False


def wanted() -> bool:
    """Whether to compile at all."""
    return os.environ.get("CUTAWAY_NATIVE") != "0"


class NativeBuildHook(BuildHookInterface[Any]):
    """What hatchling calls."""

    def dependencies(self) -> list[str]:
        """Zig, where the library must be made and nothing here can make it."""
        try:
            return [] if not wanted() or is_current(Path(self.root)) or find_compiler() else [ZIG]
        except BuildError:
            return []  # `initialize` will say it

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the library, and mark the wheel with the platform that it is for."""
        try:
            native = ensure_library(Path(self.root))
        except BuildError as error:
            self.app.abort(f"cutaway: {error}")
        if native:
            platforms = (tag.platform for tag in sys_tags() if "manylinux" not in tag.platform)
            build_data["tag"] = f"py3-none-{next(p for p in platforms if 'musllinux' not in p)}"
            build_data["pure_python"] = False
            build_data["artifacts"].append(f"/{LIBRARY.as_posix()}")
        elif wanted():
            self.app.display_warning(
                "cutaway: no C++ compiler found: the far slower NumPy reference will run (in a clone: install one, "
                "then `make run`)"
            )


if __name__ == "__main__":
    try:
        if not ensure_library(Path(__file__).parent):
            sys.exit("nothing compiled: no C++ compiler found, or CUTAWAY_NATIVE=0")
    except BuildError as build_error:
        sys.exit(str(build_error))
