"""Measure the memory bandwidth of plain reads: the yardstick for decoding, which reads all weights for each token."""

import json
import subprocess
from statistics import median

from bench.engines import PEERS

PASSES = 15


def read_bandwidth(n_bytes: int, threads: int) -> float | None:
    """Return the bytes per second that `threads` threads read from a buffer; None if `probe` was not compiled."""
    probe = PEERS / "probe"  # probe.c, compiled by setup_peers.sh
    if not probe.exists():
        return None
    command = [str(probe), str(n_bytes), str(threads), str(PASSES)]
    seconds: list[float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return n_bytes / median(seconds)
