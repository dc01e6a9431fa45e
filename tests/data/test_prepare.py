"""JSON lines to a shard."""

import json
import lzma
from pathlib import Path

import pytest

from cutaway.data.prepare import main
from cutaway.data.shards import open_shard
from cutaway.errors import UsageError
from cutaway.tokenizer import Tokenizer


def test_files_become_one_shard_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps({"text": text, "title": "any"}) + "\n" for text in ("One.", "Zwei – 二")]
    (tmp_path / "a.jsonl").write_text(lines[0], encoding="utf-8")
    (tmp_path / "b.jsonl.xz").write_bytes(lzma.compress(lines[1].encode()))
    main([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl.xz"), "--out", str(tmp_path / "shard.npy")])
    text = Tokenizer.gpt2().decode(open_shard(tmp_path / "shard.npy").tolist())
    assert text == "<|endoftext|>One.<|endoftext|>Zwei – 二"
    assert "shard.npy: " in capsys.readouterr().out


def test_a_line_that_is_no_document_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n["no text"]\n')
    with pytest.raises(UsageError, match=r"a\.jsonl:2: not a JSON object"):
        main([str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "shard.npy")])
