"""JSON lines to a shard."""

import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cutaway.data.prepare import documents, main
from cutaway.data.shards import open_shard
from cutaway.errors import UsageError
from cutaway.tokenizer.fast import Tokenizer


def test_files_become_one_shard_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps({"text": text, "title": "any"}) + "\n" for text in ("One.", "Zwei – 二")]
    (tmp_path / "a.jsonl").write_text(lines[0], encoding="utf-8")
    (tmp_path / "b.jsonl.xz").write_bytes(lzma.compress(lines[1].encode()))
    main([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl.xz"), "--out", str(tmp_path / "shard.npy")])
    text = Tokenizer.gpt2().decode(open_shard(tmp_path / "shard.npy").tolist())
    assert text == "<|endoftext|>One.<|endoftext|>Zwei – 二"
    assert "shard.npy: " in capsys.readouterr().out


def test_a_truncated_xz_file_is_named(tmp_path: Path) -> None:
    whole = lzma.compress(b'{"text": "fine"}\n' * 1000)
    for data in (b"plain", whole[: len(whole) // 2]):
        (tmp_path / "a.jsonl.xz").write_bytes(data)
        with pytest.raises(UsageError, match=r"a\.jsonl\.xz: truncated or invalid .xz file"):
            list(documents(tmp_path / "a.jsonl.xz"))


def test_a_mistake_is_one_line() -> None:
    command = [sys.executable, "-m", "cutaway.data.prepare", "no-such.jsonl", "--out", os.devnull]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1


def test_a_line_that_is_no_document_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n["no text"]\n')
    with pytest.raises(UsageError, match=r"a\.jsonl:2: not a JSON object"):
        main([str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "shard.npy")])
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
