import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from unittest.mock import patch

import pytest

from cutaway import errors
from cutaway.__main__ import main as guarded_main
from cutaway.cli import COMMANDS, make_parser
from cutaway.errors import BROKEN_PIPE, INTERRUPTED, OUTSIDE, TERMINATED
from tests.cli.invoke import Result, invoke


def run_process(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cutaway", *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, env={**os.environ, **environment}, encoding="utf-8"
    )


class TestHelp:
    @pytest.mark.parametrize("arguments", [[], ["--help"]])
    def test_lists_every_command(self, arguments: list[str]) -> None:
        result = invoke(*arguments)
        assert result.code == 0
        assert all(f"  {name}  " in f"{result.out}  " for name in COMMANDS)

    def test_documents_every_exit_code(self) -> None:
        kinds: list[type[errors.CutawayError]] = [errors.CutawayError, *errors.CutawayError.__subclasses__()]
        codes = {0, OUTSIDE, INTERRUPTED, BROKEN_PIPE, TERMINATED, *(kind.exit_code for kind in kinds)}
        documented = invoke("--help").out.split("exit codes:\n")[1].splitlines()
        assert {int(line.split()[0]) for line in documented} == codes

    @pytest.mark.parametrize("command", COMMANDS)
    def test_of_a_command_has_examples_and_fits(self, command: str) -> None:
        result = invoke(command, "--help")
        assert result.code == 0
        assert f"\n  cutaway {command}" in result.out
        assert max(map(len, result.out.splitlines())) <= 80

    @pytest.mark.parametrize("command", COMMANDS)
    def test_is_repeated_in_the_documentation(self, command: str) -> None:
        page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
        section = page.split(f"\n## `cutaway {command}`\n")[1].split("\n## ")[0]
        options = set(re.findall(r"--[a-z][a-z-]+", make_parser(command).format_help()))
        for option in options - {"--help", *COMMON}:
            assert f"`{option}" in section

    def test_prints_the_version(self) -> None:
        import cutaway

        assert invoke("--version").out == f"cutaway {cutaway.__version__}\n"


COMMON = ("--model", "--dtype", "--engine", "--threads", "--json", "--file", "--ids")  # described once


class TestStart:
    """Modules that are not needed are not imported."""

    @pytest.mark.parametrize(
        ("arguments", "unwanted"),
        [
            (["--help"], ["numpy", "tokenizers", "json"]),
            (["generate", "--help"], ["numpy", "tokenizers"]),
            (["params", "gpt2"], ["numpy", "tokenizers"]),
            (["tokenizer", "encode", "A robot"], ["numpy", "cutaway.model", "huggingface_hub"]),
            (["next", "--model", "nowhere"], ["torch", "huggingface_hub", "cutaway.evaluation.benchmark"]),
        ],
    )
    def test_imports_only_what_it_needs(self, arguments: list[str], unwanted: list[str]) -> None:
        script = (
            "import sys; from cutaway.cli import main; main(sys.argv[1].split(',')); "
            "loaded = [name for name in sys.argv[2].split(',') if name in sys.modules]; sys.exit(f'LOADED {loaded}')"
        )
        command = [sys.executable, "-c", script, ",".join(arguments), ",".join(unwanted)]
        result = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
        assert result.stderr.splitlines()[-1] == "LOADED []"


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "code", "part"),
        [
            (["sing"], 2, "invalid choice: 'sing'"),
            (["traslate", "a"], 2, "unknown command: 'traslate'; did you mean translate? (see cutaway --help)"),
            (["generate", "--temprature", "1"], 2, "; did you mean --temperature? (see cutaway generate --help)"),
            (["generate", "--temp", "1"], 2, "unrecognized arguments: --temp; did you mean --temperature?"),
            (["generate", "--temprature", "1", "hi"], 2, "unrecognized arguments: --temprature; did you mean"),
            (["tokenizer", "encode", "--model", "x"], 2, "unrecognized arguments: --model (see cutaway tokenizer"),
            (["train", "--outt", "x"], 2, "unrecognized arguments: --outt; did you mean --out? (see cutaway train"),
            (["generate", "a", "b"], 2, "unrecognized arguments: b; put a text of several words in quotes"),
            (["tokenizer", "encode", "-x"], 2, "unrecognized arguments: -x (see cutaway tokenizer encode --help)"),
            (["generate", "--max", "1"], 2, "unrecognized arguments: --max"),
            (["convert", "a", "b", "c"], 2, "unrecognized arguments: c (see cutaway convert --help)"),
            (["train", "plt", "run"], 2, "no such file: plt; did you mean cutaway train plot?"),
            (["generate", "-n", "x"], 2, "invalid int value"),
            (["generate", "--temperature", "-1"], 2, "temperature"),
            (["generate", "--top-p", "0"], 2, "not 0"),
            (["generate", "-n", "999999999", "x"], 2, "cutaway: --samples must be from 1 to 4096"),
            (["generate", "--dtype", "float16", "x"], 2, "--engine pytorch"),
            (["generate", "--stop", "\udce9", "x"], 2, "--stop is not UTF-8"),
            (["generate", "--json", "--stream"], 2, "not allowed with"),
            (["generate", "--json", "--interactive"], 2, "--interactive"),
            (["generate", "x", "--file", "y"], 2, "not allowed with"),
            (["generate", "--file", "no/such\nfile"], 2, "cannot read no/such file"),
            (["generate", "--model", "no\x1b[2Jwhere"], 3, "neither a directory nor a model"),
            (["next", "--model", "nobody/nothing"], 4, "nobody/nothing"),
            (["tokenizer", "decode", "x"], 2, "'x' is not a token id"),
            (["tokenizer", "decode", "50257"], 2, "50257"),
            (["params", "nothing"], 3, "nothing"),
            (["convert", "gpt2", "x", "--max-shard-size", "1 parsec"], 2, "500MB"),
            (["convert", "gpt2", "x", "--max-shard-size", "0"], 2, "--max-shard-size"),
        ],
    )
    def test_are_one_line_and_a_code(self, arguments: list[str], code: int, part: str) -> None:
        result = invoke(*arguments)
        assert result.code == code
        assert part in result.error
        assert "\x1b" not in result.err

    @pytest.mark.parametrize(
        ("command", "arguments", "name", "files"),
        [
            ("eval", "lambada --model gpt2 a", "what", ["lambada", "a"]),
            ("eval", "a.txt --stride 64 b.jsonl --json c", "what", ["a.txt", "b.jsonl", "c"]),
            ("eval", "--json -- -a b", "what", ["-a", "b"]),
            ("data", "prepare books --out o a.jsonl --field f", "files", ["books", "a.jsonl"]),
            ("tokenizer", "train books --vocab-size 300 --out t a.jsonl", "files", ["books", "a.jsonl"]),
            ("tokenizer", "decode 1 --json 2", "ids", ["1", "2"]),
            ("train_plot", "run -o y.svg r1", "runs", ["run", "r1"]),
        ],
    )
    def test_options_may_stand_between_files(self, command: str, arguments: str, name: str, files: list[str]) -> None:
        options = vars(make_parser(command).parse_args(arguments.split()))
        assert [str(file) for file in options[name]] == files

    @pytest.mark.parametrize(
        ("command", "named"),
        [
            ("generate x --top-k -1", "--top-k must be"),
            ("generate x --max-new-tokens 0", "--max-new-tokens must be"),
            ("generate x --top-p nan", "--top-p must be above 0 and at most 1 (off), not nan"),
            ("generate x --engine steam", "--engine must be one of cpu, pytorch, reference, not 'steam'"),
            ("generate x --engine reference --dtype int8", "--dtype must be float32 with the reference engine"),
            ("generate x --engine reference --threads 2", "--threads must be left out with the reference engine"),
            ("generate x --engine cpu --dtype float16", "--dtype must be float32 or int8 with the CPU engine"),
            ("next x -k 0", "-k must be from 1"),
            ("eval --text x --stride 0", "--stride must be from 1 to 32, not 0"),
            ("figure F40 --text x --layer 9", "--layer must be from 0 to 1, not 9"),
            ("explore --port 99999", "--port must be from 0 to 65535"),
            ("bench --depth 33", "--depth (33) and --new-tokens (31) must together be at most 32"),
        ],
    )
    def test_about_an_argument_name_its_flag(self, tiny: str, command: str, named: str) -> None:
        depth = ["--new-tokens", "31"] if command.startswith("bench") else []
        result = invoke(*command.split(), *depth, "--model", tiny)
        assert (result.code, result.error[: len(named) + 9]) == (2, f"cutaway: {named}")

    @pytest.mark.parametrize(
        ("command", "named"),
        [
            ("tokenizer train {file} --vocab-size 5 --out {file}.new", "--vocab-size must be at least 257"),
            ("data prepare {file} --out {file}.new --codec midi", "--codec must be perf388 or satb16"),
            ("task make reverse --n 0", "--n must be"),
            ("translate x --n-best 500", "--n-best must be from 1 to 128"),
            ("translate x --n-best 3 --beams 2", "--n-best (3) must be at most --beams (2)"),
            ("train --data {file} --valid {file} --out {file}.new", "--valid needs a task: give --task too"),
            ("train --data a --task reverse --weights 2 --out {file}.new", "--weights must be left out with a task"),
            ("train --data a --task reverse --compile --out {file}.new", "--compile must be left out with a task"),
        ],
    )
    def test_about_an_argument_of_a_file_name_its_flag(self, tmp_path: Path, command: str, named: str) -> None:
        file = tmp_path / "a.txt"
        file.write_text("A robot must obey. " * 9)
        result = invoke(*command.format(file=file).split())
        assert (result.code, result.error[: len(named) + 9]) == (2, f"cutaway: {named}")
        assert list(tmp_path.iterdir()) == [file]

    def test_about_anything_else_name_it_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "n_ctx.toml"
        path.write_text("batch_size = 2\nmicro_batch_size = 4\n")
        result = invoke("train", str(path), "--data", "a", "--out", str(tmp_path / "run"))
        assert result.error == f"cutaway: {path}: micro_batch_size (4) must be at most batch_size (2)\n"

    @pytest.mark.parametrize("name", ["n_ctx", "n_ctx.toml", "n_ctx-2"])
    def test_about_a_file_called_as_an_argument_name_it_as_it_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path(name).write_text("batch_size = 2\nmicro_batch_size = 4\n")
        result = invoke("train", name, "--data", "a", "--out", "run")
        assert result.error == f"cutaway: {name}: micro_batch_size (4) must be at most batch_size (2)\n"
        error = invoke("train", "--data", name, "--out", "run").error
        assert error.startswith((f"cutaway: {name}: not a prepared corpus", f"cutaway: {name} stands after --data"))

    @pytest.mark.parametrize(
        ("command", "named"),
        [(["train", "--data", "a", "--out", ""], "--out"), (["data", "prepare", "", "--out", "a"], "FILE")],
    )
    def test_refuses_an_empty_path(self, command: list[str], named: str) -> None:
        result = invoke(*command)
        assert result.code == 2
        assert result.error.startswith(f"cutaway: argument {named}: must not be empty (see cutaway {command[0]}")

    def test_reports_an_unknown_engine(self, tiny: str) -> None:
        result = invoke("generate", "--model", tiny, "--engine", "steam", "x")
        assert result.code == 2
        assert "'steam'" in result.error

    def test_running_out_of_memory_is_one_line(self, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cutaway.loading.load", _raise(MemoryError()))
        result = invoke("next", "--model", tiny, "x")
        assert result.code == errors.EngineError.exit_code
        assert "memory" in result.error

    def test_a_warning_of_loading_is_one_line(self, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cutaway.engines.cpu.library.library", _raise(errors.EngineError("not built")))
        result = invoke("next", "--model", tiny, "x", "--json")
        assert result.code == 0
        assert result.err == "cutaway: warning: not built; running the reference engine, which is slow\n"
        assert Result(0, result.out, "").document["engine"] == "reference"


def _raise(error: BaseException) -> "type":
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail  # type: ignore[return-value]


class TestStreams:
    def test_are_utf8_whatever_the_locale(self) -> None:
        result = run_process("params", "gpt2", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
        assert result.returncode == 0
        assert "768 × 2,304" in result.stdout

    def test_a_closed_pipe_is_not_an_error(self) -> None:
        command = [sys.executable, "-m", "cutaway", "params", "gpt2"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == BROKEN_PIPE

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_a_full_disk_is_an_error_of_one_line(self) -> None:
        with Path("/dev/full").open("wb") as full:
            command = [sys.executable, "-m", "cutaway", "params", "gpt2"]
            result = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, encoding="utf-8")
        assert result.returncode == OUTSIDE
        assert result.stderr == "cutaway: No space left on device\n"

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    @pytest.mark.parametrize("unbuffered", ["", "1"])
    @pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["next", "--help"], ["params", "gpt2"]])
    def test_a_full_disk_is_an_error_whatever_is_written(self, arguments: list[str], unbuffered: str) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        command = [sys.executable, "-m", "cutaway", *arguments]
        with Path("/dev/full").open("wb") as full:
            result = subprocess.run(
                command, check=False, stdout=full, stderr=subprocess.PIPE, encoding="utf-8", env=environment
            )
        assert result.returncode == OUTSIDE
        assert result.stderr == "cutaway: No space left on device\n"

    def test_may_be_closed(self) -> None:
        command = f'"{sys.executable}" -m cutaway tokenizer encode - <&- >&- 2>&-'
        assert subprocess.run(["sh", "-c", command], check=False).returncode == 0

    def test_ctrl_c_keeps_what_was_written(self, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from cutaway.engines.reference import ReferenceEngine

        forward = ReferenceEngine.forward
        calls = []

        def interrupted(*arguments: object, **options: object) -> object:
            calls.append(1)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return forward(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(ReferenceEngine, "forward", interrupted)
        result = invoke("generate", "--model", tiny, "--engine", "reference", "--seed", "1", "A robot")
        assert result.code == INTERRUPTED
        assert result.err == ""
        assert result.out.endswith("\n")
        full = invoke("generate", "--model", tiny, "--engine", "reference", "--seed", "1", "A robot")
        assert len(result.out) > 4
        assert full.out.startswith(result.out.rstrip("\n"))


@pytest.mark.usefixtures("heeded_signals")
class TestSignals:
    """SIGTERM and SIGHUP, at the moment at which what was written is seen onto the disk."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
    @pytest.mark.parametrize(
        "command",
        [
            "explore --model {tiny} --text robot --export {place}/page.html",
            "convert {tiny} {place}/model --overwrite",
            "convert {tiny} {place}/new",
            "tokenizer train {place}/text.txt --vocab-size 257 --out {place}/empty",
        ],
    )
    def test_leave_what_was_there(
        self, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, number: signal.Signals
    ) -> None:
        assert invoke("convert", tiny, str(tmp_path / "model"), "--dtype", "float16").code == 0
        (tmp_path / "empty").mkdir()
        for name in ("page.html", "text.txt"):
            (tmp_path / name).write_text("old")
        before = contents(tmp_path)
        monkeypatch.setattr(os, "fsync", lambda _: signal.raise_signal(number))
        assert run_main(command.format(tiny=tiny, place=tmp_path)) == 128 + number
        assert contents(tmp_path) == before
        assert signal.getsignal(number) is signal.SIG_DFL

    def test_stay_ignored_where_they_were_ignored(self, monkeypatch: pytest.MonkeyPatch, tiny: str) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        monkeypatch.setattr("cutaway.cli.params.run", lambda _: signal.raise_signal(signal.SIGHUP))
        try:
            assert run_main("params gpt2") == 0
        finally:
            signal.signal(signal.SIGHUP, before)


def run_main(command: str) -> int:
    with patch.object(sys, "argv", ["cutaway", *command.split()]):
        return guarded_main()


def contents(directory: Path) -> dict[str, bytes]:
    """Files and their bytes, and empty directories."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else b"" for path in directory.rglob("*")
    }


# Ctrl-C at the moment at which a module is imported.
INTERRUPTED_IMPORT = """
import os, signal, sys
from importlib.abc import MetaPathFinder

module = sys.argv[1]

class Interrupt(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.SIG_IGN if sys.argv[2] == "ignored" else signal.default_int_handler)
for name in [name for name in sys.modules if name.startswith("cutaway") or name in ("argparse", "gettext")]:
    del sys.modules[name]
from cutaway.__main__ import main
sys.meta_path.insert(0, Interrupt())
sys.argv[1:] = ["params", "gpt2"]
sys.exit(main())
"""


class TestCtrlC:
    @pytest.mark.parametrize("module", ["cutaway.cli", "argparse", "cutaway.errors", "cutaway.cli.terminal"])
    def test_while_the_command_line_is_imported_is_silent(self, module: str) -> None:
        command = [sys.executable, "-c", INTERRUPTED_IMPORT, module, "heeded"]
        result = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
        assert (result.stdout, result.stderr) == ("", "")
        assert result.returncode in (-signal.SIGINT, INTERRUPTED)

    @pytest.mark.parametrize("module", ["cutaway.cli.params", "cutaway.parameters"])
    def test_while_a_command_is_imported_has_its_exit_code(self, module: str) -> None:
        command = [sys.executable, "-c", INTERRUPTED_IMPORT, module, "heeded"]
        result = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
        assert (result.returncode, result.stdout, result.stderr) == (INTERRUPTED, "", "")

    @pytest.mark.parametrize("module", ["cutaway.cli", "cutaway.cli.params"])
    def test_stays_ignored_where_it_was_ignored(self, module: str) -> None:
        command = [sys.executable, "-c", INTERRUPTED_IMPORT, module, "ignored"]
        result = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
        assert (result.returncode, result.stderr) == (0, "")
        assert "parameters" in result.stdout

    def test_the_installed_script_is_guarded(self) -> None:
        scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
        assert scripts["project"]["scripts"] == {"cutaway": "cutaway.__main__:main"}
