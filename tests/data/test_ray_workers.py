"""Preparation on a Ray cluster, of two workers on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.test_prepare import corpus, digests, prepare_small

pytest.importorskip("ray")
__all__ = ["corpus"]  # a fixture

SCRIPT = """
import sys, ray
from cutaway.data.prepare import prepare
ray.init(num_cpus=2, log_to_driver=False, logging_level="error", include_dashboard=False)
prepare([sys.argv[1]], sys.argv[2], valid=0.1, ray="local", block_bytes=3000, part_bytes=20_000)
try:
    prepare([sys.argv[3]], sys.argv[4], ray="local")
except Exception as error:
    print(type(error).__name__, error)
ray.shutdown()
"""


@pytest.mark.slow
def test_a_missing_cluster_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A robot must obey")
    command = [sys.executable, "-m", "cutaway", "data", "prepare", "a.txt", "--out", "new/tokens", "--ray", "nowhere"]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=100
    )
    assert result.returncode == 2
    assert result.stderr.startswith("cutaway: --ray must be the address of a running cluster, such as ")
    assert result.stderr.endswith("not 'nowhere'\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.slow
def test_shards_are_the_same_to_the_byte(corpus: Path, tmp_path: Path) -> None:
    prepare_small([corpus], tmp_path / "here", valid=0.1)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "fine"}\nnothing\n')
    arguments = [str(corpus), str(tmp_path / "ray"), str(bad), str(tmp_path / "other")]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SCRIPT, *arguments]
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=400)
    assert digests(tmp_path / "ray") == digests(tmp_path / "here")
    assert f"UsageError {bad}:2: not valid JSON" in result.stdout
