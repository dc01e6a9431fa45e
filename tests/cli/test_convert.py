import json
import resource
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from cutaway.checkpoints import open_checkpoint
from cutaway.checkpoints.safetensors import read_arrays, write_arrays
from cutaway.cli import convert
from tests.cli.invoke import invoke
from tests.tasks.models import save_translator


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_writes_another_precision(tiny: str, tmp_path: Path, dtype: str) -> None:
    result = invoke("convert", tiny, str(tmp_path / "out"), "--dtype", dtype)
    assert (result.code, result.err) == (0, "")
    written = open_checkpoint(tmp_path / "out")
    assert written.dtype == dtype
    assert written.tokenizer() is not None
    assert result.out == f"{tmp_path / 'out'}: {dtype}, {written.n_bytes:,} bytes in model.safetensors\n"
    original = open_checkpoint(tiny).read("wte.weight")
    np.testing.assert_allclose(written.read("wte.weight"), original, atol=float(np.abs(original).max()) / 100)


def test_gpt2s_tokenizer_is_written_where_it_was_left_to_the_package(tiny: str, mute: str, tmp_path: Path) -> None:
    for model, files in ((tiny, ["merges.txt", "tokenizer_config.json", "vocab.json"]), (mute, [])):
        out = tmp_path / Path(model).name
        assert invoke("convert", model, str(out)).code == 0
        assert sorted({path.name for path in out.iterdir()} - {"config.json", "model.safetensors"}) == files


def test_writes_several_files(tiny: str, tmp_path: Path) -> None:
    document = invoke("convert", tiny, str(tmp_path / "out"), "--max-shard-size", "1.5KB", "--json")
    assert document.code == 2
    document = invoke("convert", tiny, str(tmp_path / "out"), "--max-shard-size", "100 kb", "--json")
    assert document.document == {
        "directory": str(tmp_path / "out"),
        "dtype": "float32",
        "bytes": open_checkpoint(tmp_path / "out").n_bytes,
        "files": ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
    }


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_more_files_than_a_process_may_have_open(tiny: str, tmp_path: Path) -> None:
    """Written, read and converted again."""
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(path.name) for path in Path("/proc/self/fd").iterdir()}
    five_more = [number for number in range(len(taken) + 6) if number not in taken][5]
    resource.setrlimit(resource.RLIMIT_NOFILE, (five_more, usual[1]))
    try:
        files = invoke("convert", tiny, str(tmp_path / "out"), "--max-shard-size", "10", "--json").document["files"]
        again = invoke("convert", str(tmp_path / "out"), str(tmp_path / "one"))
        generated = invoke(
            "generate", "--model", str(tmp_path / "out"), "--seed", "1", "--max-new-tokens", "2", "A robot"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    assert isinstance(files, list)
    assert len(files) > 20
    assert (again.code, again.err, generated.code) == (0, "", 0)
    one = open_checkpoint(tmp_path / "one")
    other = open_checkpoint(tiny)
    assert all(np.array_equal(one.read(name), other.read(name)) for name in other.config.tensors)


def test_overwrites_only_on_request(tiny: str, tmp_path: Path) -> None:
    arguments = ("convert", tiny, str(tmp_path / "out"))
    assert invoke(*arguments).code == 0
    refused = invoke(*arguments)
    assert refused.code == 3
    assert "holds config.json already: choose another directory, or --overwrite" in refused.error
    assert invoke(*arguments, "--overwrite").code == 0


def test_reports_the_directory_and_no_model_of_the_same_name(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    document = invoke("convert", tiny, "builtin", "--json").document
    assert document["directory"] == str(tmp_path / "builtin")
    assert document["bytes"] == open_checkpoint(tmp_path / "builtin").n_bytes


@pytest.mark.parametrize("name", ["out.gguf", "out.safetensors", "deep/ckpt.PT", "pytorch_model.bin"])
def test_the_name_of_a_file_is_refused(tiny: str, tmp_path: Path, name: str) -> None:
    result = invoke("convert", tiny, str(tmp_path / name))
    assert result.code == 2
    assert f"{tmp_path / name}: convert writes a directory in the layout of Hugging Face" in result.error
    assert result.error.strip().endswith(f"give a directory, such as {(tmp_path / name).with_suffix('')}")
    assert (", and no GGUF;" in result.error) == name.endswith(".gguf")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_may_be_called_anything(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").mkdir()
    for name in ("weights.bin", "gpt2.v1"):
        assert invoke("convert", tiny, str(tmp_path / name)).code == 0


def test_a_task_is_kept(tmp_path: Path) -> None:
    translator = save_translator(tmp_path / "translator")
    assert invoke("convert", str(translator), str(tmp_path / "out"), "--dtype", "float16").code == 0
    assert open_checkpoint(tmp_path / "out").side_files() == open_checkpoint(translator).side_files() != {}


def test_a_chat_template_that_cannot_be_read_is_left_out(tiny: str, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_bytes(b"Caf\xe9")
    result = invoke("convert", str(tmp_path / "model"), str(tmp_path / "out"))
    assert result.code == 0
    assert "warning: " in result.err
    assert "chat_template.jinja: not UTF-8 at byte 3; it is left out" in result.err


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".pt", "~no-such-user/x", "~no-such-user/ckpt.pt"])
def test_a_source_that_cannot_be_looked_up_is_one_line(tmp_path: Path, name: str) -> None:
    result = invoke("convert", name, str(tmp_path / "out"))
    assert (result.code, f"{name}: cannot be read: " in result.error) == (3, True)


@pytest.mark.parametrize("name", ["x" * 300 + ".bin", "~no-such-user/x.bin"])
def test_a_target_that_cannot_be_looked_up_is_one_line(tiny: str, name: str) -> None:
    result = invoke("convert", tiny, name)
    assert (result.code, f"{name}: convert writes a directory" in result.error) == (2, True)


def test_reports_the_files_that_it_wrote_and_no_others(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other.safetensors").touch()
    assert invoke("convert", tiny, str(tmp_path / "out"), "--json").document["files"] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("size", "n_bytes"), [("12", 12), ("1KB", 1_000), ("02 mb", 2_000_000), ("3GB", 3_000_000_000), (None, None)]
)
def test_sizes_are_those_of_the_documentation(size: str | None, n_bytes: int | None) -> None:
    assert convert._max_shard_bytes(Namespace(max_shard_size=size)) == n_bytes


def test_an_empty_size_is_refused(tiny: str, tmp_path: Path) -> None:
    result = invoke("convert", tiny, str(tmp_path / "out"), "--max-shard-size", "")
    assert (result.code, "--max-shard-size must be a number of bytes" in result.error) == (2, True)


def test_heads_beside_the_language_model_are_left_out_with_a_warning(tiny: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    arrays = read_arrays(model / "model.safetensors") | {"v_head.weight": np.ones(2, np.float32)}
    (model / "model.safetensors").unlink()
    write_arrays(model / "model.safetensors", arrays)
    result = invoke("convert", str(model), str(tmp_path / "out"))
    assert (result.code, result.err.count("\n")) == (0, 1)
    assert "warning: model: v_head.weight left out: only the language model is read" in result.err


def test_generation_settings_are_kept(tiny: str, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "model")
    settings = {"temperature": 0.5, "diversity_penalty": 0.25}
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(settings))
    assert invoke("convert", str(tmp_path / "model"), str(tmp_path / "out")).code == 0
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()) == settings
